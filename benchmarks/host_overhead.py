"""What our host costs a training step, against the guide's plain command, on the CPU.

Run it from the repository, in an environment with the extra `local`:

    python -m benchmarks.host_overhead [--pairs N] [--steps N]

Pairs of runs of the demo's small voice on the demo's data: by
`python -m TTS.bin.train_tts`, and by the kernel's host around the very same command. The two of a pair run at
the same time with one thread each, so that whatever else the machine does befalls both. A run's figure is the
median of the seconds between two steps, after the first ten; the benchmark's is the median of the pairs'
ratios. The exit code says whether it is at most 1.02.
"""

import argparse
import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.emulator.demo.inputs import provide_demo_inputs
from orchestrator.emulator.runner.standins import standin_path

BOUND = 1.02
WARM_UP = 10  # Steps of a run that are not looked at: imports, caches, the first epoch's start.
# Coqui's own script with a clock in it: the end of each step, as seen from within the process.
CLOCK = """
import os, runpy, sys, time
from trainer import Trainer
ended, step = [], Trainer.train_step
def timed(trainer, *args, **kwargs):
    found = step(trainer, *args, **kwargs)
    ended.append(time.perf_counter())
    return found
Trainer.train_step = timed
try:
    runpy.run_module("TTS.bin.train_tts", run_name="__main__", alter_sys=True)
finally:
    if not os.environ.get("RANK"):
        with open(os.environ["KGTTS_CLOCK"], "w") as file:
            file.write(repr(ended))
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run the training."""

    name: str
    hosted: bool


def environment(folder: Path) -> dict[str, str]:
    """As the kernel gives it to a training."""
    here = str(Path(__file__).resolve().parent.parent)  # The host removes it from what the script sees.
    paths = [here, str(standin_path(sys.executable) or ""), os.environ.get("PYTHONPATH")]
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "TRAINER_TELEMETRY": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
    }


def train(folder: Path, way: Way, config: dict[str, Any], checkpoint: Path) -> list[float]:
    """Train once. Returns the seconds between the ends of steps.

    Raises:
        SystemExit: the training failed.
    """
    run = Path(tempfile.mkdtemp(dir=folder))
    script, path, control = run / "clocked.py", run / "config.json", run / "control.json"
    script.write_text(CLOCK)
    path.write_text(json.dumps({**config, "output_path": str(run / "out")}))
    control.write_text(json.dumps({"report": str(run / "report.json")}))
    command = [sys.executable, "-u"]
    if way.hosted:
        command += ["-P", "-m", "kernel_template.host", str(control)]
    command += [str(script), "--config_path", str(path), "--restore_path", str(checkpoint)]
    env = environment(folder) | {"KGTTS_CLOCK": str(run / "clock.txt")}
    done = subprocess.run(command, cwd=run, env=env, capture_output=True, text=True, check=False)
    ended = [float(item) for item in re.findall(r"[\d.]+", Path(env["KGTTS_CLOCK"]).read_text())]
    if done.returncode or len(ended) < 2 * WARM_UP:
        raise SystemExit(f"{way.name} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return [after - before for before, after in itertools.pairwise(ended)][WARM_UP:]


def overhead(pairs: int, steps: int) -> float:
    """Paired runs on the CPU. Returns the median ratio."""
    plain, hosted = Way("train_tts", hosted=False), Way("our host", hosted=True)
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "numba").mkdir()
        demo = provide_demo_inputs(folder / "kaggle", "owner", cache=folder / "cache")
        config: dict[str, Any] = json.loads((demo.model / "model" / "config.json").read_text())
        config["datasets"][0]["path"] = str(demo.dataset / "MyTTSDataset")
        config |= {"batch_size": 2, "epochs": math.ceil(steps / 7), "print_step": 25, "run_eval": False}
        config |= {"save_step": 10**6, "save_best_after": 10**6}
        checkpoint = demo.model / "model" / "model_file.pth"

        def run(way: Way) -> float:
            return statistics.median(train(folder, way, config, checkpoint))

        with ThreadPoolExecutor(2) as pool:
            for number in range(pairs):
                ours, theirs = pool.map(run, (hosted, plain))
                ratios.append(ours / theirs)
                told = f"our host {ours * 1000:.1f} ms, train_tts {theirs * 1000:.1f} ms"
                print(f"pair {number + 1}: {told}; ratio {ratios[-1]:.4f}", flush=True)
    return statistics.median(ratios)


def main() -> int:
    """Run what was asked for. Returns 1 when the host costs more than it may."""
    parser = argparse.ArgumentParser(description="What our host costs a training step.")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=70)
    asked = parser.parse_args()
    ratio = overhead(asked.pairs, asked.steps)
    print(f"our host against train_tts: {ratio:.4f} (bound {BOUND})")
    return int(ratio > BOUND)


if __name__ == "__main__":
    raise SystemExit(main())
