"""The session from start to end. The rendered kernel calls `run`."""

import contextlib
import traceback
from collections.abc import Callable
from typing import Any

from kernel_template.context import SessionContext, Tools
from kernel_template.contract import EndReason, Stage
from kernel_template.events import EndEvent, SessionEvent
from kernel_template.finish.stage import VoiceStage
from kernel_template.place import find_place
from kernel_template.scores.stage import ScoresStage
from kernel_template.settings import SessionSettings
from kernel_template.start.environment import kaggle_session
from kernel_template.start.stage import StartStages
from kernel_template.tools.files import is_disk_full
from kernel_template.tools.nodes import Nodes
from kernel_template.tools.outcome import KernelFailure, Outcome
from kernel_template.train.checkpoints import Checkpoint
from kernel_template.train.stage import TrainStage


class Session:
    """One session of a run."""

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._overrides: dict[str, Any] = {}

    def run(self) -> int:
        """Run all stages. Returns the exit code; raises nothing."""
        listening = self._context.stop.install()
        try:
            outcome = self._guarded(self._stages)
            head = self._context.head
            if head is not None and head.failed and not outcome.complete:
                outcome = Outcome(outcome.reason, f"{outcome.message} {head.failed}")
            self._tell_others(outcome)
            return self._finish(outcome)
        finally:
            if listening:
                self._context.stop.restore()

    def _guarded(self, work: Callable[[], Outcome]) -> Outcome:
        """Call `work`; turn whatever it raises into an outcome."""
        report = self._context.report
        try:
            return work()
        except KernelFailure as failure:
            return Outcome(failure.reason, failure.message)
        except KeyboardInterrupt:
            return Outcome(EndReason.INTERRUPTED, "The session was interrupted.")
        except OSError as error:
            if is_disk_full(error):
                what = error.filename or "a file"
                return Outcome(EndReason.DISK_FULL, f"The disk is full: {what} could not be written.")
            report.say(traceback.format_exc())
            return Outcome(EndReason.INTERNAL, f"The session cannot continue: {error}.")
        except Exception as error:  # noqa: BLE001 - state.json must be written whatever happens.
            report.say(traceback.format_exc())
            message = f"kgtts has a fault: {type(error).__name__}: {error}. The traceback above says where."
            return Outcome(EndReason.INTERNAL, message)

    def _stages(self) -> Outcome:
        """Run everything up to the outputs."""
        context, run = self._context, self._context.settings["run"]
        self._introduce()
        context.report.say(
            f"kgtts {run['kgtts']}: run {run['id']}, session {run['session']}, kernel {run['kernel']}"
        )
        inputs, prepared = StartStages(context).run()
        self._overrides = prepared.overrides
        scores = ScoresStage(context)
        scores.recall()
        outcome = TrainStage(context, self._on_checkpoint).run(inputs, prepared)
        self._tell_others(outcome)
        if outcome.complete and context.member is None:
            scores.run(inputs)
            VoiceStage(context).run(inputs, prepared)
        return outcome

    def _tell_others(self, outcome: Outcome) -> None:
        """Tell the other machines how the training ended here."""
        context = self._context
        if context.head is not None:
            context.head.end(outcome)
        elif context.member is not None and not outcome.complete:
            context.member.fail(outcome)

    def _introduce(self) -> None:
        """Report Kaggle's id of this session and when it stops by itself, if either is known."""
        settings, number = self._context.settings, kaggle_session(self._context.tools.env)
        budget_s = settings["session_budget_s"]
        stops_by_s = None if budget_s is None else max(0, budget_s - settings["training"]["grace_s"])
        if number is not None or stops_by_s is not None:
            self._context.report.event(SessionEvent(number, stops_by_s))

    def _on_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep state.json up to date during the training, since a session can be killed at any moment."""
        context = self._context
        try:
            state = context.record.state(context.report, None, context.tools.now())
            context.outputs.write_state(state)
        except OSError as error:
            context.report.warn(f"state.json could not be written after {checkpoint.path.name}: {error}.")
            return
        if (mirror := context.mirror) is not None:
            if mirror.problem is not None:
                context.report.warn(f"What the session saves could not be copied: {mirror.problem}.")
            mirror.save(state)

    def _finish(self, outcome: Outcome) -> int:
        """Put the outputs in order and say how the session ended; the cause of a failure comes last."""
        context, report = self._context, self._context.report
        context.outputs.release()
        with contextlib.suppress(OSError):
            context.checkpoints.whole()  # Finds the damaged ones.
        if outcome.reason is EndReason.DISK_FULL:
            context.outputs.remove_damaged()
        for path, why in context.checkpoints.damaged.items():
            if path.exists():
                report.warn(f"{context.paths.relative(path)} {why}; it is not used.")
        tidied = self._guarded(lambda: self._tidy(outcome))
        if tidied is not outcome and outcome.complete:
            outcome = tidied
        outcome = self._copied(self._write_end(outcome))
        mark = "✅" if outcome.complete else "❌"
        if outcome.reason is EndReason.FINISHED:
            report.say(f"{mark} Training completed successfully!")
        report.say(f"{mark} {outcome.message}")
        return outcome.exit_code

    def _tidy(self, outcome: Outcome) -> Outcome:
        context = self._context
        with context.report.stage(Stage.OUTPUTS, "Outputs"):
            context.outputs.final_config(context.record.newest(), self._overrides)
            context.outputs.list_files()
            if (used := context.meter.sentence()) is not None:
                context.report.say(used)
        return outcome

    def _copied(self, outcome: Outcome) -> Outcome:
        """Copy the outputs to where they are kept, if that is another folder."""
        mirror = self._context.mirror
        if mirror is None or (problem := mirror.finish()) is None:
            return outcome
        message = f"What the session left could not be copied to {mirror.target}: {problem}."
        return Outcome(EndReason.INTERNAL, f"{message} Before that: {outcome.message}")

    def _write_end(self, outcome: Outcome) -> Outcome:
        """Write state.json, then the `end` event, then the manifest, which has the hashes of both files."""
        context, report, record = self._context, self._context.report, self._context.record
        newest = None
        try:
            newest = record.newest()
            context.outputs.write_state(record.state(report, outcome, context.tools.now()))
        except OSError as error:
            report.warn(f"state.json could not be written: {error}.")
            if outcome.complete:
                reason = EndReason.DISK_FULL if is_disk_full(error) else EndReason.INTERNAL
                outcome = Outcome(
                    reason, f"The training ended, but state.json could not be written: {error}."
                )
        report.event(
            EndEvent(
                status=outcome.status,
                reason=outcome.reason,
                message=outcome.message,
                global_step=newest.global_step if newest else None,
                epoch=record.epoch_of(newest),
                exit_code=outcome.exit_code,
            )
        )
        if report.metrics is not None:
            report.metrics.close()
        try:
            context.outputs.write_manifest()
        except OSError as error:
            report.say(f"⚠ manifest.json could not be written: {error}.")
        return outcome


def run(settings: SessionSettings, tools: Tools | None = None) -> int:
    """Run one session.

    Args:
        settings: the kernel's SETTINGS.
        tools: the outside world, which tests replace.

    Returns:
        The exit code: 0 if the session is complete, also at its time limit, or if the run needs none; 130 if
        interrupted; otherwise 1.
    """
    tools = tools or Tools()
    head, member = None, None
    try:
        nodes = Nodes.read(tools.env)
        if nodes.count > 1:
            from kernel_template.nodes.head import Head  # noqa: PLC0415 - Kaggle does not get it.
            from kernel_template.nodes.member import Member  # noqa: PLC0415 - as above.
            from kernel_template.nodes.trust import key_of  # noqa: PLC0415 - as above.

            key = key_of(settings)
            head = Head(nodes, key) if nodes.number == 0 else None
            member = Member(nodes, key, tools.clock, tools.sleep) if head is None else None
        if head is not None:
            head.start()
        place = find_place(settings, tools.root, tools.env)
        place = head.settle(place) if head is not None else place
        place = member.settle(place) if member is not None else place
        if place.over is None:
            return Session(SessionContext.create(place, tools, head, member)).run()
        tools.out(f"✅ {place.over}")
    except (KernelFailure, OSError) as failure:
        tools.out(f"❌ The session cannot begin. {failure}")
        reason = failure.reason if isinstance(failure, KernelFailure) else EndReason.INTERNAL
        if head is not None:
            head.end(Outcome(reason, str(failure)))
        return reason.exit_code
    finally:
        if head is not None:
            head.close()
    return 0
