"""What a checkpoint of the trainer lacks for resuming exactly: random states, the batch, running averages.

All of it is numbers, texts, lists, dicts and tensors, so that `torch.load(weights_only=True)` accepts it.
"""

import math
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NotRequired, TypedDict

import torch

from kernel_template.host.coqui import Trainer

KEY = "kgtts"  # The checkpoint's key that holds the record.
SCHEMA = 1

RandomStates = Mapping[str, Any]


class Record(TypedDict):
    """What the host adds to a checkpoint."""

    schema: int
    total_steps_done: int
    epoch: int  # Epochs done.
    batch: int  # Batches done of the epoch after those.
    step_samples: NotRequired[int]  # What a step of all ranks sees; older checkpoints lack it.
    eval_due: bool  # An evaluation comes right after the step in which this was saved.
    rng: RandomStates
    epoch_rng: RandomStates | None  # At the start of an unfinished epoch.
    loader_rng: dict[str, RandomStates | None]  # When the loaders `train` and `eval` were made.
    best_loss: Any
    bad_evals: int  # Evaluations since the best one.
    stepped_optimizers: list[int]
    averages: dict[str, Any]
    gradients: dict[str, torch.Tensor]


class Position(NamedTuple):
    """Steps done, epochs done, and batches done of the epoch after those."""

    global_step: int
    epoch: int
    batch: int


@dataclass(slots=True)
class LoopState:
    """Where in its loop the trainer is."""

    in_train: bool = False
    in_step: bool = False
    epoch_done: bool = False
    batch: int = 0  # Batches done of this epoch.
    skipped: int = 0  # Those of them that an earlier session did.
    batches: int | None = None  # Batches of an epoch.
    trained: bool = False  # Whether this process has made a step.

    def position(self, trainer: Trainer) -> Position:
        """Return the position that a checkpoint written now would have."""
        if not self.in_train:
            return Position(trainer.total_steps_done, trainer.epochs_done + int(self.epoch_done), 0)
        # Within a step the trainer saves after it has changed the weights and before it counts the step.
        more = int(self.in_step)
        return Position(trainer.total_steps_done + more, trainer.epochs_done, self.batch + more)


def random_states() -> RandomStates:
    """Return the states of Python's, numpy's and torch's generators, and of each GPU's."""
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


def restore_random(states: RandomStates | None) -> None:
    """Set all generators to `states`; those of GPUs that are not here are ignored."""
    assert states is not None
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
    """Return `value` with tensors on the CPU, and Python's numbers instead of numpy's."""
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
    """Restore the running averages of an unfinished epoch."""
    if keeper is not None and kept is not None:
        keeper.avg_values = dict(kept["values"])
        keeper.iters = dict(kept["iters"])


def _gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: plain(gradient) for name, gradient in found.items() if gradient is not None}


def restore_gradients(model: Any, kept: Mapping[str, torch.Tensor]) -> None:
    """Restore what has been accumulated for the next optimizer step."""
    for name, parameter in model.named_parameters():
        if name in kept:
            parameter.grad = kept[name].to(parameter.device, parameter.dtype)


def make_record(
    trainer: Trainer,
    loop: LoopState,
    *,
    bad_evals: int,
    epoch_rng: RandomStates | None,
    loader_rng: dict[str, RandomStates | None],
) -> Record:
    """Return what a checkpoint written now needs."""
    total, epoch, batch = loop.position(trainer)
    config = trainer.config
    every = config.run_eval_steps if config.run_eval else None
    in_epoch = loop.in_train
    return {
        "schema": SCHEMA,
        "total_steps_done": total,
        "epoch": epoch,
        "batch": batch,
        "eval_due": bool(loop.in_step and every and total % every == 0),
        "rng": random_states(),
        "epoch_rng": epoch_rng if in_epoch else None,
        "loader_rng": loader_rng,
        "best_loss": plain(trainer.best_loss),
        "bad_evals": bad_evals,
        "stepped_optimizers": sorted(trainer._stepped_optimizers, key=str),  # noqa: SLF001 - kept nowhere else.
        "averages": {
            "train": _averages(trainer.keep_avg_train) if in_epoch else None,
            "eval": _averages(trainer.keep_avg_eval) if in_epoch else None,
        },
        "gradients": _gradients(trainer.model) if in_epoch and trainer.grad_accum_steps > 1 else {},
    }


def weight_bytes(model: Any) -> int:
    """Return the bytes of the weights; with Adam's averages a checkpoint takes about three times that."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def scalar_loss(best: Any) -> float | None:
    """Return the one number in a best loss; None if there is none yet."""
    if isinstance(best, Mapping):
        best = best.get("eval_loss") if best.get("eval_loss") is not None else best.get("train_loss")
    if best is None or not math.isfinite(float(best)):
        return None
    return float(best)
