"""What a checkpoint lacks for going on exactly: random states, place in the epoch, running averages.

All of it is numbers, texts, lists, dicts and tensors, so that `torch.load(weights_only=True)` takes it.
"""

import contextlib
import math
import os
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

KEY = "kgtts"  # The checkpoint's key that holds all this.
SCHEMA = 1


@dataclass(slots=True)
class Place:
    """Where in its loop the trainer is."""

    in_train: bool = False
    in_step: bool = False
    epoch_done: bool = False
    batch: int = 0  # Batches of this epoch that are done.
    skipped: int = 0  # Those of them that an earlier session did.
    batches: int | None = None  # Batches of an epoch.
    trained: bool = False  # Whether this process has made a step.

    def position(self, trainer: Any) -> tuple[int, int, int]:
        """Steps done, epochs done, batches done of the epoch after those."""
        if not self.in_train:
            return trainer.total_steps_done, trainer.epochs_done + int(self.epoch_done), 0
        # Within a step the trainer saves after the weights have changed and before it counts the step.
        more = int(self.in_step)
        return trainer.total_steps_done + more, trainer.epochs_done, self.batch + more


def random_states() -> dict[str, Any]:
    """The states of Python's, numpy's and torch's generators, and of each card's."""
    version, numbers, gauss = random.getstate()
    states: dict[str, Any] = {
        "python": [version, torch.tensor(numbers, dtype=torch.int64), gauss],
        "torch": torch.get_rng_state(),
        "numpy": None,
        "cuda": [],
    }
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        name, words, position, has_gauss, cached = numpy.random.get_state()
        states["numpy"] = [str(name), words.tolist(), int(position), int(has_gauss), float(cached)]
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore_random(states: Mapping[str, Any]) -> None:
    """Put all generators back to `states`; cards that are not here are passed over."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    torch.set_rng_state(states["torch"])
    numpy = sys.modules.get("numpy")
    if numpy is not None and states["numpy"] is not None:
        numpy.random.set_state(tuple(states["numpy"]))
    if torch.cuda.is_available():
        for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, index)


def plain(value: Any) -> Any:
    """`value` with tensors moved to the CPU and numpy's numbers made Python's."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    # numpy's float64 is a float too, and torch.load would refuse it.
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value.item() if hasattr(value, "item") else None


def _averages(keeper: Any) -> dict[str, Any] | None:
    if keeper is None:
        return None
    return {"values": plain(keeper.avg_values), "iters": plain(keeper.iters)}


def restore_averages(keeper: Any, kept: Mapping[str, Any] | None) -> None:
    """Put the running averages of an unfinished epoch back."""
    if keeper is not None and kept is not None:
        keeper.avg_values = dict(kept["values"])
        keeper.iters = dict(kept["iters"])


def _gradients(model: Any) -> dict[str, Any]:
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: plain(gradient) for name, gradient in found.items() if gradient is not None}


def restore_gradients(model: Any, kept: Mapping[str, Any]) -> None:
    """Put back what has been accumulated for the next optimizer step."""
    for name, parameter in model.named_parameters():
        if name in kept:
            parameter.grad = kept[name].to(parameter.device, parameter.dtype)


def make_record(
    trainer: Any, position: tuple[int, int, int], *, in_step: bool, in_epoch: bool
) -> dict[str, Any]:
    """What is saved with a checkpoint, less what the host adds.

    Args:
        trainer: the Trainer.
        position: steps done, epochs done, batches done of the epoch after those.
        in_step: within a train step; an evaluation may be due right after it.
        in_epoch: within an epoch's training.
    """
    total, epoch, batch = position
    config = trainer.config
    due = in_step and config.run_eval and config.run_eval_steps and total % config.run_eval_steps == 0
    return {
        "schema": SCHEMA,
        "total_steps_done": total,
        "epoch": epoch,
        "batch": batch,
        "eval_due": bool(due),
        "rng": random_states(),
        "best_loss": plain(trainer.best_loss),
        "stepped_optimizers": sorted(trainer._stepped_optimizers, key=str),  # noqa: SLF001 - kept nowhere else.
        "averages": {
            "train": _averages(trainer.keep_avg_train) if in_epoch else None,
            "eval": _averages(trainer.keep_avg_eval) if in_epoch else None,
        },
        "gradients": _gradients(trainer.model) if in_epoch and trainer.grad_accum_steps > 1 else {},
    }


def checkpoint_bytes(model: Any) -> int:
    """About how large a checkpoint will be: the weights and Adam's two averages of each."""
    sizes: list[int] = [parameter.numel() * parameter.element_size() for parameter in model.parameters()]
    return 3 * sum(sizes)


def scalar_loss(best: Any) -> float | None:
    """The one number in a best loss; None while there is none."""
    if isinstance(best, Mapping):
        best = best.get("eval_loss") if best.get("eval_loss") is not None else best.get("train_loss")
    if best is None or not math.isfinite(float(best)):
        return None
    return float(best)


def checkpoint_range(model: Any) -> tuple[int, int]:
    """The bytes that a checkpoint has at least, which are its weights, and those that it will have about."""
    likely = checkpoint_bytes(model)
    return likely // 3, likely


def write_whole(
    state: Any, path: Path, options: Mapping[str, Any], limited: Callable[[Any], Any] = lambda file: file
) -> None:
    """Save under a name that no pattern of the trainer or of the kernel picks up, then take the final one.

    Args:
        state: what is saved.
        path: its final name.
        options: of torch.save.
        limited: what is put around the file, so that it does not take more than there is room for.

    Raises:
        OSError: the file cannot be written; what was there before still is.
    """
    part = path.with_name(f".kgtts-{path.name}.part")
    try:
        with part.open("wb") as file:
            torch.save(state, limited(file), **options)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
