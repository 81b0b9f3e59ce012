"""The stage in which the training runs, and how it is judged."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.checkpoints import Checkpoint, CheckpointShelf
from kernel_template.config_file import PreparedConfig
from kernel_template.environment import REPORTED, Paths, tts_version
from kernel_template.failure import KernelFailure
from kernel_template.files import LineFile, human_limit, human_seconds
from kernel_template.hosting import HostLink, SessionBudget
from kernel_template.inputs import Inputs
from kernel_template.process import RunChild
from kernel_template.progress import ProgressParser
from kernel_template.record import SessionRecord
from kernel_template.report import Reporter
from kernel_template.session import Outcome, Tools, TrainingFacts, judge_training
from kernel_template.training import (
    TrainingCommand,
    TrainingListener,
    TrainingRun,
    training_environment,
)


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
        host_program: where host.py was written.
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
    host_program: Path
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
        report, resumed = self.report, self.record.resumed
        limit = self.budget.training_limit()
        self.host.ask(self.settings, limit, resumed)
        command = TrainingCommand(
            inputs,
            prepared,
            resumed.folder / "config.json" if resumed else self.paths.config,
            self.host_program,
            self.host.control,
            resumed.folder if resumed else None,
        ).arguments(self.tools.python)
        report.say("🚀 Launching TTS training...")
        report.say(f"  {shlex.join(command)}")
        report.say(f"  Time limit: {human_limit(round(limit))}")
        env = training_environment(self.tools.env, gpu=self.settings.get("accelerator") is not None)
        grace = float(self.settings["training"]["grace_s"])
        end = TrainingRun(command, env, self.paths, limit, grace)(self.run_child, listener, report)
        report.say(f"The training process ended after {human_seconds(end.seconds)}.")
        host = self.host.facts()
        for warning in host.warnings:
            report.warn(warning)
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
        return outcome
