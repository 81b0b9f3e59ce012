"""Coqui's own training script with a clock, a comparison or a fault in it: what card.py runs.

KGTTS_CARD holds a JSON object: `mode`, `result` (the file to write) and what the mode needs.

- `time`: the seconds of each step. It waits for a file before the first one: many can be started at once.
- `compare`: the same few batches again and again, with each of the host's ways to make a step faster.
- `count`: operations and bytes of one step.
- `gradients`: no training; what two ranks have left is compared.
- `watch`: what each step gave (losses, scale, digests of weights and random states), and faults in it.
"""

import collections
import contextlib
import gc
import hashlib
import json
import os
import pickle
import random
import runpy
import signal
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from trainer import Trainer

ASKED: dict[str, Any] = json.loads(os.environ["KGTTS_CARD"])
RANK = int(os.environ.get("KGTTS_RANK", "0"))
CUDA = torch.cuda.is_available()
# The host's rules, and whether cuDNN searches everywhere.
WAYS: dict[str, tuple[dict[str, bool], bool]] = {
    "as Coqui": ({"exact": False}, False),
    "exact": ({}, False),
    "exact, cuDNN search of fixed shapes": ({"cudnn_search": True}, False),
    "exact, cuDNN search everywhere": ({}, True),
}
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


def at_fit(action: Any) -> None:
    """Call `action(trainer)` before a training begins."""
    fit = Trainer.fit

    def started(trainer: Any) -> None:
        action(trainer)
        fit(trainer)

    Trainer.fit = started


# ---- time


def clocked() -> None:
    """Note when each step begins and ends; write them now and then, until the epochs asked for are over."""
    steps: list[tuple[int, float, float]] = []
    original = Trainer.train_step

    def step(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        if not steps:
            wait_for_turn()
        elif trainer.epochs_done >= ASKED["epochs"]:
            synchronise()
            write({"steps": steps, **memory()})
            os._exit(0)
        began = time.perf_counter()
        found = original(trainer, *args, **kwargs)
        steps.append((trainer.epochs_done, began, time.perf_counter()))
        if trainer.epochs_done and not len(steps) % 10:
            write({"steps": steps, **memory()})
        return found

    Trainer.train_step = step


# ---- compare


def compared() -> None:
    """Keep the first batches; then step on them with each way in turn, and write what each took."""
    kept: list[dict[str, Any]] = []
    original = Trainer.train_step

    def step(trainer: Any, batch: Any, *args: Any) -> Any:
        if not kept:
            wait_for_turn()
        if len(kept) < ASKED["batches"]:
            kept.append(dict(batch))
            return original(trainer, batch, *args)
        comparison = Comparison(lambda item: original(trainer, dict(item), *args), kept)
        comparison.run(ASKED["rounds"], ASKED["seconds"])
        os._exit(0)

    Trainer.train_step = step


class Comparison:
    """Takes turns among the ways, a few rounds; the first round of each is its warm-up.

    Args:
        step: trains on a batch.
        batches: what each way steps on.
    """

    def __init__(self, step: Any, batches: list[dict[str, Any]]) -> None:
        (self._hooks,) = (item for item in gc.get_objects() if type(item).__name__ == "SpeedHooks")
        self._step = step
        self._batches = batches
        self._plain = type(self._hooks.rules)()
        self._result: dict[str, Any] = {
            "medians": {},
            "seconds": {},
            "memory": {},
            "failed": {},
            "profiles": {},
        }

    def _choose(self, name: str) -> None:
        rules, search = WAYS[name]
        self._hooks.rules = replace(self._plain, **rules)
        torch.backends.cudnn.benchmark = search
        if CUDA:
            torch.cuda.reset_peak_memory_stats()

    def _round(self, name: str) -> None:
        """Step on all batches in this way."""
        if name in self._result["failed"]:
            return
        try:
            self._choose(name)
            synchronise()
            start = time.perf_counter()
            for batch in self._batches:
                self._step(batch)
            synchronise()
        except Exception as error:  # noqa: BLE001 - the other ways are measured all the same.
            self._result["failed"][name] = repr(error)[:500]
            return
        seconds = self._result["seconds"].setdefault(name, [])
        seconds.append((time.perf_counter() - start) / len(self._batches))
        self._result["memory"][name] = memory()
        self._result["medians"][name] = statistics.median(seconds[1:] or seconds)

    def run(self, rounds: int, seconds: float) -> None:
        """Measure, and write the result after each round; then profile two of the ways."""
        until = time.monotonic() + seconds
        for number in range(rounds):
            for name in WAYS:
                if number <= 1 or time.monotonic() < until:
                    self._round(name)
            write(self._result)
        for name in ("as Coqui", "exact") if CUDA else ():
            with contextlib.suppress(Exception):
                self._choose(name)
                self._step(self._batches[0])
                self._result["profiles"][name] = profile(
                    lambda: [self._step(item) for item in self._batches[:3]]
                )
                write(self._result)


def profile(work: Any) -> dict[str, Any]:
    """What three steps do on the GPU: kernels, their time, waits; and the operations that take most."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    synchronise()
    with torch.profiler.profile(activities=activities) as found:
        start = time.perf_counter()
        work()
        synchronise()
        wall = time.perf_counter() - start
    events = found.key_averages()
    kernels = [item for item in events if str(item.device_type).endswith("CUDA")]
    calls = {
        item.key: item.count
        for item in events
        if item.key.startswith("cuda")
        or item.key in {"aten::item", "aten::_local_scalar_dense", "aten::copy_"}
    }
    return {
        "wall_s": wall,
        "kernel_s": sum(item.self_device_time_total for item in kernels) / 1e6,
        "kernels": sum(item.count for item in kernels),
        "calls": calls,
        "table": events.table(sort_by="self_device_time_total", row_limit=30, max_name_column_width=60),
    }


# ---- count


class Bytes(TorchDispatchMode):
    """Counts operations that are no mere views, and the bytes that each reads and writes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: collections.Counter[str] = collections.Counter()
        self.bytes: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count."""
        found = func(*args, **(kwargs or {}))
        aliases = [item.alias_info for item in func._schema.returns]  # noqa: SLF001 - kept nowhere else.
        if not any(alias is not None and not alias.is_write for alias in aliases):
            name = str(func).removeprefix("aten.")
            self.calls[name] += 1
            tensors = [item for item in tree_leaves([args, kwargs, found]) if isinstance(item, torch.Tensor)]
            self.bytes[name] += sum(item.numel() * item.element_size() for item in tensors)
        return found


def counted() -> None:
    """Count the second step and end."""
    original = Trainer.train_step

    def step(trainer: Any, *args: Any) -> Any:
        if not trainer.total_steps_done:
            return original(trainer, *args)
        with FlopCounterMode(display=False) as operations, Bytes() as moved:
            original(trainer, *args)
        of_modules = {str(name): count for name, count in operations.get_flop_counts()["Global"].items()}
        write(
            {
                "operations": operations.get_total_flops(),
                "operations_of": of_modules,
                "bytes": moved.bytes.total(),
                "bytes_of": dict(moved.bytes.most_common(15)),
                "calls": moved.calls.total(),
                "calls_of": dict(moved.calls.most_common(15)),
            }
        )
        os._exit(0)

    Trainer.train_step = step


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


def lower_scale(trainer: Any) -> None:
    """Let the loss scaler of a new training begin where VITS's gradients fit into fp16."""
    if trainer.scaler is not None and not trainer.args.continue_path:
        trainer.scaler._init_scale = FIRST_SCALE  # noqa: SLF001 - the trainer makes it without arguments.


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
        sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "kernel"))
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
    {"time": clocked, "compare": compared, "count": counted, "watch": watched}[ASKED["mode"]]()
    runpy.run_module("TTS.bin.train_tts", run_name="__main__", alter_sys=True)
