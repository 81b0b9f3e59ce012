"""What our host costs a training step, against the guide's plain command; and what all cards are worth.

Run it from the repository, in an environment with the extra `local`:

    python -m benchmarks.host_overhead [--pairs N] [--steps N]
    python -m benchmarks.host_overhead --gpu [--steps N] [--batch-size N]

Without `--gpu`: pairs of runs on the CPU of the demo's small voice on the demo's data: by
`python -m TTS.bin.train_tts`, and by the kernel's host around the very same command. The two of a pair run at
the same time with one thread each, so that whatever else the machine does befalls both. A run's figure is the
median of the seconds between two steps, after the first ten; the benchmark's is the median of the pairs'
ratios. The exit code says whether it is at most 1.02.

With `--gpu`: VITS as Coqui has it (83 million parameters) on made-up recordings of 2 to 6 s, by the guide's
command (one card, 32-bit floats) and by ours (all cards, fp16, cuDNN's search, batches of similar length).
"""

import argparse
import itertools
import json
import math
import os
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import wave
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BOUND = 1.02
WARM_UP = 10  # Steps of a run that are not looked at: imports, caches, the first epoch's start.
RECORDINGS = 96
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
    cards: int = 1
    config: dict[str, Any] | None = None
    length_buckets: int = 0


def environment(folder: Path, cards: int, *, gpu: bool) -> dict[str, str]:
    """As the kernel gives it to a training."""
    from orchestrator.emulator.runner.standins import standin_path  # noqa: PLC0415 - not on a bare GPU machine.

    here = str(Path(__file__).resolve().parent.parent)  # The host removes it from what the script sees.
    paths = [here, str(standin_path(sys.executable) or ""), os.environ.get("PYTHONPATH")]
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(cards))) if gpu else "",
        "TRAINER_TELEMETRY": "0",
        **({} if gpu else {"OMP_NUM_THREADS": "1"}),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
    }


def train(
    folder: Path, way: Way, config: dict[str, Any], checkpoint: Path | None, *, gpu: bool
) -> list[float]:
    """Train once. Returns the seconds between the ends of steps.

    Raises:
        SystemExit: the training failed.
    """
    run = Path(tempfile.mkdtemp(dir=folder))
    script, path, control = run / "clocked.py", run / "config.json", run / "control.json"
    script.write_text(CLOCK)
    path.write_text(json.dumps({**config, **(way.config or {}), "output_path": str(run / "out")}))
    control.write_text(json.dumps({"report": str(run / "report.json"), "length_buckets": way.length_buckets}))
    command = [sys.executable, "-u"]
    if way.cards > 1:
        command += ["-P", "-m", "kernel_template.host.launch", str(way.cards), str(control)]
    elif way.hosted:
        command += ["-P", "-m", "kernel_template.host", str(control)]
    command += [str(script), "--config_path", str(path)]
    command += ["--restore_path", str(checkpoint)] if checkpoint else []
    env = environment(folder, way.cards, gpu=gpu) | {"KGTTS_CLOCK": str(run / "clock.txt")}
    done = subprocess.run(command, cwd=run, env=env, capture_output=True, text=True, check=False)
    ended = [float(item) for item in re.findall(r"[\d.]+", Path(env["KGTTS_CLOCK"]).read_text())]
    if done.returncode or len(ended) < 2 * WARM_UP:
        raise SystemExit(f"{way.name} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return [after - before for before, after in itertools.pairwise(ended)][WARM_UP:]


def overhead(pairs: int, steps: int) -> float:
    """Paired runs on the CPU. Returns the median ratio."""
    from orchestrator.emulator.demo.inputs import provide_demo_inputs  # noqa: PLC0415 - as above.

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
            return statistics.median(train(folder, way, config, checkpoint, gpu=False))

        with ThreadPoolExecutor(2) as pool:
            for number in range(pairs):
                ours, theirs = pool.map(run, (hosted, plain))
                ratios.append(ours / theirs)
                told = f"our host {ours * 1000:.1f} ms, train_tts {theirs * 1000:.1f} ms"
                print(f"pair {number + 1}: {told}; ratio {ratios[-1]:.4f}", flush=True)
    return statistics.median(ratios)


def made_up_data(folder: Path) -> None:
    """Recordings of noise, with texts whose length goes with theirs."""
    draw = random.Random(1)  # noqa: S311 - noise, no secret.
    letters = "কখগঘচছজঝটঠডঢণতথদধনপফবভমযরলশষসহ"
    lines = []
    (folder / "wavs").mkdir(parents=True)
    for number in range(RECORDINGS):
        length = draw.uniform(2.0, 6.0)
        with wave.open(str(folder / "wavs" / f"{number:03d}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(22050)
            values = [draw.randint(-3000, 3000) for _ in range(round(length * 22050))]
            file.writeframes(struct.pack(f"<{len(values)}h", *values))
        text = "".join(draw.choice(letters) for _ in range(round(length * 12)))
        lines.append(f"{number:03d}|{text}|{text}\n")
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")


def all_cards(steps: int, batch_size: int) -> None:
    """The whole VITS on the guide's one card and on all of ours."""
    import torch  # noqa: PLC0415 - only here.

    from orchestrator.emulator.demo import voice  # noqa: PLC0415 - as above.

    cards = torch.cuda.device_count()
    if not cards:
        raise SystemExit("There is no GPU here.")
    print(f"{cards} x {torch.cuda.get_device_name(0)}, {os.cpu_count()} cores, torch {torch.__version__}")
    config = voice.settings()
    for key in ("model_args", "save_step"):
        del config[key]
    config |= {"batch_size": batch_size, "run_eval": False, "save_step": 10**6, "print_step": 25}
    config |= {"num_loader_workers": 4, "lr_gen": 0.0002, "lr_disc": 0.0002, "save_best_after": 10**6}
    fast = {"mixed_precision": True, "precision": "fp16", "cudnn_benchmark": True}
    ways = [
        Way("the guide's command, one card", hosted=False),
        Way("ours, one card", hosted=True, config=fast, length_buckets=8),
    ]
    if cards > 1:
        workers = {"num_loader_workers": max(1, 4 // cards)}
        ways.append(Way("ours, all cards", True, cards, {**fast, **workers}, 8))
    first = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "numba").mkdir()
        made_up_data(folder / "data")
        config["datasets"][0]["path"] = str(folder / "data")
        for way in ways:
            # Both see as many samples; steps are fewer with more cards.
            an_epoch = math.ceil(RECORDINGS * 0.97 / (batch_size * way.cards))
            wanted = {**config, "epochs": math.ceil((steps + 2 * WARM_UP) / an_epoch)}
            seconds = statistics.mean(train(folder, way, wanted, None, gpu=True))
            rate = batch_size * way.cards / seconds
            first = first or rate
            print(
                f"{way.name}: {seconds * 1000:.0f} ms a step, {rate:.1f} samples a second, "
                f"ratio {rate / first:.2f}",
                flush=True,
            )


def main() -> int:
    """Run what was asked for. Returns 1 when the host costs more than it may."""
    parser = argparse.ArgumentParser(description="What our host costs a training step.")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=70)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--gpu", action="store_true")
    asked = parser.parse_args()
    if asked.gpu:
        all_cards(asked.steps, asked.batch_size)
        return 0
    ratio = overhead(asked.pairs, asked.steps)
    print(f"our host against train_tts: {ratio:.4f} (bound {BOUND})")
    return int(ratio > BOUND)


if __name__ == "__main__":
    raise SystemExit(main())
