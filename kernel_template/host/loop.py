"""The training loop: hooks that count its batches, resume in the middle of an epoch, and stop it in time."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kernel_template.contract import HostStop
from kernel_template.host.checkpoints import CheckpointWriter
from kernel_template.host.coqui import PatchedLoader, Trainer, make_train_loader
from kernel_template.host.counters import StepCounters, count_samples
from kernel_template.host.disk import DiskBudget
from kernel_template.host.finite import LossWatch, is_trainable
from kernel_template.host.inference import make_caches_trainable
from kernel_template.host.peers import free_memory, is_out_of_memory
from kernel_template.host.ranks import RankHooks
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.report import Reporter
from kernel_template.host.resume import Resume
from kernel_template.host.state import (
    LoopState,
    Position,
    RandomStates,
    Record,
    make_record,
    random_states,
    restore_random,
    scalar_loss,
    weight_bytes,
)
from kernel_template.host.stopping import StopRules, TimeBudget

_MOST_FAILURES = 20  # At one step; `fit_with_largest_batch_size` halves the batch up to 11 times.


class StopTraining(BaseException):
    """Leaves the training loop; only the host catches it."""


@dataclass(kw_only=True)
class TrainingLoop:
    """Hooks around the training loop of one process."""

    budget: TimeBudget
    rules: StopRules
    counters: StepCounters
    resume: Resume
    ranks: RankHooks
    rendezvous: Rendezvous
    disk: DiskBudget
    reporter: Reporter
    save_every_s: float | None = None  # How old the newest checkpoint may get.

    def __post_init__(self) -> None:
        self._peers = self.ranks.peers
        self._state = LoopState()
        self._unfinished: Record | None = None  # The record of an epoch that is resumed in its middle.
        self._epoch_rng: RandomStates | None = None  # The random states at the epoch's start.
        self._trainer: Any = None
        self._losses = LossWatch()
        self._failures = (-1, 0)  # The step of the last one, and how many in a row were there.
        self.checkpoints = CheckpointWriter(
            disk=self.disk,
            rendezvous=self.rendezvous,
            loop=self._state,
            clock=self.budget.clock,
            record=self._record,
            wrote=self._wrote,
            saved=self.report,
            say=self.reporter.say,
            every_s=self.save_every_s,
        )

    @property
    def started(self) -> bool:
        """Whether a Trainer's loop has been entered."""
        return self._trainer is not None

    def report(self, **changes: Any) -> None:
        """Write the report with the trainer's position and these changes."""
        step, epoch, batch = self._state.position(self._trainer)
        if self._unfinished is not None:  # It has not been entered yet.
            batch = self._unfinished["batch"]
        self.reporter.write(
            global_step=step,
            epoch=epoch,
            batch=batch,
            seconds_per_epoch=self.budget.seconds_per_epoch(self._state.batches),
            steps_per_epoch=self._state.batches,
            best_loss=scalar_loss(self._trainer.best_loss),
            bad_evals=self.checkpoints.bad_evals,
            **self.counters.values(),
            **changes,
        )

    def _record(self) -> Record:
        found = make_record(
            self._trainer,
            self._state,
            bad_evals=self.checkpoints.bad_evals,
            epoch_rng=self._epoch_rng,
            loader_rng=self.resume.loader_rng,
        )
        found["step_samples"] = self.ranks.step_samples(self._trainer)
        return found

    def _wrote(self, seconds: float) -> None:
        self.budget.saved(seconds)
        self.counters.saved(seconds)

    # ---- Hooks of the Trainer

    def fit(self, original: Callable[..., None], trainer: Trainer) -> None:
        """Hook of `_fit`: run the loop until it ends or is stopped; for the script both are a normal end."""
        if self.rules.stopped is not None:
            return
        first = self._trainer is None
        self._trainer = self.checkpoints.trainer = trainer
        with self.rules.catching_signals():
            try:
                if first:
                    self.ranks.join(trainer, self.resume.record)
                weights = weight_bytes(trainer.model)
                self.budget.begin(3 * weights)
                if first and not self._peers.rank:
                    self.disk.begin(weights, 3 * weights)
                if first:
                    self._begin(trainer)
                original(trainer)
                if self._state.trained:
                    self.checkpoints.save()
                if self.checkpoints.refused:
                    self._report_not_finite()
                else:
                    self.report(finished=True, failed=False)
                self._peers.leave_together()
            except StopTraining:
                self.report(stopped=self.rules.stopped)
                self._peers.leave_together()
            except BaseException as error:
                self.reporter.write(failed=True)
                self._count_failure(trainer.total_steps_done)
                if isinstance(error, Exception) and self._is_not_finite():
                    self._report_not_finite()
                self.ranks.failed(error)
                raise

    def _count_failure(self, step: int) -> None:
        """End the process if a script begins the training again and again, and it gets no further.

        Nothing less ends a script that catches everything, and the session would run until its time limit.
        """
        self._failures = (step, self._failures[1] + 1 if self._failures[0] == step else 1)
        if self._failures[1] >= _MOST_FAILURES:
            self.reporter.say(
                f"the training has failed {_MOST_FAILURES} times at step {step}, and the script begins it "
                "again each time: it ends here"
            )
            traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)

    def _begin(self, trainer: Trainer) -> None:
        """Go where the checkpoint was saved; stop at once if everything is done already."""
        record = self.resume.restore(trainer)
        start = self._state.position(trainer)
        if record is not None:
            start = Position(record["total_steps_done"], record["epoch"], record["batch"])
            self.checkpoints.bad_evals = record["bad_evals"]
            self.checkpoints.position = start
            self._unfinished = record if record["batch"] else None
        if trainer.continue_run:
            self.reporter.say(
                f"resuming after step {start.global_step}: {start.epoch} epochs and {start.batch} batches"
            )
        self.reporter.write(start=start._asdict(), mixed_precision=bool(trainer.config.mixed_precision))
        self._watch_epochs(trainer)
        self._stop_together(self.rules.before_training(trainer.total_steps_done, self.checkpoints.bad_evals))

    def _watch_epochs(self, trainer: Trainer) -> None:
        """Extend the callbacks at the start and end of each epoch."""
        started, ended = trainer.callbacks.on_epoch_start, trainer.callbacks.on_epoch_end

        def on_epoch_start(*args: Any) -> None:
            self.budget.epoch_began()
            started(*args)
            self._state.epoch_done = False
            self._state.batch = self._state.skipped = 0

        def on_epoch_end(*args: Any) -> None:
            ended(*args)
            self._state.epoch_done = True
            self.budget.epoch_ended(self._state.batches)
            self.report()
            if trainer.epochs_done + 1 < trainer.config.epochs:
                reason = self.rules.before_epoch(trainer.total_steps_done, self.checkpoints.bad_evals)
                self._stop_together(reason)

        trainer.callbacks.on_epoch_start, trainer.callbacks.on_epoch_end = on_epoch_start, on_epoch_end

    def train_epoch(self, original: Callable[..., None], trainer: Trainer) -> None:
        """Hook: feed the trainer through `_batches`."""
        if trainer.train_loader is None:
            make_train_loader(trainer)
        loader = trainer.train_loader
        self._state.batches = self.ranks.begin_epoch(trainer)
        trainer.train_loader = PatchedLoader(loader, self._batches, self._state.batches)
        self._state.in_train = True
        make_caches_trainable(trainer)  # `test_run` and the script may have evaluated too.
        try:
            original(trainer)
        finally:
            trainer.train_loader = loader
        self._peers.broadcast_buffers(trainer.model)
        self._state.in_train = False
        self._state.epoch_done = True
        self.budget.train_ended()

    def _batches(self, loader: Any) -> Iterator[Any]:
        """Yield the epoch's batches; those done already are fetched too, so that random numbers are drawn."""
        record, self._unfinished = self._unfinished, None
        if record is not None:
            restore_random(record["epoch_rng"])
        self._epoch_rng = random_states()
        epoch, seed = self._trainer.epochs_done, self._trainer.config.training_seed
        self._peers.reseed(seed, epoch, 0)
        batches = self.ranks.accumulator.groups(iter(loader))
        if record is not None:
            done = self._steps_done(record)
            for number in range(done):
                self._peers.reseed(seed, epoch, number)
                next(batches, None)
            self._state.batch = self._state.skipped = done
            self.resume.restore_unfinished_epoch(self._trainer, record)
        self.budget.train_began()
        while True:
            self._peers.reseed(seed, epoch, self._state.batch)
            with self.counters.waiting():
                batch = next(batches, None)
            if batch is None:
                return
            samples = count_samples(batch) * self._peers.size  # The other ranks have as many.
            yield batch
            self.counters.trained(samples)
            self._state.trained = True
            self._state.batch += 1
            self.budget.step_done()
            self._after_step()

    def _steps_done(self, record: Record) -> int:
        """Return how many steps of the unfinished epoch are done, of the size that steps have now.

        Another number of GPUs also divides the epoch in another order.
        """
        steps, now = record["batch"], self.ranks.step_samples(self._trainer)
        before = record.get("step_samples", now)
        if before == now:
            return steps
        done = steps * before // now
        self.reporter.say(
            f"A step sees {now} samples instead of {before}: {done} steps of this epoch count as done, "
            f"not {steps}, and some of its samples come twice or not at all"
        )
        return done

    def _after_step(self) -> None:
        last = self._state.batch >= (self._state.batches or 0)
        reason = self.rules.after_step(self._trainer.total_steps_done, last=last)
        if self._losses.hopeless:
            reason = HostStop.NOT_FINITE
        self._stop_together(reason)
        if not self._peers.rank:
            self.checkpoints.save_if_due()
        if self.counters.due():
            self.report()

    def train_step(  # noqa: PLR0913, PLR0917 - the trainer's signature.
        self,
        original: Callable[..., Any],
        trainer: Trainer,
        batch: Any,
        batch_n_steps: int,
        step: int,
        loader_start_time: float,
    ) -> Any:
        """Hook: number the step within its epoch, where an earlier session may have done some."""
        self._state.in_step = True
        failure: RuntimeError | None = None
        try:
            with self.counters.stepping():
                number = step + self._state.skipped
                outputs, losses = original(trainer, batch, batch_n_steps, number, loader_start_time)
        except RuntimeError as error:
            if not self.ranks.stops_for_memory(error):
                raise
            failure = error
        else:
            self._losses.note(losses)
            return outputs, losses
        finally:
            self._state.in_step = False
        self._stop_out_of_memory(failure)
        return None, None  # Not reached: the loop has been left.

    def eval_epoch(self, original: Callable[..., None], trainer: Trainer) -> None:
        """Hook: only rank 0 evaluates."""
        if self._peers.rank:
            return
        try:
            original(trainer)
            make_caches_trainable(trainer)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            # The step before an evaluation is done, but not yet counted as a batch.
            self._state.batch += int(self._state.in_train)
            self._peers.agree_to_stop(HostStop.OUT_OF_MEMORY)
            self._stop_out_of_memory(error)

    # ---- Stopping

    def _is_not_finite(self) -> bool:
        """Whether losses or weights are NaN or infinite; what failed may have left no weights to look at."""
        if self._losses.names:
            return True
        with contextlib.suppress(Exception):
            return not is_trainable(self._trainer)
        return False

    def _report_not_finite(self, unnamed: str = "weights") -> None:
        """Note what was NaN or infinite: losses of this process, else what `unnamed` says."""
        step = self._state.position(self._trainer).global_step
        what = ", ".join(self._losses.names) or unnamed
        scaler = self._trainer.scaler
        self.report(
            not_finite=f"{what} at step {step}",
            loss_scale=scaler.get_scale() if scaler is not None else None,
            stopped=HostStop.NOT_FINITE,
        )

    def _stop_together(self, reason: HostStop | None) -> None:
        """Stop on all ranks if rank 0 has a reason, or another one whose losses are not finite."""
        self._stop_if(self._peers.agree_to_stop(reason))

    def _stop_if(self, reason: HostStop | None) -> None:
        """Save and leave the loop, if there is a reason."""
        if reason is None:
            return
        self.rules.stopped = reason
        if self._state.trained and not self._peers.rank and reason is not HostStop.NOT_FINITE:
            self.checkpoints.save()
            # A target is not reached with weights that cannot be saved; if time is up, the next session sees.
            if self.checkpoints.refused and reason in {HostStop.UNTIL_STEP, HostStop.NO_IMPROVEMENT}:
                self.rules.stopped = HostStop.NOT_FINITE
        if self.rules.stopped is HostStop.NOT_FINITE:
            self._report_not_finite("weights" if self.checkpoints.refused else "losses on another GPU")
        raise StopTraining

    def _stop_out_of_memory(self, error: RuntimeError | None) -> None:
        """Release what the failed step holds, save what was trained before it and stop."""
        traceback.clear_frames(error.__traceback__ if error is not None else None)
        self._trainer.model.zero_grad(set_to_none=True)
        free_memory()
        self.reporter.say("out of GPU memory: stopping after the previous step")
        with self.rendezvous.saving():
            self._stop_if(HostStop.OUT_OF_MEMORY)
