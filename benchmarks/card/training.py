"""Coqui's own training script with a clock, a comparison or a fault in it, for the parts of this package.

KGTTS_CARD holds a JSON object: `mode`, `result` (the file to write) and what the mode needs.

- `time`: the seconds of each step. It waits for a file before the first one: many can be started at once.
- `compare`: the same few batches again and again, with each of the host's ways to make a step faster.
- `lengths`: batches whose lengths cuDNN sees for the first time, and again, without and with rounded lengths.
- `count`: operations and bytes of one step.
- `gradients`: no training; what two ranks have left is compared.
- `watch`: what each step gave (losses, scale, digests of weights and random states), and faults in it.
"""

import hashlib
import json
import os
import pickle
import random
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from trainer import Trainer

from benchmarks.card.common import ASKED, CUDA, RANK, at_fit, lower_scale, memory, wait_for_turn, write
from benchmarks.card.comparing import compared, counted, of_lengths

# ---- time


def clocked() -> None:
    """Note when each step begins and ends, until there are enough or the time is up."""
    steps: list[tuple[int, float, float]] = []
    original = Trainer.train_step

    def step(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        if not steps:
            wait_for_turn()
        began = time.perf_counter()
        found = original(trainer, *args, **kwargs)
        steps.append((trainer.epochs_done, began, time.perf_counter()))
        late = steps[-1][2] - steps[0][1] > ASKED["seconds"]
        # At least two steps count, however long the first ones take.
        enough = len(steps) >= ASKED["warm"] + (2 if late else ASKED["steps"])
        if enough or not len(steps) % 5:
            warm = min(ASKED["warm"], len(steps) - 2)
            write({"steps": steps, "warm": max(warm, 0), **memory()})
        if enough:
            os._exit(0)
        return found

    Trainer.train_step = step
    at_fit(lower_scale)


# ---- watch


class AfterForward(torch.autograd.Function):
    """Runs out of memory in the backward pass."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:  # noqa: ARG004 - torch's signature.
        """Do nothing."""
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *_gradients: torch.Tensor) -> Any:  # noqa: ARG004 - as above.
        """Take all the memory."""
        exhaust()


def exhaust() -> None:
    """Allocate GPU memory until there is none; a twentieth of it is what this process may have."""
    if not CUDA:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 256.00 MiB.")
    torch.cuda.set_per_process_memory_fraction(0.05)
    held = []
    while True:
        held.append(torch.empty(2**28, dtype=torch.uint8, device="cuda"))


def digest(values: Any) -> str:
    """Digest of tensors, by content."""
    found = hashlib.sha256()
    for value in values:
        found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def random_digest() -> str:
    """Digest of all random states."""
    numpy: Any = sys.modules["numpy"]
    states = [random.getstate(), [str(item) for item in numpy.random.get_state()]]
    tensors = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if CUDA else [])]
    return hashlib.sha256(pickle.dumps(states) + digest(tensors).encode()).hexdigest()[:16]


def set_fault(trainer: Any, fault: dict[str, Any]) -> None:
    """Let the loss of one step of one rank go wrong."""
    real = trainer.model.train_step

    def train_step(batch: Any, criterion: Any, optimizer_idx: int | None = None) -> Any:
        due = trainer.total_steps_done == fault["step"] or (
            fault.get("stays") and trainer.total_steps_done > fault["step"]
        )
        due = due and fault["rank"] == RANK and optimizer_idx == fault.get("optimizer", 0)
        kind = fault["kind"] if due else None
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "memory in the forward pass":
            exhaust()
        outputs, losses = real(batch, criterion, optimizer_idx)
        if kind == "memory in the backward pass":
            losses["loss"] = AfterForward.apply(losses["loss"])  # type: ignore[no-untyped-call]
        if kind in {"nan", "inf"}:
            losses["loss"] = losses["loss"] * float(kind)
        return outputs, losses

    trainer.model.train_step = train_step


def watched() -> None:
    """Write a line for each step, and one at the end."""
    record = Path(f"{ASKED['result']}.rank{RANK}").open("a")  # noqa: SIM115 - until the process ends.
    original = Trainer.train_step

    def step(trainer: Any, *args: Any) -> Any:
        number, before = trainer.total_steps_done, random_digest()
        outputs, losses = original(trainer, *args)
        line = {
            "step": number,
            "losses": {name: float(value) for name, value in (losses or {}).items() if "time" not in name},
            "scale": trainer.scaler.get_scale() if trainer.scaler is not None else None,
            "weights": digest(trainer.model.parameters()),
            "random": [before, random_digest()],
        }
        record.write(json.dumps(line) + "\n")
        record.flush()
        return outputs, losses

    Trainer.train_step = step
    at_fit(lower_scale)
    if fault := ASKED.get("fault"):
        at_fit(lambda trainer: set_fault(trainer, fault))
    if ASKED.get("gradients"):
        sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "kernel"))
        import watching  # type: ignore[import-not-found] # noqa: PLC0415 - it stands among the tests.

        at_fit(watching.watch)


# ---- gradients


def gradients(folder: Path) -> dict[str, Any]:
    """Compare what watching.py has left of two ranks."""
    one, other = (
        torch.load(folder / f"{rank}.pth", map_location="cpu", weights_only=False) for rank in (0, 1)
    )

    def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
        return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)

    found: dict[str, Any] = {
        "weights_equal": same(one["model"], other["model"]),
        "scales": [one["scale"], other["scale"]],
    }
    for a, b in zip(one["gradients"], other["gradients"], strict=True):
        mean = torch.cat([((a["local"][key] + b["local"][key]) / 2).flatten() for key in a["taken"]]).double()
        taken = torch.cat([item.flatten() for item in a["taken"].values()]).double()
        # The optimizer takes them without the loss scale.
        factor = taken.norm() / mean.norm()
        found[f"step {a['step']}, optimizer {a['optimizer']}"] = {
            "taken_equal": same(a["taken"], b["taken"]),
            "own_differ": not same(a["local"], b["local"]),
            "one_over_scale": float(1 / factor),
            "error_of_mean": float((taken - mean * factor).norm() / taken.norm()),
        }
    return found


if __name__ == "__main__":
    if ASKED["mode"] == "gradients":
        write(gradients(Path(ASKED["folder"])))
        raise SystemExit
    torch.manual_seed(1)  # Coqui makes the model before it sets its own seed.
    random.seed(1)
    modes = {"time": clocked, "compare": compared, "lengths": of_lengths, "count": counted, "watch": watched}
    modes[ASKED["mode"]]()
    runpy.run_module("TTS.bin.train_tts", run_name="__main__", alter_sys=True)
