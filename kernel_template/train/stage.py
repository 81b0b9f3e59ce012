"""The stage in which the training runs, and how it is judged."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.context import Outcome, Tools, TrainingFacts, judge_training
from kernel_template.contract import HostStop
from kernel_template.finish.record import SessionRecord
from kernel_template.host.protocol import HostReport
from kernel_template.start.config_file import PreparedConfig
from kernel_template.start.environment import REPORTED, Paths, tts_version
from kernel_template.start.inputs import Inputs
from kernel_template.start.takeover import Resumed
from kernel_template.tools.failure import EndReason, KernelFailure
from kernel_template.tools.files import LineFile, human_limit, human_seconds
from kernel_template.tools.process import ChildEnd, RunChild
from kernel_template.tools.report import Reporter
from kernel_template.train.checkpoints import Checkpoint, CheckpointShelf
from kernel_template.train.command import (
    TrainingCommand,
    TrainingListener,
    TrainingRun,
    training_environment,
    training_ranks,
)
from kernel_template.train.diagnosis import ran_out_of_memory
from kernel_template.train.host_link import BatchPlan, HostLink, SessionBudget
from kernel_template.train.progress import ProgressParser


@dataclass(frozen=True, slots=True)
class TrainStage:
    """Runs the training of a session.

    Args:
        settings: the kernel's settings.
        tools: the world.
        run_child: runs programs.
        paths: the session's folders.
        report: where things are said.
        record: what is known for state.json.
        shelf: the checkpoints.
        host: the files shared with host.py.
        budget: the session's time.
        on_checkpoint: hears of each checkpoint once its file is whole.
        cannot_write: makes what hears of a log that can no longer be written.
    """

    settings: Mapping[str, Any]
    tools: Tools
    run_child: RunChild
    paths: Paths
    report: Reporter
    record: SessionRecord
    shelf: CheckpointShelf
    host: HostLink
    budget: SessionBudget
    on_checkpoint: Callable[[Checkpoint], None]
    cannot_write: Callable[[Path], Callable[[OSError], None]]

    def __call__(self, inputs: Inputs, prepared: PreparedConfig) -> Outcome:
        """Train and judge how it ended.

        Raises:
            KernelFailure: the session has failed with the training.
            OSError: the training could not be started.
        """
        log = LineFile(self.paths.log, on_error=self.cannot_write(self.paths.log))
        listener = TrainingListener(
            parser=ProgressParser(epochs=int(self.settings["training"]["epochs"])),
            report=self.report,
            log=log,
            paths=self.paths,
            clock=self.tools.clock,
            on_checkpoint=self.on_checkpoint,
        )
        self.record.parser, self.record.epochs = listener.parser, listener.epochs
        try:
            with self.report.stage("train", "Training"):
                outcome = self._run(inputs, prepared, listener)
        finally:
            log.close()
        if not listener.notices.restored and listener.parser.global_step is not None:
            self.report.warn(
                "The script did not say that it loaded the base voice: check that it uses --restore_path."
            )
        return outcome

    def _run(self, inputs: Inputs, prepared: PreparedConfig, listener: TrainingListener) -> Outcome:
        """Train until it ends; where memory runs out, again with half the batch from where it stood."""
        report, record = self.report, self.record
        resumed = record.resumed
        learned = resumed.state.get("learned") if resumed else None
        record.batches = BatchPlan.remembered(int(self.settings["training"]["batch_size"]), learned)
        if record.batches.accumulate > 1:
            report.say(
                f"  An earlier session ran out of memory: {_in_words(record.batches)}, as it has learned."
            )
        limit = self.budget.training_limit()
        began = self.tools.clock()
        while True:
            end = self._train(inputs, prepared, listener, resumed, limit - (self.tools.clock() - began))
            host = self.host.facts()
            for warning in host.warnings:
                report.warn(warning)
            if not _out_of_memory(end, host, listener):
                break
            plan = record.batches.halved()
            if plan is None:
                raise KernelFailure(
                    EndReason.TRAINING_FAILED,
                    "The GPU's memory is too small for a single sample: leave the longest recordings out "
                    "(data.longest), or shorten max_audio_len in training.coqui.",
                )
            record.batches = plan
            resumed = self._stand(prepared, host) or resumed
            step = resumed.global_step if resumed else 0
            report.event("oom", batch_size=plan.size, accumulate=plan.accumulate, global_step=step)
            report.warn(
                f"The GPU's memory was too small for the batch: {_in_words(plan)}; it goes on from step "
                f"{step}."
            )
            listener.tail.clear()
        return self._judge(end, host, listener)

    def _stand(self, prepared: PreparedConfig, host: HostReport) -> Resumed | None:
        """What this session has saved so far, to go on from; None before its first checkpoint."""
        newest = self.record.newest()
        if newest is None:
            return None
        folder = newest.path.parent
        best = max(
            (item for item in self.shelf.whole() if item.best and item.path.parent == folder),
            key=lambda item: item.global_step,
            default=None,
        )
        self.tools.write(folder / "config.json", prepared.data)
        pace = {"seconds_per_epoch": host.seconds_per_epoch}
        return Resumed(folder, newest.path, best.path if best else None, newest.global_step, pace)

    def _train(
        self,
        inputs: Inputs,
        prepared: PreparedConfig,
        listener: TrainingListener,
        resumed: Resumed | None,
        limit: float,
    ) -> ChildEnd:
        """Run the training once, for at most `limit` seconds."""
        report, env, limit = self.report, self.tools.env, max(limit, 1.0)
        assert self.record.batches is not None
        self.host.ask(self.settings, limit, resumed, self.record.batches)
        ranks = self._ranks
        command = TrainingCommand(
            inputs,
            prepared,
            resumed.folder / "config.json" if resumed else self.paths.config,
            self.host.control,
            resumed.folder if resumed else None,
            ranks,
        ).arguments(self.tools.programs)
        report.say("🚀 Launching TTS training...")
        report.say(f"  {shlex.join(command)}")
        report.say(f"  Time limit: {human_limit(round(limit))}")
        gpu = self.settings.get("accelerator") is not None
        grace = float(self.settings["training"]["grace_s"])
        child = self.tools.programs.environment(training_environment(env, gpu=gpu, cards=ranks))
        run = TrainingRun(command, child, self.paths, limit, grace)
        end = run(self.run_child, listener, report)
        report.say(f"The training process ended after {human_seconds(end.seconds)}.")
        return end

    @property
    def _ranks(self) -> int:
        cards = len(self.record.environment.get("gpus") or ())
        return training_ranks(self.settings, cards, self.tools.env)

    def _judge(self, end: ChildEnd, host: HostReport, listener: TrainingListener) -> Outcome:
        report = self.report
        facts = TrainingFacts(
            end,
            list(listener.tail),
            self.record.newest(),
            len(self.shelf.other_weights()),
            int(self.settings["training"]["batch_size"]),
            tts_version(self.tools.versions(REPORTED)),
            host,
        )
        outcome = judge_training(facts)
        if not outcome.complete:
            raise KernelFailure(outcome.reason, outcome.message)
        if end.returncode not in (0, None) and end.cut is None:
            report.warn(
                f"The script ended with exit code {end.returncode} after its training had stopped in time."
            )
        if self._ranks > 1 and not host.hooks and not host.warnings:
            report.warn("The script does not train with Coqui's Trainer: it ran once, on one card.")
        return outcome


def _in_words(plan: BatchPlan) -> str:
    return f"each card now takes {plan.size} of {plan.asked} samples at once, {plan.accumulate} times a step"


def _out_of_memory(end: ChildEnd, host: HostReport, listener: TrainingListener) -> bool:
    """Whether another try with a smaller batch makes sense: only the host can make it smaller."""
    if not host.hooks or end.cut is not None:
        return False
    return host.stopped is HostStop.OUT_OF_MEMORY or (
        end.returncode != 0 and ran_out_of_memory(list(listener.tail))
    )
