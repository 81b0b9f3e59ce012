"""Saving: every file whole, and every checkpoint with the record that makes going on exact."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernel_template.host.disk import DiskBudget
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.state import KEY, Place, make_record, plain, write_whole

_STATE_KEYS = frozenset({"model", "optimizer", "step", "epoch"})  # A dict with these is a checkpoint.


class Saving:
    """Hooks around what the trainer writes.

    Args:
        disk: makes room: a `DiskBudget` of host_disk.py.
        rendezvous: who this process is: a `Rendezvous` of host_rank.py.
        place: where in its loop the trainer is: a `Place`.
        clock: seconds of a clock that never goes back.
        extra: what a record holds beside the trainer's own state.
        spent: told how long each file took.
        saved: told when a checkpoint is whole.
    """

    def __init__(  # noqa: PLR0913 - it stands between all of these.
        self,
        *,
        disk: DiskBudget,
        rendezvous: Rendezvous,
        place: Place,
        clock: Callable[[], float],
        extra: Callable[[], dict[str, Any]],
        spent: Callable[[float], None],
        saved: Callable[[], None],
    ) -> None:
        self.trainer: Any = None
        self.bad_evals = 0
        self.position: tuple[int, int, int] | None = None  # That of the last checkpoint.
        self._disk = disk
        self._rendezvous = rendezvous
        self._place = place
        self._clock = clock
        self._extra = extra
        self._spent = spent
        self._saved = saved

    def here(self) -> None:
        """Save, unless this very position is saved."""
        if self.position != self._place.position(self.trainer):
            self.trainer.save_checkpoint()

    def best_model(self, original: Callable[..., None], trainer: Any) -> None:
        """Count the evaluations that were no better."""
        self._place.epoch_done = True
        best = trainer.best_loss
        original(trainer)
        if trainer.best_loss is not best:
            self.bad_evals = 0
        elif trainer.config.run_eval and trainer.total_steps_done > trainer.config.save_best_after:
            self.bad_evals += 1

    def file(self, original: Callable[..., None], state: Any, path: Any, **options: Any) -> None:
        """Write beside, then rename: a file of the final name is always whole."""
        if "://" in str(path):
            original(state, path, **options)
            return
        began = self._clock()
        trainer = self.trainer
        is_checkpoint = trainer is not None and isinstance(state, dict) and state.keys() >= _STATE_KEYS
        if is_checkpoint:
            state = {**state, KEY: self._record(state, Path(path).name)}
        with self._rendezvous.saving(), self._disk.saving(Path(path), state) as limited:
            write_whole(state, Path(path), options, limited)
        self._spent(self._clock() - began)
        if is_checkpoint:
            self.position = self._place.position(trainer)
            self._saved()

    def _record(self, state: dict[str, Any], name: str) -> dict[str, Any]:
        trainer, place = self.trainer, self._place
        record: dict[str, Any] = make_record(
            trainer, place.position(trainer), in_step=place.in_step, in_epoch=place.in_train
        )
        record |= {**self._extra(), "bad_evals": self.bad_evals}
        if name.startswith("best_model"):
            # The trainer takes this loss for its best only after the file is written.
            record |= {"best_loss": plain(state["model_loss"]), "bad_evals": 0}
        return record
