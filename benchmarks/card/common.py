"""What every mode of training.py needs: what is asked, the result, and its turn on the GPU."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from trainer import Trainer

ASKED: dict[str, Any] = json.loads(os.environ["KGTTS_CARD"])
RANK = int(os.environ.get("KGTTS_RANK", "0"))
CUDA = torch.cuda.is_available()
FIRST_SCALE = 64.0  # With torch's 65536 the generator's first ten steps overflow: weights would not change.


def synchronise() -> None:
    """Wait for the GPU."""
    if CUDA:
        torch.cuda.synchronize()


def memory() -> dict[str, float]:
    """The peak of GPU memory so far, in MiB."""
    if not CUDA:
        return {}
    peak, held = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return {"allocated_mib": round(peak / 2**20), "reserved_mib": round(held / 2**20)}


def write(result: dict[str, Any]) -> None:
    """Write the result at once, whole."""
    path = Path(ASKED["result"])
    part = path.with_suffix(f".part{RANK}")
    part.write_text(json.dumps(result))
    part.replace(path)


def wait_for_turn() -> None:
    """Say that this process is ready, and wait until it may use the GPU alone."""
    if turn := ASKED.get("turn"):
        Path(f"{turn}.ready").touch()
        until = time.monotonic() + 600
        while not Path(f"{turn}.go").exists() and time.monotonic() < until:
            time.sleep(0.05)


def at_fit(action: Callable[[Any], None]) -> None:
    """Call `action(trainer)` before a training begins."""
    fit = Trainer.fit

    def started(trainer: Any) -> None:
        action(trainer)
        fit(trainer)

    Trainer.fit = started


def lower_scale(trainer: Any) -> None:
    """Let the loss scaler of a new training begin where VITS's gradients fit into fp16."""
    if trainer.scaler is not None and not trainer.args.continue_path:
        trainer.scaler._init_scale = FIRST_SCALE  # noqa: SLF001 - the trainer makes it without arguments.
