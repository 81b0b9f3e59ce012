"""The session from its start to its end: the one function that the rendered kernel calls."""

import contextlib
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernel_template.context import Outcome, Tools
from kernel_template.finish.outputs import Outputs
from kernel_template.finish.record import SessionRecord
from kernel_template.finish.stage import VoiceStage
from kernel_template.start.config_file import PreparedConfig
from kernel_template.start.environment import (
    Paths,
)
from kernel_template.start.inputs import Inputs
from kernel_template.start.stage import Start
from kernel_template.tools.failure import EndReason, KernelFailure
from kernel_template.tools.files import LineFile, is_disk_full
from kernel_template.tools.process import StopFlag
from kernel_template.tools.report import Reporter
from kernel_template.train.checkpoints import Checkpoint, CheckpointShelf
from kernel_template.train.host_link import HostLink, SessionBudget
from kernel_template.train.stage import TrainStage
from kernel_template.usage.meter import Meter


class Session:
    """One session of a run.

    Args:
        settings: what render.py wrote, already validated.
        tools: the world.
    """

    def __init__(self, settings: Mapping[str, Any], tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._stop = StopFlag()
        self._run_child = tools.runner(self._stop)
        self._paths = Paths(tools.root)
        self._report = Reporter(session=int(settings["run"]["session"]), clock=tools.clock, out=tools.out)
        self._shelf = CheckpointShelf(self._paths)
        self._outputs = Outputs(self._paths, self._shelf, self._report, tools.write)
        self._host = HostLink(self._paths, tools.write)
        self._budget = SessionBudget(settings, lambda: self._report.elapsed)
        self._record = SessionRecord(settings, tools.now(), self._shelf, self._host)
        self._meter = Meter(
            settings=settings,
            paths=self._paths,
            host=self._host,
            report=self._report,
            clock=tools.clock,
            capture=tools.capture,
            env=tools.env,
        )
        self._record.resources = self._meter.summary
        self._prepared: PreparedConfig | None = None

    def run(self) -> int:
        """Run all stages. Returns the exit code; nothing is raised."""
        caught = self._stop.install()
        try:
            outcome = self._guarded(self._stages)
            return self._finish(outcome)
        finally:
            if caught:
                self._stop.restore()

    def _guarded(self, work: Any) -> Outcome:
        """The outcome of `work`, or what its failure makes of the session."""
        try:
            outcome = work()
        except KernelFailure as failure:
            return Outcome(failure.reason, failure.message)
        except KeyboardInterrupt:
            return Outcome(EndReason.INTERRUPTED, "The session was interrupted.")
        except OSError as error:
            if is_disk_full(error):
                return Outcome(
                    EndReason.DISK_FULL, f"The disk is full: {error.filename or 'a file'} was not written."
                )
            self._report.say(traceback.format_exc())
            return Outcome(EndReason.INTERNAL, f"The kernel could not go on: {error}.")
        except Exception as error:  # noqa: BLE001 - the last guard: a state.json has to be written in any case.
            self._report.say(traceback.format_exc())
            return Outcome(EndReason.INTERNAL, f"The kernel has a fault: {type(error).__name__}: {error}.")
        assert isinstance(outcome, Outcome)
        return outcome

    def _stages(self) -> Outcome:
        """All that happens before the outputs are counted."""
        report, settings = self._report, self._settings
        run = settings["run"]
        report.say(f"kgtts {run['kgtts']}: run {run['id']}, session {run['session']}, kernel {run['kernel']}")
        start = Start(
            settings=settings,
            tools=self._tools,
            stop=self._stop,
            paths=self._paths,
            report=report,
            record=self._record,
            outputs=self._outputs,
            make_folders=self._make_folders,
        )
        inputs, prepared = start()
        self._prepared = prepared
        outcome = self._train(inputs, prepared)
        if outcome.complete:
            self._use(inputs, prepared)
        return outcome

    def _make_folders(self) -> None:
        for folder in (self._paths.working, self._paths.temp, self._paths.training):
            folder.mkdir(parents=True, exist_ok=True)
        self._report.metrics = LineFile(self._paths.metrics, on_error=self._cannot_write(self._paths.metrics))

    def _cannot_write(self, path: Path) -> Any:
        def tell(error: OSError) -> None:
            self._report.say(
                f"⚠ {path.name} can no longer be written ({error.strerror}); the session goes on."
            )

        return tell

    def _train(self, inputs: Inputs, prepared: PreparedConfig) -> Outcome:
        """Run the training and judge how it ended; a failed one fails its stage."""
        stage = TrainStage(
            settings=self._settings,
            tools=self._tools,
            run_child=self._meter.watching(self._run_child),
            paths=self._paths,
            report=self._report,
            record=self._record,
            shelf=self._shelf,
            host=self._host,
            budget=self._budget,
            on_checkpoint=self._note_checkpoint,
            cannot_write=self._cannot_write,
        )
        return stage(inputs, prepared)

    def _note_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep state.json true while the session runs: it may be killed without a word."""
        try:
            state = self._record.state(self._report, None, self._tools.now())
            self._outputs.write_state(state)
        except OSError as error:
            self._report.warn(f"state.json could not be written after {checkpoint.path.name}: {error}.")

    def _use(self, inputs: Inputs, prepared: PreparedConfig) -> None:
        """Export the voice and let it speak."""
        stage = VoiceStage(
            settings=self._settings,
            tools=self._tools,
            run_child=self._run_child,
            paths=self._paths,
            report=self._report,
            record=self._record,
            shelf=self._shelf,
            outputs=self._outputs,
            budget=self._budget,
        )
        stage(inputs, prepared)

    def _finish(self, outcome: Outcome) -> int:
        """Leave the outputs in order and say how it ended; the cause of a failure is the last thing said."""
        self._outputs.release()
        with contextlib.suppress(OSError):
            self._shelf.whole()  # Finds the damaged ones.
        if outcome.reason is EndReason.DISK_FULL:
            self._outputs.remove_damaged()
        for path, why in self._shelf.damaged.items():
            if path.exists():
                self._report.warn(f"{self._paths.relative(path)} {why}; it is not used.")
        tidied = self._guarded(lambda: self._tidy(outcome))
        if tidied is not outcome and outcome.complete:
            outcome = tidied
        outcome = self._write_end(outcome)
        mark = "✅" if outcome.complete else "❌"
        if outcome.reason is EndReason.FINISHED:
            self._report.say(f"{mark} Training completed successfully!")
        self._report.say(f"{mark} {outcome.message}")
        return outcome.exit_code

    def _tidy(self, outcome: Outcome) -> Outcome:
        with self._report.stage("outputs", "Outputs"):
            overrides = self._prepared.overrides if self._prepared is not None else {}
            self._outputs.final_config(self._record.newest(), overrides)
            self._outputs.say_files()
            if (used := self._meter.sentence()) is not None:
                self._report.say(used)
        return outcome

    def _write_end(self, outcome: Outcome) -> Outcome:
        """state.json first, then the `end` event, then the manifest over both."""
        newest = None
        try:
            newest = self._record.newest()
            self._outputs.write_state(self._record.state(self._report, outcome, self._tools.now()))
        except OSError as error:
            self._report.warn(f"state.json could not be written: {error}.")
            if outcome.complete:
                reason = EndReason.DISK_FULL if is_disk_full(error) else EndReason.INTERNAL
                outcome = Outcome(
                    reason, f"The training ended, but state.json could not be written: {error}."
                )
        self._report.event(
            "end",
            status=outcome.status,
            reason=str(outcome.reason),
            message=outcome.message,
            global_step=newest.global_step if newest else None,
            epoch=self._record.epoch_of(newest),
            exit_code=outcome.exit_code,
        )
        if self._report.metrics is not None:
            self._report.metrics.close()
        try:
            self._outputs.write_manifest()
        except OSError as error:
            self._report.say(f"⚠ manifest.json could not be written: {error}.")
        return outcome


def run(settings: dict[str, Any], tools: Tools | None = None) -> int:
    """Run one session.

    Args:
        settings: the kernel's settings, as render.py wrote them.
        tools: another world than the real one, for tests.

    Returns:
        The exit code: 0 when the session has a result, also at its time limit; 130 interrupted; 1 otherwise.
    """
    return Session(settings, tools or Tools()).run()
