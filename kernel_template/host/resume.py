"""Resuming from a checkpoint exactly, where the trainer alone would not.

The trainer repeats the checkpoint's epoch from its start, counts a step too many in places, loses the random
states and the order of the samples, takes the checkpoint with the largest number, and reads the best loss
from the wrong file. The record in each checkpoint (state.py) corrects that.
"""

import json
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch

from kernel_template.contract import HostStop
from kernel_template.host.base_voice import BaseVoice
from kernel_template.host.coqui import Arguments, Trainer, make_train_loader
from kernel_template.host.finite import finite_checkpoint
from kernel_template.host.pickled import load_weights
from kernel_template.host.protocol import Control
from kernel_template.host.report import Reporter
from kernel_template.host.state import (
    KEY,
    SCHEMA,
    RandomStates,
    Record,
    random_states,
    restore_averages,
    restore_gradients,
    restore_random,
)


def _same(one: Any, other: Any) -> bool:
    return os.path.realpath(str(one)) == os.path.realpath(str(other))


def _or_infinite(best: Any) -> Any:
    """Return a best loss without NaN, since no loss would ever be better than that."""
    if isinstance(best, dict):
        return {name: _or_infinite(value) for name, value in best.items()}
    return math.inf if isinstance(best, float) and math.isnan(best) else best


def _dotted(owner: Any, key: str) -> Any:
    """Return the value at a dotted path of a configuration; None if there is none."""
    for part in key.split("."):
        if isinstance(owner, list):
            owner = owner[int(part)] if part.isdigit() and int(part) < len(owner) else None
        else:
            owner = owner.get(part) if isinstance(owner, dict) else getattr(owner, part, None)
    return owner


class Resume:
    """What one process knows of the previous session.

    Args:
        control: where to resume from.
        reporter: takes warnings.
        quiet: whether another process prints these messages already.
    """

    def __init__(self, control: Control, reporter: Reporter, *, quiet: bool = False) -> None:
        self.record: Record | None = None
        self.loader_rng: dict[str, RandomStates | None] = {"train": None, "eval": None}
        self._control = control
        self._reporter = reporter
        self._quiet = quiet
        self._base = BaseVoice(control.base_config, reporter, quiet=quiet)
        self._restoring: Trainer | None = None  # The Trainer that is loading a base voice.

    # ---- Hooks

    def restore_model(self, original: Callable[..., None], trainer: Trainer) -> None:
        """Hook of `Trainer.restore_model`: note who loads what comes next."""
        self._restoring = None if trainer.continue_run else trainer
        try:
            original(trainer)
        finally:
            self._restoring = None

    def set_arguments(self, arguments: Arguments | None) -> None:
        """Resume even if a script does not pass --continue_path on to its Trainer."""
        folder = self._control.continue_path
        if folder and arguments is not None and hasattr(arguments, "continue_path"):
            arguments.continue_path = folder

    def keep_own_settings(self, config: Any) -> None:
        """Keep what the script sets itself: continuing, the trainer takes all settings from the run folder.

        The session has written the user's settings into it. A script that sets another value has trained with
        that in the session before, and goes on with it.
        """
        folder = self._control.continue_path
        kept = {
            key: before
            for key, (before, asked) in self._control.changed.items()
            if (own := _dotted(config, key)) == before and own != asked
        }
        if not folder or not kept:
            return
        path = Path(folder, "config.json")
        values = json.loads(path.read_text(encoding="utf-8"))
        for key, value in kept.items():
            *way, last = key.split(".")
            place = values
            for part in way:
                place = place[int(part)] if isinstance(place, list) else place[part]
            place[last] = value
            if not self._quiet:
                self._reporter.say(
                    f"{key} = {json.dumps(value, ensure_ascii=False)} is set by the script itself"
                )
        path.write_text(json.dumps(values, ensure_ascii=False, indent=4), encoding="utf-8")

    def last_checkpoint(self, original: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        """Hook of `get_last_checkpoint`: return the checkpoint that the session has verified."""
        control = self._control
        if control.continue_path and control.checkpoint and _same(path, control.continue_path):
            return control.checkpoint, control.best_model or control.checkpoint
        return original(path, *args, **kwargs)

    def load(self, original: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        """Hook of `load_fsspec`: keep the record, so that a file of 1 GB is read only once."""
        try:
            state = original(path, *args, **kwargs)
        except pickle.UnpicklingError:
            found = load_weights(path, "cpu")
            if found is None:
                raise
            state, objects = found
            if not self._quiet:
                self._reporter.say(f"objects in the base voice's checkpoint are left out: {objects}")
        checkpoint = self._control.checkpoint
        resumed = bool(checkpoint and _same(path, checkpoint))
        if not finite_checkpoint(state):
            self._refuse(str(path), resumed=resumed)
        if self._restoring is not None and not resumed:
            state = self._base.prepared(state, self._restoring)
        if resumed and isinstance(state, dict):
            self.record = state.get(KEY)
        return state

    def _refuse(self, path: str, *, resumed: bool) -> NoReturn:
        """End this process: training on would only give NaN.

        Raises:
            SystemExit: the session takes an older checkpoint instead.
            ValueError: this is the base voice, and there is no other.
        """
        name = os.path.basename(path)  # noqa: PTH119 - it may be an address.
        if not resumed:
            raise ValueError(f"The weights in {name} are NaN or infinite: nothing can be trained from them.")
        self._reporter.say(f"the weights in {name} are NaN or infinite: nothing can be trained from them")
        self._reporter.write(stopped=HostStop.NOT_FINITE, bad_checkpoint=path, hooks=True)
        raise SystemExit(1)

    def restore_best_loss(self, original: Callable[..., None], trainer: Trainer) -> None:
        """Hook: take the record's best loss; without one, the best model's and not the checkpoint's."""
        if self.record is not None and self.record.get("best_loss") is not None:
            trainer.best_loss = _or_infinite(self.record["best_loss"])
            return
        arguments = trainer.args
        before = arguments.restore_path
        if trainer.continue_run and arguments.best_path:
            arguments.restore_path = arguments.best_path
        try:
            original(trainer)
        finally:
            arguments.restore_path = before
        trainer.best_loss = _or_infinite(trainer.best_loss)

    def note_loader(self, kind: str) -> None:
        """Note the random states with which the loader `train` or `eval` is about to be made."""
        self.loader_rng = {**self.loader_rng, kind: random_states()}

    # ---- The trainer's state

    def restore(self, trainer: Trainer) -> Record | None:
        """Put the trainer where its checkpoint was saved. Returns the record, or None without one.

        If that is in the middle of an epoch, `restore_unfinished_epoch` must be called in that epoch.
        """
        if not trainer.continue_run:
            return None
        record = self.record
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            self.record = None
            self._reporter.warn(
                "The checkpoint was not saved by kgtts: the training resumes in the trainer's own way, which "
                "repeats the checkpoint's epoch and draws new random numbers."
            )
            return None
        trainer.total_steps_done = record["total_steps_done"]
        trainer.epochs_done = record["epoch"]
        trainer.start_with_eval = False  # An epoch that only evaluates belongs to a run's beginning.
        self._make_loaders(trainer, record["loader_rng"])
        if not record["batch"]:
            restore_random(record["rng"])
        return record

    def _make_loaders(self, trainer: Trainer, before: dict[str, RandomStates | None]) -> None:
        """Make the loaders with the same random states as before: a dataset may shuffle its samples then."""
        if before["train"] is not None and trainer.train_loader is None:
            restore_random(before["train"])
            make_train_loader(trainer)
        if before["eval"] is not None and trainer.eval_loader is None:
            restore_random(before["eval"])
            with torch.inference_mode():  # As in eval_epoch.
                trainer.eval_loader = trainer.get_eval_dataloader(trainer.eval_samples, verbose=True)

    def restore_unfinished_epoch(self, trainer: Trainer, record: Record) -> None:
        """Restore what an unfinished epoch has gathered, and make up for an evaluation that was due."""
        trainer._stepped_optimizers = set(record["stepped_optimizers"])  # noqa: SLF001 - there is no other way.
        restore_averages(trainer.keep_avg_train, record["averages"]["train"])
        restore_averages(trainer.keep_avg_eval, record["averages"]["eval"])
        restore_gradients(trainer.model, record["gradients"])
        restore_random(record["rng"])
        if record["eval_due"]:
            trainer.eval_epoch()
            trainer.model.train()
