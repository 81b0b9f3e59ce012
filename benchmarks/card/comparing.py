"""Ways to make a step faster compared, and a count of what a step does; for training.py beside it."""

import collections
import contextlib
import gc
import itertools
import os
import statistics
import time
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from trainer import Trainer

from benchmarks.card.common import ASKED, CUDA, at_fit, lower_scale, memory, synchronise, wait_for_turn, write
from kernel_template.host.speed import be_deterministic

# The host's rules.
WAYS: dict[str, dict[str, bool]] = {
    "as Coqui": {"exact": False},
    "exact": {},
    "exact, cuDNN search of fixed shapes": {"cudnn_search": True},
    "exact, rounded lengths": {"round_lengths": True},
    "exact, rounded lengths, deterministic": {"round_lengths": True, "deterministic": True},
}


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
    at_fit(lower_scale)


def of_lengths() -> None:
    """Step on batches of lengths not seen before, on the same again, and on both with rounded lengths."""
    original = Trainer.train_step

    def step(trainer: Any, batch: Any, *args: Any) -> Any:
        wait_for_turn()
        batches = [dict(item) for item in itertools.islice(trainer.train_loader, ASKED["batches"])]
        comparison = Comparison(lambda item: original(trainer, dict(item), *args), batches)
        for _ in range(5):
            original(trainer, dict(batch), *args)
        comparison.passes()
        os._exit(0)

    Trainer.train_step = step
    at_fit(lower_scale)


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
        self._hooks.rules = replace(self._plain, **WAYS[name])
        be_deterministic()
        torch.use_deterministic_algorithms(self._hooks.rules.deterministic, warn_only=True)
        torch.backends.cudnn.deterministic = self._hooks.rules.deterministic
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

    def passes(self) -> None:
        """Step on all batches twice, without and with rounded lengths, and write the seconds of each step."""
        for name, rounded in (("as they are", False), ("rounded", True)):
            self._hooks.rules = replace(self._plain, round_lengths=rounded)
            for seen in ("seen for the first time", "seen before"):
                took = self._result["seconds"].setdefault(f"lengths {name}, {seen}", [])
                for batch in self._batches:
                    synchronise()
                    start = time.perf_counter()
                    self._step(batch)
                    synchronise()
                    took.append(time.perf_counter() - start)
                self._result["medians"] |= {f"lengths {name}, {seen}": statistics.median(took)}
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
    """Count the first step, with optimizers that have their averages already, and end."""
    original = Trainer.train_step

    def step(trainer: Any, *args: Any) -> Any:
        for optimizer in trainer.optimizer:  # A step before would take as long as the one that counts.
            for parameter in (item for group in optimizer.param_groups for item in group["params"]):
                parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
            optimizer.zero_grad()
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
