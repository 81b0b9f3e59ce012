"""Writing checkpoints: every file whole, and each with the record that makes resuming exact."""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kernel_template.contract import OWN_PREFIX
from kernel_template.host.coqui import Trainer
from kernel_template.host.disk import DiskBudget
from kernel_template.host.finite import is_trainable
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.state import KEY, LoopState, Position, Record, plain
from kernel_template.train.progress import file_step

_CHECKPOINT_KEYS = frozenset({"model", "optimizer", "step", "epoch"})  # A dict with these is a checkpoint.


@dataclass(slots=True, kw_only=True)
class CheckpointWriter:
    """Hooks around what the trainer writes."""

    disk: DiskBudget
    rendezvous: Rendezvous
    loop: LoopState
    clock: Callable[[], float]
    record: Callable[[], Record]  # Makes what a checkpoint needs beside the trainer's own state.
    wrote: Callable[[float], None]  # Called with the seconds that each file took.
    saved: Callable[[], None]  # Called when a checkpoint is whole.
    say: Callable[[str], None]  # Writes a line to the log.
    every_s: float | None = None  # How old the last one may get.
    written_at: float | None = None  # When it was written, or when the first step ended.
    trainer: Trainer | None = None
    bad_evals: int = 0  # Evaluations since the best one.
    position: Position | None = None  # That of the last checkpoint.
    refused: bool = False  # The last one was not written: the weights were NaN or infinite.

    def save(self) -> None:
        """Write a checkpoint, unless one was written at this position."""
        assert self.trainer is not None
        if self.position != self.loop.position(self.trainer):
            self.trainer.save_checkpoint()

    def save_if_due(self) -> None:
        """Write a checkpoint if the last one is too old, on a machine that may be lost at any time."""
        now = self.clock()
        if self.written_at is None:
            self.written_at = now
        if self.every_s is not None and now - self.written_at >= self.every_s:
            self.written_at = now
            self.save()

    def save_checkpoint(self, original: Callable[..., None], trainer: Trainer) -> None:
        """Hook of `Trainer.save_checkpoint`: weights that are NaN or infinite are not saved."""
        self.refused = not is_trainable(trainer)
        if not self.refused:
            original(trainer)
        else:
            self.say("no checkpoint is written: the weights are NaN or infinite")

    def save_best_model(self, original: Callable[..., None], trainer: Trainer) -> None:
        """Hook of `Trainer.save_best_model`: count the evaluations that were not better."""
        self.loop.epoch_done = True
        best = trainer.best_loss
        if is_trainable(trainer):
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
        began = self.clock()
        file, trainer = Path(path), self.trainer
        is_checkpoint = trainer is not None and isinstance(state, dict) and state.keys() >= _CHECKPOINT_KEYS
        if is_checkpoint:
            record = self.record()
            if file.name.startswith("best_model"):
                # The trainer makes this loss its best one only after the file is written.
                record |= {"best_loss": plain(state["model_loss"]), "bad_evals": 0}
            state = {**state, KEY: record}
        with self.rendezvous.saving(), self.disk.saving(file, state) as limit:
            write_whole(state, file, options, limit)
        self.wrote(self.clock() - began)
        if is_checkpoint:
            assert trainer is not None
            self.written_at = self.clock()
            position = self.loop.position(trainer)
            # Within a step the trainer names its file by the step before. If the training stops there, it is
            # saved again: the session and its successor know the step by the name.
            self.position = position if file_step(file.name) == position.global_step else None
            self.saved()


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
    part = path.with_name(f"{OWN_PREFIX}{path.name}.part")
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
