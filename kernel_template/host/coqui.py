"""Wrapping functions of the `trainer` package, and whether the installed release is one that the hooks fit.

Written against coqui-tts-trainer 0.4.0; nothing is wrapped in a release that lacks any of this.
"""

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

# What the Trainer must have, with its parameters.
_METHODS: dict[str, tuple[str, ...]] = {
    "_fit": ("self",),
    "_restore_best_loss": ("self",),
    "restore_model": ("self",),
    "save_checkpoint": ("self",),
    "save_best_model": ("self",),
    "train_epoch": ("self",),
    "eval_epoch": ("self",),
    "fit": ("self",),
    "train_step": ("self", "batch", "batch_n_steps", "step", "loader_start_time"),
    "get_train_dataloader": ("self", "samples", "verbose"),
    "get_eval_dataloader": ("self", "samples", "verbose"),
    "prepare_accelerate_loader": ("self", "data_loader"),
}
# What several cards, or several batches in a step, need besides.
_SHARED_METHODS: dict[str, tuple[str, ...]] = {
    "_model_train_step": ("self", "batch", "criterion", "optimizer_idx"),
    "format_batch": ("self", "batch"),
    "optimize": (
        "self",
        "batch",
        "optimizer",
        "scaler",
        "criterion",
        "scheduler",
        "optimizer_idx",
        "step_optimizer",
        "num_optimizers",
    ),
}
_CORE_NAMES = (
    "load_fsspec",
    "get_last_checkpoint",
    "remove_experiment_folder",
    "get_experiment_folder_path",
)
_IO_NAMES = ("save_fsspec", "get_last_checkpoint")


def is_coqui(package: types.ModuleType) -> bool:
    """Whether `package` is Coqui's: a script may have a module of its own by this name."""
    return isinstance(getattr(package, "Trainer", None), type) and "trainer.trainer" in sys.modules


def lacking(package: types.ModuleType) -> list[str]:
    """What the hooks need and this release does not have."""
    trainer: Any = getattr(package, "Trainer", None)
    methods = _METHODS | _SHARED_METHODS
    missing = [name for name, parameters in methods.items() if not _has(trainer, name, parameters)]
    for module, names in (("trainer.trainer", _CORE_NAMES), ("trainer.io", _IO_NAMES)):
        missing += [name for name in names if not hasattr(sys.modules.get(module), name)]
    return missing


def _has(owner: Any, name: str, wanted: tuple[str, ...]) -> bool:
    function = getattr(owner, name, None)
    return callable(function) and tuple(inspect.signature(function).parameters) == wanted


def optimizes_itself(trainer: Any) -> bool:
    """Whether the model takes its optimizer steps in a method of its own, past the trainer's `optimize`."""
    base: Any = getattr(sys.modules.get("trainer.model"), "TrainerModel", None)
    own = getattr(type(trainer.model), "optimize", None)
    return own is not None and own is not getattr(base, "optimize", None)


def wrap(owner: Any, name: str, hook: Callable[..., Any]) -> None:
    """Replace `owner.name` by a call of `hook` with the original before the arguments."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def hooked(*args: Any, **kwargs: Any) -> Any:
        return hook(original, *args, **kwargs)

    setattr(owner, name, hooked)


class Feed:
    """A data loader whose batches go through `batches`, `steps` in all; in all else the loader itself."""

    def __init__(self, loader: Any, batches: Callable[[Any], Iterator[Any]], steps: int) -> None:
        self._loader = loader
        self._batches = batches
        self._steps = steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Any]:
        return self._batches(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
