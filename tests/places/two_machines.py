"""A task of SkyPilot on two machines that train together: are the weights the same if machines are lost?

    python -m tests.places.two_machines [FOLDER]

Six epochs of a small real VITS on two machines of this one (gloo on the loopback interface), whose setup and
run are the task's own: once to the end, and once with machine 1 lost in the middle, then both. Prints how
starts ended, and whether weights and optimizers' states are equal to the last bit; exits with 1 if they are
not. Three minutes on two cores.
"""

import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.emulator.demo.inputs import DemoInputs, provide_demo_inputs
from orchestrator.places.skypilot import render_task, write_task
from orchestrator.settings import Settings
from tests.places.everywhere import differences, newest, reached, say
from tests.places.machines import Machine, take_away

EPOCHS = 6
SAVES = 2  # Every so many steps.
_LIMIT_S = 400
_COMPARED = ("model", "optimizer", "step", "epoch")


def make_task(folder: Path, inputs: DemoInputs, bucket: Path) -> Path:
    """Write the task of a run on two machines."""
    settings = Settings.model_validate(
        {
            "kernel": {"slug": "two-machines", "owner": "asha"},
            "training": {"batch_size": 2, "epochs": EPOCHS, "coqui": {"save_step": SAVES}},
            "voice": {"onnx": False},
            "samples": {"enabled": False},
            "scores": {"enabled": False},
            "skypilot": {
                "gpus": "none",
                "nodes": 2,
                "results": str(bucket),
                "data": str(inputs.dataset),
                "voice": str(inputs.model),
            },
        }
    ).with_owner("asha")
    return write_task(render_task(settings, folder), folder)[0]


def start(
    task: Path, folder: Path, bucket: Path, *, until_step: int | None, lost: tuple[int, ...]
) -> list[int]:
    """Start both machines; take some away at a step, or wait for the end. Returns their exit codes."""
    folder.mkdir(parents=True)
    machines = [Machine.of(task, folder / f"machine-{rank}", rank) for rank in (0, 1)]
    logs = [folder / f"machine-{rank}.log" for rank in (0, 1)]
    for machine, log in zip(machines, logs, strict=True):
        if code := machine.step("setup", log).wait(_LIMIT_S):
            raise RuntimeError(f"setup ended with {code}; see {log}.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    running = [machine.step("run", log, KGTTS_PORT=port) for machine, log in zip(machines, logs, strict=True)]
    try:
        if until_step is not None:
            while reached(bucket, "state.json") < until_step:
                if any(process.poll() is not None for process in running):
                    raise RuntimeError(f"A machine ended before step {until_step}; see {folder}.")
                time.sleep(0.05)
            for rank in lost:
                take_away(machines[rank])
        return [process.wait(_LIMIT_S) for process in running]
    finally:
        for machine in machines:
            take_away(machine)
            shutil.rmtree(machine.home)


def main(folder: Path) -> int:
    """Train both ways, and compare. Returns the exit code."""
    inputs = provide_demo_inputs(folder / "kaggle", "asha", cache=folder / "cache")
    found = {}
    for way, starts in {
        "never lost": ((None, ()),),
        "lost twice": ((8, (1,)), (16, (0, 1)), (None, ())),
    }.items():
        bucket = folder / way
        bucket.mkdir()
        task, began = make_task(folder / f"{way} task", inputs, bucket), time.monotonic()
        for number, (step, lost) in enumerate(starts, 1):
            codes = start(task, folder / f"{way} {number}", bucket, until_step=step, lost=lost)
            say(f"{way}: start {number} ended with {codes}")
        state, found[way] = newest(bucket / "two-machines")
        say(f"{way}: step {state['global_step']}, {time.monotonic() - began:.0f} s")
        for item in state["history"]:
            steps = f"steps {item['from_step']} to {item['to_step']}"
            say(f"  session {item['session']}: {steps}, {item['reason']}")
    one, other = found.values()
    differing = [item for key in _COMPARED for item in differences(one[key], other[key], key)]
    say("equal to the last bit" if not differing else f"different: {', '.join(differing[:5])}")
    return 1 if differing else 0


if __name__ == "__main__":
    if sys.argv[1:]:
        raise SystemExit(main(Path(sys.argv[1]).resolve()))
    with tempfile.TemporaryDirectory() as temporary:
        raise SystemExit(main(Path(temporary)))
