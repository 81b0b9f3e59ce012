"""Coqui's Trainer, hosted from outside: it stops in time and every file that it saves is whole.

What the trainer does by itself and why that is not enough: it knows no clock; it writes checkpoints in
place, so that a second interrupt truncates them; an exception deletes a run folder that has no checkpoint
yet; nothing is saved at the end of the last epoch unless it was the best.
"""

import functools
import sys
import time
import traceback
import types
from collections.abc import Callable
from typing import Any

from kernel_template.host.checkpoints import Saving
from kernel_template.host.coqui import Feed, is_coqui, lacking, wrap
from kernel_template.host.counters import StepCounters
from kernel_template.host.disk import DiskBudget
from kernel_template.host.feed import EpochFeed
from kernel_template.host.protocol import Control, HostReport
from kernel_template.host.ranks import RankHooks
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.resume import Continuation, make_train_loader
from kernel_template.host.sample_filter import SampleFilter
from kernel_template.host.shortcut import FewerCopies
from kernel_template.host.state import Place, checkpoint_bytes, checkpoint_range, scalar_loss
from kernel_template.host.stopping import StopRules, TimeBudget


class StopTraining(BaseException):
    """Leaves the training loop; nobody but the host catches it."""


class TrainerHost:
    """Hosts the Trainer of one training process.

    Args:
        control: what the kernel asks for.
        report: how it goes, for the kernel.
        rendezvous: which process of the training this is.
        began: when this process started, by `time.monotonic`.
    """

    def __init__(self, control: Control, report: HostReport, rendezvous: Rendezvous, *, began: float) -> None:
        self._control = control
        self._report = report
        self._rendezvous = rendezvous
        self._budget = TimeBudget(time.monotonic, began, control.budget_s, control.seconds_per_epoch)
        self._counters = StepCounters(time.monotonic, began)
        self._past = Continuation(control, self._warn)
        self._place = Place()
        self._ranks = RankHooks(
            control=control, rendezvous=rendezvous, report=report, say=self._say, warn=self._warn
        )
        self._peers = self._ranks.peers
        self._rules = StopRules(control, self._budget, deaf=rendezvous.rank > 0)
        self._disk = DiskBudget(control.disk, self._say, self._warn)
        self._filter = SampleFilter(
            control.data, rendezvous, say=self._say, warn=self._warn, report=report.write
        )
        self._saving = Saving(
            disk=self._disk,
            rendezvous=rendezvous,
            place=self._place,
            clock=time.monotonic,
            extra=self._extra,
            spent=self._spent,
            saved=self._note,
        )
        self._trainer: Any = None
        self._feed = EpochFeed(
            past=self._past,
            place=self._place,
            budget=self._budget,
            counters=self._counters,
            peers=self._peers,
            groups=self._ranks.groups,
            after_step=self._after_step,
        )

    def install(self, package: types.ModuleType) -> None:
        """Wrap the package that has just been imported, if it is one that the hooks fit."""
        if not is_coqui(package):
            self._ranks.alone("The script's module trainer is not Coqui's")
            return
        if missing := lacking(package):
            self._ranks.alone("This release of the trainer package is not known")
            self._warn(
                f"This release of the trainer package lacks {', '.join(missing)} as they are known: the "
                "training runs without hooks; it is stopped by an interrupt and goes on in the trainer's own "
                "way."
            )
            return
        core, io = sys.modules["trainer.trainer"], sys.modules["trainer.io"]
        past = self._past
        trainer = package.Trainer
        wrap(trainer, "__init__", self._made)
        wrap(trainer, "_fit", self._fit)
        wrap(trainer, "_restore_best_loss", past.best_loss)
        wrap(trainer, "save_best_model", self._saving.best_model)
        wrap(trainer, "train_epoch", self._train_epoch)
        wrap(trainer, "train_step", self._train_step)
        wrap(trainer, "eval_epoch", self._eval_epoch)
        wrap(trainer, "get_train_dataloader", functools.partial(self._loader, "train"))
        wrap(trainer, "get_eval_dataloader", functools.partial(self._loader, "eval"))
        wrap(io, "save_fsspec", self._saving.file)
        self._shortcut(io)
        wrap(core, "load_fsspec", past.load)
        wrap(core, "get_last_checkpoint", past.last_checkpoint)
        wrap(io, "get_last_checkpoint", past.last_checkpoint)
        wrap(core, "remove_experiment_folder", lambda _original, _path: None)
        self._ranks.install(trainer, core)

    def _shortcut(self, io: Any) -> None:
        """The best model lies on the disk once."""
        if hasattr(io, "fsspec"):
            io.fsspec = FewerCopies(io.fsspec)

    def _say(self, text: str) -> None:
        sys.stdout.write(f" > kgtts: {text}\n")
        sys.stdout.flush()

    def _warn(self, text: str) -> None:
        self._say(text)
        self._report.write(warnings=[*self._report.values["warnings"], text])

    def _note(self, **changes: Any) -> None:
        total, epoch, batch = self._place.position(self._trainer)
        if self._feed.pending is not None:  # The epoch that is continued has not been entered.
            batch = self._feed.pending["batch"]
        self._report.write(
            global_step=total,
            epoch=epoch,
            batch=batch,
            seconds_per_epoch=self._budget.seconds_per_epoch(self._place.batches),
            steps_per_epoch=self._place.batches,
            best_loss=scalar_loss(self._trainer.best_loss),
            bad_evals=self._saving.bad_evals,
            **self._counters.values(),
            **changes,
        )

    def _spent(self, seconds: float) -> None:
        self._budget.saved(seconds)
        self._counters.saved(seconds)

    def _extra(self) -> dict[str, Any]:
        """What a checkpoint's record holds beside the trainer's own state."""
        return {
            "epoch_rng": self._feed.epoch_rng if self._place.in_train else None,
            "loader_rng": self._past.loader_rng,
        }

    # ---- The training loop

    def _made(self, original: Callable[..., None], trainer: Any, *args: Any, **kwargs: Any) -> None:
        arguments = kwargs.get("args", args[0] if args else None)
        if self._trainer is None:
            self._past.arguments(arguments)
        self._ranks.before_made(arguments)
        with self._counters.making_data():
            kwargs = self._filter.apply(kwargs.get("config", args[1] if len(args) > 1 else None), kwargs)
        original(trainer, *args, **kwargs)
        self._ranks.made(trainer)
        self._disk.keep(trainer.config)
        self._report.write(hooks=True)

    def _fit(self, original: Callable[..., None], trainer: Any) -> None:
        """Run the loop until it ends or is left; leaving is an end like any other for the script."""
        if self._rules.stopped is not None:
            return
        first = self._trainer is None
        self._trainer = self._saving.trainer = self._feed.trainer = trainer
        with self._rules.interrupts():
            try:
                if first:
                    self._ranks.gather(trainer)
                self._budget.begin(checkpoint_bytes(trainer.model))
                if first and not self._peers.rank:
                    self._disk.begin(*checkpoint_range(trainer.model))
                if first:
                    self._enter(trainer)
                original(trainer)
                if self._place.trained:
                    self._saving.here()
                self._note(finished=True)
                self._peers.leave_together()
            except StopTraining:
                self._note(stopped=self._rules.stopped)
                self._peers.leave_together()
            except BaseException as error:
                self._ranks.failed(error)
                raise

    def _enter(self, trainer: Any) -> None:
        """Go where the checkpoint was saved; stop at once when all is done already."""
        record = self._past.restore(trainer)
        start = self._place.position(trainer)
        if record is not None:
            start = (record["total_steps_done"], record["epoch"], record["batch"])
            self._saving.bad_evals = record["bad_evals"]
            self._feed.pending = record if record["batch"] else None
            self._saving.position = start
        if trainer.continue_run:
            self._say(f"continuing after {start[0]} steps: {start[1]} epochs and {start[2]} batches")
        self._report.write(start=dict(zip(("global_step", "epoch", "batch"), start, strict=True)))
        self._watch_epochs(trainer)
        self._stop_if(
            self._peers.agree(self._rules.between_epochs(trainer.total_steps_done, self._saving.bad_evals))
        )

    def _watch_epochs(self, trainer: Any) -> None:
        """The callbacks at an epoch's start and end are where the host looks in."""
        started, ended = trainer.callbacks.on_epoch_start, trainer.callbacks.on_epoch_end

        def on_epoch_start(*args: Any) -> None:
            self._budget.epoch_began()
            started(*args)
            self._place.epoch_done = False
            self._place.batch = self._place.skipped = 0

        def on_epoch_end(*args: Any) -> None:
            ended(*args)
            self._place.epoch_done = True
            self._budget.epoch_ended(self._place.batches)
            self._note()
            if trainer.epochs_done + 1 < trainer.config.epochs:
                reason = self._rules.between_epochs(trainer.total_steps_done, self._saving.bad_evals) or (
                    None if self._budget.epoch_fits() else "budget"
                )
                self._stop_if(self._peers.agree(reason))

        trainer.callbacks.on_epoch_start, trainer.callbacks.on_epoch_end = on_epoch_start, on_epoch_end

    def _loader(
        self, kind: str, original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """A loader of the script's own; that of the training is shared among the ranks."""
        make = functools.partial(self._past.make_loader, kind, original, trainer, *args, **kwargs)
        with self._counters.making_data():
            return self._ranks.loader(kind, make, trainer)

    def _train_epoch(self, original: Callable[..., None], trainer: Any) -> None:
        if trainer.train_loader is None:
            make_train_loader(trainer)
        loader = trainer.train_loader
        self._place.batches = self._ranks.epoch_begins(trainer)
        trainer.train_loader = Feed(loader, self._feed.batches, self._place.batches)
        self._place.in_train = True
        try:
            original(trainer)
        finally:
            trainer.train_loader = loader
        self._peers.share_buffers(trainer.model)
        self._place.in_train = False
        self._place.epoch_done = True
        self._budget.train_ended()

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
        failure: RuntimeError | None = None
        try:
            with self._counters.stepping():
                return original(trainer, batch, batch_n_steps, step + self._place.skipped, *rest, **named)
        except RuntimeError as error:
            if not self._ranks.ran_out(error):
                raise
            failure = error
        finally:
            self._place.in_step = False
        self._stop_out_of_memory(failure)
        return None, None  # Not reached: the loop has been left.

    def _eval_epoch(self, original: Callable[..., None], trainer: Any) -> None:
        """Rank 0 evaluates; its random numbers and those of the others are apart anyway."""
        if self._peers.rank:
            return
        try:
            original(trainer)
        except RuntimeError as error:
            if not self._ranks.out_of_memory(error):
                raise
            # The step before it is done, but not yet counted as a batch.
            self._place.batch += int(self._place.in_train)
            self._peers.agree("oom")
            self._stop_out_of_memory(error)

    # ---- Stopping

    def _after_step(self) -> None:
        last = self._place.batch >= (self._place.batches or 0)
        self._stop_if(self._peers.agree(self._rules.after_step(self._trainer.total_steps_done, last=last)))
        if self._counters.due():
            self._note()

    def _stop_if(self, reason: str | None) -> None:
        """Save, unless this very position is saved, and leave the loop."""
        if reason is None:
            return
        self._rules.stopped = reason
        if self._place.trained and not self._peers.rank:
            self._saving.here()
        raise StopTraining

    def _stop_out_of_memory(self, error: BaseException | None) -> None:
        """Let go of what the failed step holds, save what stands and stop."""
        traceback.clear_frames(error.__traceback__ if error is not None else None)
        self._trainer.model.zero_grad(set_to_none=True)
        self._ranks.free_memory()
        self._say("the card's memory is too small for this batch: stopping behind the last step")
        with self._rendezvous.saving():
            self._stop_if("oom")
