"""Writing checkpoints: every file whole, and each with the record that makes resuming exact."""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from kernel_template.contract import TEMPORARY_PREFIX
from kernel_template.host.coqui import Trainer
from kernel_template.host.disk import DiskBudget
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.state import KEY, LoopState, Position, Record, plain

_CHECKPOINT_KEYS = frozenset({"model", "optimizer", "step", "epoch"})  # A dict with these is a checkpoint.


class CheckpointWriter:
    """Hooks around what the trainer writes.

    Args:
        disk: makes room for each file.
        rendezvous: which rank this is.
        loop: where in its loop the trainer is.
        clock: monotonic seconds.
        record: makes what a checkpoint needs beside the trainer's own state.
        wrote: called with the seconds that each file took.
        saved: called when a checkpoint is whole.
    """

    def __init__(  # noqa: PLR0913 - it stands between all of these.
        self,
        *,
        disk: DiskBudget,
        rendezvous: Rendezvous,
        loop: LoopState,
        clock: Callable[[], float],
        record: Callable[[], Record],
        wrote: Callable[[float], None],
        saved: Callable[[], None],
    ) -> None:
        self.trainer: Trainer | None = None
        self.bad_evals = 0
        self.position: Position | None = None  # That of the last checkpoint.
        self._disk = disk
        self._rendezvous = rendezvous
        self._loop = loop
        self._clock = clock
        self._record = record
        self._wrote = wrote
        self._saved = saved

    def save(self) -> None:
        """Write a checkpoint, unless there is one of this very position."""
        assert self.trainer is not None
        if self.position != self._loop.position(self.trainer):
            self.trainer.save_checkpoint()

    def save_best_model(self, original: Callable[..., None], trainer: Trainer) -> None:
        """Hook of `Trainer.save_best_model`: count the evaluations that were not better."""
        self._loop.epoch_done = True
        best = trainer.best_loss
        original(trainer)
        if trainer.best_loss is not best:
            self.bad_evals = 0
        elif trainer.config.run_eval and trainer.total_steps_done > trainer.config.save_best_after:
            self.bad_evals += 1

    def save_file(self, original: Callable[..., None], state: Any, path: Any, **options: Any) -> None:
        """Hook of `save_fsspec`: write a temporary file, then rename it."""
        if "://" in str(path):
            original(state, path, **options)
            return
        began = self._clock()
        file, trainer = Path(path), self.trainer
        is_checkpoint = trainer is not None and isinstance(state, dict) and state.keys() >= _CHECKPOINT_KEYS
        if is_checkpoint:
            record = self._record()
            if file.name.startswith("best_model"):
                # The trainer makes this loss its best one only after the file is written.
                record |= {"best_loss": plain(state["model_loss"]), "bad_evals": 0}
            state = {**state, KEY: record}
        with self._rendezvous.saving(), self._disk.saving(file, state) as limit:
            write_whole(state, file, options, limit)
        self._wrote(self._clock() - began)
        if is_checkpoint:
            assert trainer is not None
            self.position = self._loop.position(trainer)
            self._saved()


def write_whole(state: Any, path: Path, options: Mapping[str, Any], limit: Callable[[Any], Any]) -> None:
    """Write a temporary file that neither the trainer nor the session takes for a checkpoint, then rename it.

    Args:
        state: what is saved.
        path: the final name.
        options: for torch.save.
        limit: wraps the open file, so that it cannot grow beyond the room for it.

    Raises:
        OSError: the file cannot be written; an older one of this name is still there.
    """
    part = path.with_name(f"{TEMPORARY_PREFIX}{path.name}.part")
    try:
        with part.open("wb") as file:
            torch.save(state, limit(file), **options)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
