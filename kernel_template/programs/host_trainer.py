# ruff: noqa: INP001 - a part of host.py, which loads it from its own folder.
"""Coqui's Trainer, hosted from outside: it stops in time and every file that it saves is whole.

What the trainer does by itself and why that is not enough: it knows no clock; it writes checkpoints in
place, so that a second interrupt truncates them; an exception deletes a run folder that has no checkpoint
yet; nothing is saved at the end of the last epoch unless it was the best.
"""

import contextlib
import functools
import signal
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_STATE_KEYS = frozenset({"model", "optimizer", "step", "epoch"})  # A dict with these is a checkpoint.


class StopTraining(BaseException):
    """Leaves the training loop; nobody but the host catches it."""


class TrainerHost:
    """Hosts the Trainer of one training process.

    Args:
        control: what the kernel asks: a `Control` of host_pace.py.
        pace: the clock: a `Pace`.
        report: how it went, for the kernel: a `HostReport`.
        load: loads a program of the same folder as a module.
    """

    def __init__(self, control: Any, pace: Any, report: Any, load: Callable[[str], Any]) -> None:
        self._control = control
        self._pace = pace
        self._report = report
        self._states = load("host_state")
        self._wrapping = load("host_wrap")
        self._resuming = load("host_resume")
        self._past = self._resuming.Continuation(control, self._states, self._warn)
        self._place = self._states.Place()
        self._trainer: Any = None
        self._pending: dict[str, Any] | None = None  # The record of an epoch that is entered in the middle.
        self._signalled = False
        self._stopped: str | None = None
        self._bad_evals = 0
        self._epoch_rng: dict[str, Any] | None = None
        self._saved: tuple[int, int, int] | None = None  # The position of the last checkpoint.

    def install(self, package: types.ModuleType) -> None:
        """Wrap the package that has just been imported, if it is one that the hooks fit."""
        if not self._wrapping.is_coqui(package):
            return
        if lacking := self._wrapping.lacking(package):
            self._warn(
                f"This release of the trainer package lacks {', '.join(lacking)} as they are known: the "
                "training runs without hooks; it is stopped by an interrupt and goes on in the trainer's own "
                "way."
            )
            return
        core, io = sys.modules["trainer.trainer"], sys.modules["trainer.io"]
        past, wrap = self._past, self._wrapping.wrap
        trainer = package.Trainer
        wrap(trainer, "__init__", self._made)
        wrap(trainer, "_fit", self._fit)
        wrap(trainer, "_restore_best_loss", past.best_loss)
        wrap(trainer, "save_best_model", self._save_best_model)
        wrap(trainer, "train_epoch", self._train_epoch)
        wrap(trainer, "train_step", self._train_step)
        wrap(trainer, "get_train_dataloader", functools.partial(past.make_loader, "train"))
        wrap(trainer, "get_eval_dataloader", functools.partial(past.make_loader, "eval"))
        wrap(io, "save_fsspec", self._save)
        wrap(core, "load_fsspec", past.load)
        wrap(core, "get_last_checkpoint", past.last_checkpoint)
        wrap(io, "get_last_checkpoint", past.last_checkpoint)
        wrap(core, "remove_experiment_folder", lambda _original, _path: None)

    def _say(self, text: str) -> None:
        sys.stdout.write(f" > kgtts: {text}\n")
        sys.stdout.flush()

    def _warn(self, text: str) -> None:
        self._say(text)
        self._report.write(warnings=[*self._report.values["warnings"], text])

    def _note(self, **changes: Any) -> None:
        total, epoch, batch = self._place.position(self._trainer)
        if self._pending is not None:  # The epoch that is continued has not been entered.
            batch = self._pending["batch"]
        self._report.write(
            global_step=total,
            epoch=epoch,
            batch=batch,
            seconds_per_epoch=self._pace.seconds_per_epoch(self._place.batches),
            steps_per_epoch=self._place.batches,
            best_loss=self._states.scalar_loss(self._trainer.best_loss),
            bad_evals=self._bad_evals,
            **changes,
        )

    # ---- The training loop

    def _made(self, original: Callable[..., None], trainer: Any, *args: Any, **kwargs: Any) -> None:
        if self._trainer is None:
            self._past.arguments(kwargs.get("args", args[0] if args else None))
        original(trainer, *args, **kwargs)
        self._report.write(hooks=True)

    def _fit(self, original: Callable[..., None], trainer: Any) -> None:
        """Run the loop until it ends or is left; leaving is an end like any other for the script."""
        if self._stopped is not None:
            return
        first = self._trainer is None
        self._trainer = trainer
        self._pace.begin(self._states.checkpoint_bytes(trainer.model))
        with self._interrupts():
            try:
                if first:
                    self._enter(trainer)
                original(trainer)
                if self._place.trained:
                    self._save_here()
                self._note(finished=True)
            except StopTraining:
                self._note(stopped=self._stopped)

    def _enter(self, trainer: Any) -> None:
        """Go where the checkpoint was saved; stop at once when all is done already."""
        record = self._past.restore(trainer)
        start = self._place.position(trainer)
        if record is not None:
            start = (record["total_steps_done"], record["epoch"], record["batch"])
            self._bad_evals = record["bad_evals"]
            self._pending = record if record["batch"] else None
            self._saved = start
        if trainer.continue_run:
            self._say(f"continuing after {start[0]} steps: {start[1]} epochs and {start[2]} batches")
        self._report.write(start=dict(zip(("global_step", "epoch", "batch"), start, strict=True)))
        self._watch_epochs(trainer)
        self._stop_if(self._reached())

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """SIGINT, however often, asks for the next step boundary; it breaks nothing off.

        Nor does one that comes when all is saved already and the script is about to end.
        """

        def note(_number: int, _frame: types.FrameType | None) -> None:
            self._signalled = True

        try:
            old = signal.signal(signal.SIGINT, note)
        except ValueError:  # Not the main thread.
            yield
            return
        try:
            yield
        finally:
            if self._stopped is None:
                signal.signal(signal.SIGINT, old)

    def _watch_epochs(self, trainer: Any) -> None:
        """The callbacks at an epoch's start and end are where the host looks in."""
        started, ended = trainer.callbacks.on_epoch_start, trainer.callbacks.on_epoch_end

        def on_epoch_start(*args: Any) -> None:
            self._pace.epoch_began()
            started(*args)
            self._place.epoch_done = False
            self._place.batch = self._place.skipped = 0

        def on_epoch_end(*args: Any) -> None:
            ended(*args)
            self._place.epoch_done = True
            self._pace.epoch_ended(self._place.batches)
            self._note()
            if trainer.epochs_done + 1 < trainer.config.epochs:
                self._stop_if(self._reached() or (None if self._pace.epoch_fits() else "budget"))

        trainer.callbacks.on_epoch_start, trainer.callbacks.on_epoch_end = on_epoch_start, on_epoch_end

    def _train_epoch(self, original: Callable[..., None], trainer: Any) -> None:
        if trainer.train_loader is None:
            self._resuming.make_train_loader(trainer)
        loader = trainer.train_loader
        self._place.batches = len(loader)
        trainer.train_loader = self._wrapping.Feed(loader, self._feed)
        self._place.in_train = True
        try:
            original(trainer)
        finally:
            trainer.train_loader = loader
        self._place.in_train = False
        self._place.epoch_done = True
        self._pace.train_ended()

    def _train_step(
        self,
        original: Callable[..., Any],
        trainer: Any,
        batch: Any,
        batch_n_steps: int,
        step: int,
        *rest: Any,
        **named: Any,
    ) -> Any:
        """The step's number within the epoch counts the batches that an earlier session did."""
        self._place.in_step = True
        try:
            return original(trainer, batch, batch_n_steps, step + self._place.skipped, *rest, **named)
        finally:
            self._place.in_step = False

    def _feed(self, loader: Any) -> Iterator[Any]:
        """The epoch's batches; those that are done already are fetched, so that all is drawn, and dropped."""
        record, self._pending = self._pending, None
        if record is not None:
            self._states.restore_random(record["epoch_rng"])
        self._epoch_rng = self._states.random_states()
        batches = iter(loader)
        if record is not None:
            for _ in range(record["batch"]):
                next(batches, None)
            self._place.batch = self._place.skipped = record["batch"]
            self._past.restore_middle(self._trainer, record)
        self._pace.train_began()
        for batch in batches:
            yield batch
            self._place.trained = True
            self._place.batch += 1
            self._pace.step_done()
            self._after_step()

    # ---- Stopping

    def _after_step(self) -> None:
        last = self._place.batch >= (self._place.batches or 0)
        until = self._control.until_step
        if self._signalled:
            self._stop_if("signal")
        # After the epoch's last step, its evaluation belongs to it.
        if until is not None and self._trainer.total_steps_done >= until and not last:
            self._stop_if("until_step")
        if not self._pace.step_fits(last=last):
            self._stop_if("budget")

    def _reached(self) -> str | None:
        """Why no other epoch is to be begun, whatever the time."""
        control = self._control
        if control.until_step is not None and self._trainer.total_steps_done >= control.until_step:
            return "until_step"
        if control.patience is not None and self._bad_evals >= control.patience:
            return "no_improvement"
        return "signal" if self._signalled else None

    def _stop_if(self, reason: str | None) -> None:
        """Save, unless this very position is saved, and leave the loop."""
        if reason is None:
            return
        self._stopped = reason
        if self._place.trained:
            self._save_here()
        raise StopTraining

    def _save_here(self) -> None:
        if self._saved != self._place.position(self._trainer):
            self._trainer.save_checkpoint()

    # ---- Saving

    def _save_best_model(self, original: Callable[..., None], trainer: Any) -> None:
        """Count the evaluations that were no better."""
        self._place.epoch_done = True
        best = trainer.best_loss
        original(trainer)
        if trainer.best_loss is not best:
            self._bad_evals = 0
        elif trainer.config.run_eval and trainer.total_steps_done > trainer.config.save_best_after:
            self._bad_evals += 1

    def _save(self, original: Callable[..., None], state: Any, path: Any, **options: Any) -> None:
        """Write beside, then rename: a file of the final name is always whole."""
        if "://" in str(path):
            original(state, path, **options)
            return
        began = self._pace.clock()
        trainer, place = self._trainer, self._place
        is_checkpoint = trainer is not None and isinstance(state, dict) and state.keys() >= _STATE_KEYS
        if is_checkpoint:
            state = {**state, self._states.KEY: self._record(state, Path(path).name)}
        self._states.write_whole(state, Path(path), options)
        self._pace.saved(self._pace.clock() - began)
        if is_checkpoint:
            self._saved = place.position(trainer)
            self._note()

    def _record(self, state: dict[str, Any], name: str) -> dict[str, Any]:
        trainer, place = self._trainer, self._place
        record: dict[str, Any] = self._states.make_record(
            trainer, place.position(trainer), in_step=place.in_step, in_epoch=place.in_train
        )
        record |= {
            "epoch_rng": self._epoch_rng if place.in_train else None,
            "loader_rng": self._past.loader_rng,
            "bad_evals": self._bad_evals,
        }
        if name.startswith("best_model"):
            # The trainer takes this loss for its best only after the file is written.
            record |= {"best_loss": self._states.plain(state["model_loss"]), "bad_evals": 0}
        return record
