"""What the host needs of Coqui's `trainer` package, and how it patches it.

Written against coqui-tts-trainer 0.4.0; a release that lacks any of this is not patched at all.
"""

import contextlib
import functools
import inspect
import json
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, Protocol


class Arguments(Protocol):
    """The Trainer's command line (`TrainerArgs`)."""

    continue_path: str
    restore_path: str
    best_path: str
    rank: int


class Config(Protocol):
    """The training's configuration (`TrainerConfig`)."""

    batch_size: int
    epochs: int
    eval_batch_size: int | None
    mixed_precision: bool
    run_eval: bool
    run_eval_steps: int | None
    save_best_after: int
    save_n_checkpoints: int
    training_seed: int


class Trainer(Protocol):
    """The parts of a `Trainer` that the host reads or changes."""

    args: Arguments
    best_loss: Any
    callbacks: Any
    config: Config
    continue_run: bool
    criterion: list[Any]
    epochs_done: int
    eval_loader: Any
    eval_samples: Any
    grad_accum_steps: int
    keep_avg_eval: Any
    keep_avg_train: Any
    model: Any
    optimizer: list[Any]
    scaler: Any
    scheduler: list[Any]
    start_with_eval: bool
    total_steps_done: int
    train_loader: Any
    train_samples: Any
    use_amp_scaler: bool
    _stepped_optimizers: set[Any]

    eval_epoch: Callable[[], None]
    format_batch: Callable[[Any], Any]
    get_eval_dataloader: Callable[..., Any]
    get_train_dataloader: Callable[..., Any]
    prepare_accelerate_loader: Callable[[Any], Any]
    save_checkpoint: Callable[[], None]


# Methods that the Trainer must have, with their parameters.
_METHODS: dict[str, tuple[str, ...]] = {
    "_fit": ("self",),
    "_model_train_step": ("self", "batch", "criterion", "optimizer_idx"),
    "_restore_best_loss": ("self",),
    "eval_epoch": ("self",),
    "fit": ("self",),
    "format_batch": ("self", "batch"),
    "get_eval_dataloader": ("self", "samples", "verbose"),
    "get_train_dataloader": ("self", "samples", "verbose"),
    "init_training": ("args", "coqpit_overrides", "config"),
    "optimize": (
        *("self", "batch", "optimizer", "scaler", "criterion", "scheduler"),
        *("optimizer_idx", "step_optimizer", "num_optimizers"),
    ),
    "prepare_accelerate_loader": ("self", "data_loader"),
    "restore_model": ("self",),
    "save_best_model": ("self",),
    "save_checkpoint": ("self",),
    "train_epoch": ("self",),
    "train_step": ("self", "batch", "batch_n_steps", "step", "loader_start_time"),
}
_FUNCTIONS = {
    "trainer.trainer": (
        *("load_fsspec", "get_last_checkpoint", "remove_experiment_folder", "get_experiment_folder_path"),
    ),
    "trainer.io": ("save_fsspec", "get_last_checkpoint"),
}


def is_coqui(package: types.ModuleType) -> bool:
    """Whether `package` is Coqui's: a script may have a module of its own with this name."""
    return isinstance(getattr(package, "Trainer", None), type) and "trainer.trainer" in sys.modules


def missing_parts(package: types.ModuleType) -> list[str]:
    """Return the names that the host patches or calls and that this release does not have as expected."""
    trainer: Any = getattr(package, "Trainer", None)
    missing = [name for name, parameters in _METHODS.items() if not _has(trainer, name, parameters)]
    for module, names in _FUNCTIONS.items():
        missing += [name for name in names if not hasattr(sys.modules.get(module), name)]
    return missing


def _has(owner: Any, name: str, parameters: tuple[str, ...]) -> bool:
    function = getattr(owner, name, None)
    return callable(function) and tuple(inspect.signature(function).parameters) == parameters


def has_own_optimize(trainer: Trainer) -> bool:
    """Whether the model takes its optimizer steps itself instead of in the Trainer's `optimize`."""
    base: Any = getattr(sys.modules.get("trainer.model"), "TrainerModel", None)
    own = getattr(type(trainer.model), "optimize", None)
    return own is not None and own is not getattr(base, "optimize", None)


def make_train_loader(trainer: Trainer) -> None:
    """Do what the Trainer does at the start of its first epoch."""
    loader = trainer.get_train_dataloader(trainer.train_samples, verbose=True)
    trainer.train_loader = trainer.prepare_accelerate_loader(loader)


def set_in_config(config: Any, key: str, text: str) -> None:
    """Set a value of a configuration at a dotted path; `text` is JSON, or else the value itself.

    A path that the configuration does not have is ignored; the session says at its end what was not used.
    """
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    *way, last = key.split(".")
    place = config
    with contextlib.suppress(AttributeError, IndexError, KeyError, TypeError, ValueError):
        for part in way:
            place = place[int(part)] if isinstance(place, list) else getattr(place, part)
        if isinstance(place, list):
            place[int(last)] = value
        elif hasattr(place, last):
            whole = isinstance(value, int) and not isinstance(value, bool)
            setattr(place, last, float(value) if whole and isinstance(getattr(place, last), float) else value)


def patch(owner: Any, name: str, hook: Callable[..., Any]) -> None:
    """Replace the function `owner.name` by a call of `hook(original, *arguments)`."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def patched(*args: Any, **kwargs: Any) -> Any:
        return hook(original, *args, **kwargs)

    setattr(owner, name, patched)


class PatchedLoader:
    """A data loader whose iteration and length are replaced; all else is the loader's own.

    Args:
        loader: the loader.
        batches: iterates over it.
        steps: its new length.
    """

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
