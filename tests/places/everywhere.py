"""The same run on Kaggle's emulator, by `kgtts train` and as a task of SkyPilot: are the weights the same?

    python -m tests.places.everywhere [FOLDER] [WAY …]

Six epochs of a small real VITS: in three sessions of the emulator (`on_kaggle`), with `kgtts train`
interrupted twice (`here`), with the steps of SkyPilot's task, whose machine is lost twice (`by_skypilot`),
and begun on the emulator, continued by `kgtts train` and finished on the emulator (`there_and_back`). Prints
each way's sessions, and whether the weights and the optimizers' states are equal to the last bit to those of
the first way; exits with 1 if they are not. Some minutes; names choose the ways.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from orchestrator.emulator.demo.inputs import DemoInputs, provide_demo_inputs
from orchestrator.emulator.emulator import Emulator
from orchestrator.emulator.options import EmulatorOptions
from orchestrator.emulator.runner.standins import standin_path
from orchestrator.results import pulled_sessions
from orchestrator.settings import default_toml
from tests.places.machines import Machine, take_away

SLUG = "everywhere"
EPOCHS = 6
SAVES = 3  # Every so many steps.
STOPS = (10, 25)  # Steps at which sessions are ended. An epoch has 7.
_LIMIT_S = 600
_COMPARED = ("model", "optimizer", "step", "epoch")


@dataclass(frozen=True, slots=True)
class Ground:
    """What all places share: the inputs, and a folder for each."""

    folder: Path
    inputs: DemoInputs
    emulator: Emulator

    def environment(self) -> dict[str, str]:
        """The environment of kgtts, logged in to the emulator."""
        name, key = self.emulator.credentials
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KGTTS", "KAGGLE"))}
        return {
            **kept,
            "HOME": str(self.folder / "home"),
            "KAGGLE_USERNAME": name,
            "KAGGLE_KEY": key,
            "KGTTS_KAGGLE_URL": self.emulator.url,
            "OMP_NUM_THREADS": "1",
            # What the emulator gives its sessions, if this Python lacks it.
            "PYTHONPATH": str(standin_path(sys.executable, cache=self.folder / "cache") or ""),
        }

    def place(self, name: str, **values: object) -> Path:
        """The folder of one place, with its kgtts.toml."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        common: dict[str, object] = {
            "kernel.slug": SLUG,
            "kernel.owner": self.emulator.credentials[0],
            "kernel.accelerator": "none",
            "kernel.internet": False,
            "inputs.dataset": self.inputs.dataset_source,
            "inputs.model": self.inputs.model_source,
            "training.batch_size": 2,
            "training.epochs": EPOCHS,
            "training.coqui": {"save_step": SAVES},
            "voice.onnx": False,
            "samples.enabled": False,
            "scores.enabled": False,
        }
        (folder / "kgtts.toml").write_text(default_toml({**common, **values}), encoding="utf-8")
        return folder

    def kgtts(self, folder: Path, *arguments: str) -> None:
        """Run a command of kgtts to its end.

        Raises:
            RuntimeError: it failed.
        """
        command = [sys.executable, "-m", "orchestrator", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=self.environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )


@contextmanager
def prepared(folder: Path) -> Iterator[Ground]:
    """Start the emulator with its inputs."""
    cache = folder / "cache"
    with Emulator(folder / "kaggle", options=EmulatorOptions(cache=cache)) as emulator:
        inputs = provide_demo_inputs(folder / "kaggle", emulator.credentials[0], cache=cache)
        yield Ground(folder, inputs, emulator)


def on_kaggle(ground: Ground) -> Path:
    """Three sessions, each with a higher step to stop at; gives the folder of its results."""
    place = ground.place("kaggle-run")
    for step in (*STOPS, 0):
        ground.kgtts(place, "push", "--wait", "--set", f"run.until_step={step}")
    return place / "runs" / SLUG


def here(ground: Ground) -> Path:
    """`kgtts train`, interrupted twice as by Ctrl-C; gives the folder of its results."""
    place = ground.place("train-run")
    # Offline, since it would go on with the emulator's run of this name.
    inputs = ["--offline", "--data", str(ground.inputs.dataset), "--voice", str(ground.inputs.model)]
    results = place / "runs" / SLUG
    for step in STOPS:
        with (place / "train.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", "train", *inputs],
                cwd=place,
                env=ground.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        _wait(process, results, "metrics.jsonl", step)
        process.send_signal(signal.SIGINT)
        process.wait(_LIMIT_S)
    ground.kgtts(place, "train", *inputs)
    return results


def by_skypilot(ground: Ground) -> Path:
    """The task's own setup and run, its machine killed twice; gives the folder of its results."""
    bucket = ground.folder / "bucket"
    bucket.mkdir()
    sky: dict[str, object] = {
        "skypilot.gpus": "none",
        "skypilot.results": str(bucket),
        "skypilot.data": str(ground.inputs.dataset),
        "skypilot.voice": str(ground.inputs.model),
    }
    place = ground.place("sky-run", **sky)
    ground.kgtts(place, "render", "--for", "skypilot", "--to", "task")
    log = place / "task.log"
    for number, step in enumerate((*STOPS, None)):
        machine = Machine.of(place / "task" / "task.yaml", ground.folder / f"machine-{number}")
        for name in ("setup", "run"):
            process = machine.step(name, log)
            if name == "run" and step is not None:
                _wait(process, bucket / SLUG, "state.json", step)
                take_away(machine)
            elif process.wait(_LIMIT_S):
                raise RuntimeError(f"{name} ended with {process.returncode}; see {log}.")
        shutil.rmtree(machine.home)
    return bucket / SLUG


def there_and_back(ground: Ground) -> Path:
    """A session of the emulator, one of `kgtts train`, another of the emulator; gives its results."""
    slug = f"{SLUG}-and-back"
    place = ground.place("round-run", **{"kernel.slug": slug})
    inputs = ["--data", str(ground.inputs.dataset), "--voice", str(ground.inputs.model)]
    ground.kgtts(place, "push", "--wait", "--set", f"run.until_step={STOPS[0]}")
    ground.kgtts(place, "train", *inputs, "--set", f"run.until_step={STOPS[1]}")
    ground.kgtts(place, "push", "--wait", "--set", "run.until_step=0")
    return place / "runs" / slug


WAYS = (on_kaggle, here, by_skypilot, there_and_back)


def reached(results: Path, name: str) -> int:
    """The highest step in files of that name below a folder."""
    found = [0]
    for place in results.rglob(name):
        found += [int(number) for number in re.findall(r'"global_step": ?(\d+)', place.read_text())]
    return max(found)


def _wait(process: "subprocess.Popen[bytes]", results: Path, name: str, step: int) -> None:
    """Wait until a process has reached a step, by files of that name below a folder.

    Raises:
        RuntimeError: the process has ended before that.
    """
    while reached(results, name) < step:
        if process.poll() is not None:
            raise RuntimeError(f"The training ended with {process.returncode} before step {step}: {results}")
        time.sleep(0.05)


def newest(results: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The newest session's state.json, and the content of its newest checkpoint."""
    folder = max(pulled_sessions(results), key=lambda item: item.number or 0).folder
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return state, torch.load(folder / state["checkpoint"], map_location="cpu", weights_only=True)


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """What differs between two contents of checkpoints, by name."""
    if isinstance(one, torch.Tensor):
        return [] if isinstance(other, torch.Tensor) and torch.equal(one, other) else [name]
    if isinstance(one, dict) and isinstance(other, dict):
        names = [*one, *(key for key in other if key not in one)]
        return [item for key in names for item in differences(one.get(key), other.get(key), f"{name}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [item for number, pair in pairs for item in differences(*pair, f"{name}/{number}")]
    return [] if one == other else [name]


def main(folder: Path, names: Sequence[str] = ()) -> int:
    """Train in these ways, or in all, and compare. Returns the exit code."""
    os.environ["OMP_NUM_THREADS"] = "1"  # The number of threads decides how sums are rounded.
    signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background job ignores it.
    found = {}
    with prepared(folder) as ground:
        for way in [way for way in WAYS if not names or way.__name__ in names]:
            began = time.monotonic()
            state, found[way.__name__] = newest(way(ground))
            say(f"{way.__name__}: step {state['global_step']}, {time.monotonic() - began:.0f} s")
            for item in state["history"]:
                steps = f"steps {item['from_step']} to {item['to_step']}"
                say(f"  session {item['session']} ({item['kernel']}): {steps}, {item['reason']}")
    wrong = 0
    for name, content in found.items():
        first = next(iter(found.values()))
        differing = [item for key in _COMPARED for item in differences(first[key], content[key], key)]
        wrong += bool(differing)
        say(f"{name}: {'equal to the last bit' if not differing else ', '.join(differing[:5])}")
    return 1 if wrong else 0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    chosen = [name for name in sys.argv[1:] if name in {way.__name__ for way in WAYS}]
    folders = [name for name in sys.argv[1:] if name not in chosen]
    if folders:
        raise SystemExit(main(Path(folders[0]).resolve(), chosen))
    with tempfile.TemporaryDirectory() as temporary:
        raise SystemExit(main(Path(temporary), chosen))
