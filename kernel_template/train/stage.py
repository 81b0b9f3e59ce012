"""The stage in which the voice is trained."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kernel_template.context import SessionContext
from kernel_template.contract import UNLIMITED_S, EndReason, HostStop, Stage
from kernel_template.events import OutOfMemoryEvent
from kernel_template.host.protocol import HostReport
from kernel_template.start.config_file import PreparedConfig, config_damage
from kernel_template.start.environment import REPORTED, tts_version
from kernel_template.start.inputs import Inputs
from kernel_template.start.parent import ResumePoint, open_parent
from kernel_template.tools.files import human_limit, human_seconds
from kernel_template.tools.outcome import KernelFailure, Outcome
from kernel_template.tools.process import ChildEnd
from kernel_template.train.checkpoints import Checkpoint
from kernel_template.train.command import (
    TrainingCommand,
    TrainingRun,
    training_environment,
    training_ranks,
)
from kernel_template.train.diagnosis import ran_out_of_memory
from kernel_template.train.host_link import BatchPlan
from kernel_template.train.listener import TrainingListener
from kernel_template.train.outcome import TrainingResult, training_outcome
from kernel_template.train.progress import ProgressParser

_UNSTABLE = (
    "Lower the learning rates, for example lr_gen and lr_disc = 0.0001 in training.coqui, and look for "
    "damaged recordings. The newest checkpoint is from before."
)
_NEWS_S = 60.0  # After a failure, until machine 0 must have said what comes next.
_LATER_S = 60.0  # How much later than machine 0 another one stops by itself.


@dataclass(frozen=True, slots=True)
class TrainStage:
    """Runs the training of a session.

    Args:
        context: what the session works with.
        on_checkpoint: called with each checkpoint once its file is whole.
    """

    context: SessionContext
    on_checkpoint: Callable[[Checkpoint], None]
    _bad: set[str] = field(default_factory=set)  # Names of checkpoints whose weights are NaN.

    def run(self, inputs: Inputs, prepared: PreparedConfig) -> Outcome:
        """Train. Returns how the session ended if it is complete.

        Raises:
            KernelFailure: the training failed, and with it the session.
            OSError: the training could not be started.
        """
        context = self.context
        log = context.open_log(context.paths.log)
        listener = TrainingListener(
            parser=ProgressParser(epochs=context.settings["training"]["epochs"]),
            report=context.report,
            log=log,
            paths=context.paths,
            clock=context.tools.clock,
            on_checkpoint=self.on_checkpoint,
        )
        context.record.parser, context.record.epochs = listener.parser, listener.epochs
        try:
            with context.report.stage(Stage.TRAIN, "Training"):
                follows = context.member is not None
                outcome = (self._follow if follows else self._run)(inputs, prepared, listener)
        finally:
            log.close()
        if not follows and not listener.warnings.restored and listener.parser.global_step is not None:
            context.report.warn(
                "The script did not print that it loaded the base voice. Check that it uses --restore_path."
            )
        return outcome

    def _run(self, inputs: Inputs, prepared: PreparedConfig, listener: TrainingListener) -> Outcome:
        """Train to the end; if GPU memory runs out, continue with half the batch."""
        context, report, record = self.context, self.context.report, self.context.record
        resumed = record.resumed
        learned = resumed.state.get("learned") if resumed else None
        record.batches = BatchPlan.remembered(context.settings["training"]["batch_size"], learned)
        if record.batches.full_precision:
            report.say("  Mixed precision was unstable in an earlier session: training in full precision.")
        if record.batches.accumulate > 1:
            report.say(f"  GPU memory ran out in an earlier session: {_batch_in_words(record.batches)}.")
        limit = context.budget.training_limit()
        began = context.tools.clock()
        while True:
            left = limit - (context.tools.clock() - began)
            end = self._train(inputs, prepared, listener, resumed, left)
            host = context.host.status()
            for warning in host.warnings:
                report.warn(warning)
            if end.stop_cause is None and host.stopped is HostStop.NOT_FINITE:
                resumed = self._after_not_finite(prepared, host, resumed)
                listener.tail.clear()
                continue
            if not _out_of_memory(end, host, listener):
                break
            plan = record.batches.halved()
            if plan is None:
                raise KernelFailure(
                    EndReason.TRAINING_FAILED,
                    "The GPU's memory is too small for a single sample. Leave the longest recordings out "
                    "with data.longest, or set a lower max_audio_len in training.coqui.",
                )
            record.batches = plan
            resumed = self._resume_here(prepared, host) or resumed
            step = resumed.global_step if resumed else 0
            report.event(OutOfMemoryEvent(plan.size, plan.accumulate, step))
            report.warn(
                f"The GPU's memory is too small for the batch: {_batch_in_words(plan)}. The training "
                f"continues from step {step}."
            )
            listener.tail.clear()
        return self._judge(end, host, listener)

    def _follow(self, inputs: Inputs, prepared: PreparedConfig, listener: TrainingListener) -> Outcome:
        """Train whenever machine 0 does. Returns how its training ended if that was well."""
        from kernel_template.nodes.member import EndedError  # noqa: PLC0415 - Kaggle does not get it.

        context = self.context
        assert context.member is not None
        limit = context.budget.training_limit() + context.settings["training"]["grace_s"] + _LATER_S
        end: ChildEnd | None = None
        while True:
            failed = end is not None and end.returncode != 0
            try:
                order = context.member.training(context.paths, _NEWS_S if failed else None)
            except EndedError as ended:
                return ended.outcome
            if order is None:  # Machine 0 knows nothing of the failure here, and waits for this machine.
                assert end is not None
                return self._judge(end, HostReport(), listener)
            context.record.batches, resumed = order
            end = self._train(inputs, prepared, listener, resumed, limit)

    def _after_not_finite(
        self, prepared: PreparedConfig, host: HostReport, resumed: ResumePoint | None
    ) -> ResumePoint | None:
        """Return where to continue after losses or weights were NaN or infinite; None at the base voice.

        Raises:
            KernelFailure: they were without mixed precision too, or there is no other checkpoint.
            OSError: an older checkpoint could not be copied.
        """
        report, record = self.context.report, self.context.record
        assert record.batches is not None
        if host.bad_checkpoint is not None:
            return self._without(Path(host.bad_checkpoint), prepared, host)
        what = host.not_finite or "losses"
        plan = record.batches.steadier(host.loss_scale) if host.mixed_precision else None
        if plan is None:
            raise KernelFailure(
                EndReason.TRAINING_FAILED, f"The training became unstable: {what}. {_UNSTABLE}"
            )
        record.batches = plan
        change = f"with a loss scale of at most {plan.loss_scale or 0:.0f}"
        if plan.full_precision:
            change = "in full precision, which is slower and needs more memory; so will later sessions"
        resumed = self._resume_here(prepared, host) or resumed
        step = resumed.global_step if resumed else 0
        report.warn(
            f"The training became unstable in mixed precision: {what}. It continues from step {step} "
            f"{change}."
        )
        return resumed

    def _without(self, bad: Path, prepared: PreparedConfig, host: HostReport) -> ResumePoint:
        """Delete a checkpoint whose weights are NaN, and return the newest of the others."""
        context, settings = self.context, self.context.settings
        self._bad.add(bad.name)
        bad.unlink(missing_ok=True)
        found = self._resume_here(prepared, host)
        if found is None:
            if settings["resume"] is None:
                raise KernelFailure(
                    EndReason.TRAINING_FAILED, f"The weights in {bad.name} are NaN. {_UNSTABLE}"
                )
            parent = open_parent(context, settings["resume"])
            found = context.record.resumed = parent.take_older(self._bad)
        context.report.warn(
            f"The weights in {bad.name} are NaN or infinite: the training continues from "
            f"{found.checkpoint.name} instead."
        )
        return found

    def _resume_here(self, prepared: PreparedConfig, host: HostReport) -> ResumePoint | None:
        """Continue from what this session has saved so far; None before its first checkpoint."""
        context = self.context
        newest = context.record.newest()
        if newest is None:
            return None
        folder = newest.path.parent
        best = max(
            (item for item in context.checkpoints.whole() if item.best and item.path.parent == folder),
            key=lambda item: item.global_step,
            default=None,
        )
        # The run folder has what the script really used, which may not be the base voice's configuration.
        if config_damage(folder / "config.json") is not None:
            context.tools.write(folder / "config.json", prepared.data)
        state = {"seconds_per_epoch": host.seconds_per_epoch}
        return ResumePoint(folder, newest.path, best.path if best else None, newest.global_step, state)

    def _train(
        self,
        inputs: Inputs,
        prepared: PreparedConfig,
        listener: TrainingListener,
        resumed: ResumePoint | None,
        limit: float,
    ) -> ChildEnd:
        """Run the training once, for at most `limit` seconds."""
        context, report, limit = self.context, self.context.report, max(limit, 1.0)
        settings, programs = context.settings, context.tools.programs
        assert context.record.batches is not None
        changed = {
            key: (before, prepared.overrides[key])
            for key, before in prepared.before.items()
            if before is not None and before != prepared.overrides[key] and key != "output_path"
        }
        context.host.ask(settings, limit, resumed, context.record.batches, inputs, changed)
        ranks = self._ranks
        if context.head is not None:
            context.head.tell_training(context.record.batches, resumed, context.paths)
        command = TrainingCommand(
            inputs,
            prepared,
            resumed.folder / "config.json" if resumed else context.paths.config,
            context.host.control,
            resumed.folder if resumed else None,
            resumed.checkpoint if resumed else None,
            ranks,
            nodes=context.place.nodes.count,
        ).arguments(programs)
        report.say("🚀 Launching TTS training...")
        report.say(f"  {shlex.join(command)}")
        if limit < UNLIMITED_S / 2:
            report.say(f"  Time limit: {human_limit(round(limit))}")
        gpu = settings["accelerator"] is not None
        env = programs.environment(training_environment(context.tools.env, gpu=gpu, ranks=ranks))
        run = TrainingRun(command, env, context.paths, limit, float(settings["training"]["grace_s"]))
        end = run(context.meter.watching(context.run_child), listener, report)
        report.say(f"The training process ended after {human_seconds(end.seconds)}.")
        return end

    @property
    def _ranks(self) -> int:
        gpus = len(self.context.record.environment.get("gpus") or ())
        return training_ranks(self.context.settings, gpus, self.context.tools.env)

    def _judge(self, end: ChildEnd, host: HostReport, listener: TrainingListener) -> Outcome:
        context, report = self.context, self.context.report
        result = TrainingResult(
            end,
            list(listener.tail),
            context.record.newest(),
            len(context.checkpoints.other_weights()),
            context.settings["training"]["batch_size"],
            tts_version(context.tools.versions(REPORTED)),
            host,
        )
        outcome = training_outcome(result)
        if not outcome.complete:
            raise KernelFailure(outcome.reason, outcome.message)
        if end.returncode not in (0, None) and end.stop_cause is None:
            report.warn(f"The script ended with exit code {end.returncode}, after its training had stopped.")
        if self._ranks > 1 and not host.hooks and not host.warnings:
            report.warn(
                "The script does not train with Coqui's Trainer, so only one process on one GPU trained."
            )
        return outcome


def _batch_in_words(plan: BatchPlan) -> str:
    return (
        f"each GPU now takes {plan.size} of {plan.asked} samples at once, in {plan.accumulate} batches a step"
    )


def _out_of_memory(end: ChildEnd, host: HostReport, listener: TrainingListener) -> bool:
    """Whether GPU memory ran out and a smaller batch can help, which takes the host."""
    if not host.hooks or end.stop_cause is not None:
        return False
    return host.stopped is HostStop.OUT_OF_MEMORY or (
        end.returncode != 0 and ran_out_of_memory(list(listener.tail))
    )
