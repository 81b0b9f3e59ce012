"""Going on from a checkpoint exactly, where the trainer alone would not.

The trainer repeats the checkpoint's epoch from its start, counts `step + 1` also where that is wrong, loses
the random states and the order of the samples, takes the checkpoint with the largest number, and reads the
best loss from the wrong file. The record that travels in each checkpoint (host_state.py) puts that right.
"""

import os
from collections.abc import Callable
from typing import Any

import torch

from kernel_template.host.protocol import Control
from kernel_template.host.state import (
    KEY,
    SCHEMA,
    random_states,
    restore_averages,
    restore_gradients,
    restore_random,
)


def _same(one: Any, other: Any) -> bool:
    return os.path.realpath(str(one)) == os.path.realpath(str(other))


class Continuation:
    """What one process knows of the session before it.

    Args:
        control: what the kernel asks: a `Control` of host_pace.py.
        warn: tells the kernel and the log.
    """

    def __init__(self, control: Control, warn: Callable[[str], None]) -> None:
        self.record: dict[str, Any] | None = None
        self.loader_rng: dict[str, Any] = {"train": None, "eval": None}
        self._control = control
        self._warn = warn

    # ---- Hooks

    def arguments(self, arguments: Any) -> None:
        """A script that does not hand --continue_path on to its Trainer goes on all the same."""
        folder = self._control.continue_path
        if folder and hasattr(arguments, "continue_path"):
            arguments.continue_path = folder

    def last_checkpoint(self, original: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        """The checkpoint that the kernel has verified."""
        control = self._control
        if control.continue_path and control.checkpoint and _same(path, control.continue_path):
            return control.checkpoint, control.best_model or control.checkpoint
        return original(path, *args, **kwargs)

    def load(self, original: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep the record of the checkpoint that the trainer loads: a file of 1 GB is read once."""
        state = original(path, *args, **kwargs)
        checkpoint = self._control.checkpoint
        if checkpoint and _same(path, checkpoint) and isinstance(state, dict):
            self.record = state.get(KEY)
        return state

    def best_loss(self, original: Callable[..., None], trainer: Any) -> None:
        """The best loss of the record; without one, of the best model rather than of the checkpoint."""
        if self.record is not None and self.record.get("best_loss") is not None:
            trainer.best_loss = self.record["best_loss"]
            return
        arguments = trainer.args
        kept = arguments.restore_path
        if trainer.continue_run and arguments.best_path:
            arguments.restore_path = arguments.best_path
        try:
            original(trainer)
        finally:
            arguments.restore_path = kept

    def make_loader(self, kind: str, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Note the random states under which a loader is made."""
        self.loader_rng = {**self.loader_rng, kind: random_states()}
        return original(*args, **kwargs)

    # ---- The trainer's place

    def restore(self, trainer: Any) -> dict[str, Any] | None:
        """Put the trainer where its checkpoint was saved. Returns the record, or None where there is none.

        In the middle of an epoch, what belongs to that epoch is left to `restore_middle`.
        """
        if not trainer.continue_run:
            return None
        record = self.record
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            self.record = None
            self._warn(
                "The checkpoint was not saved under kgtts: the training goes on in the trainer's own way, "
                "which repeats the epoch that the checkpoint was saved in and draws new random numbers."
            )
            return None
        trainer.total_steps_done = record["total_steps_done"]
        trainer.epochs_done = record["epoch"]
        trainer.start_with_eval = False  # An epoch that only evaluates belongs to a run's beginning.
        self._make_loaders(trainer, record["loader_rng"])
        if not record["batch"]:
            restore_random(record["rng"])
        return record

    def _make_loaders(self, trainer: Any, before: dict[str, Any]) -> None:
        """Data sets shuffle their samples once, when their loader is made: under the same random numbers."""
        if before["train"] is not None and trainer.train_loader is None:
            restore_random(before["train"])
            make_train_loader(trainer)
        if before["eval"] is not None and trainer.eval_loader is None:
            restore_random(before["eval"])
            with torch.inference_mode():  # As in eval_epoch.
                trainer.eval_loader = trainer.get_eval_dataloader(trainer.eval_samples, verbose=True)

    def restore_middle(self, trainer: Any, record: dict[str, Any]) -> None:
        """Put back what an unfinished epoch has gathered, and make up for an evaluation that was due."""
        trainer._stepped_optimizers = set(record["stepped_optimizers"])  # noqa: SLF001 - it has no other way in.
        restore_averages(trainer.keep_avg_train, record["averages"]["train"])
        restore_averages(trainer.keep_avg_eval, record["averages"]["eval"])
        restore_gradients(trainer.model, record["gradients"])
        restore_random(record["rng"])
        if record["eval_due"]:
            trainer.eval_epoch()
            trainer.model.train()


def make_train_loader(trainer: Any) -> None:
    """What the trainer does at the start of its first epoch."""
    loader = trainer.get_train_dataloader(trainer.train_samples, verbose=True)
    trainer.train_loader = trainer.prepare_accelerate_loader(loader)
