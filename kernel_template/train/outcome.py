"""How the session ended, judged by how its training did."""

import re
import signal
from dataclasses import dataclass, field

from kernel_template.contract import EndReason, HostStop
from kernel_template.host.protocol import HostReport
from kernel_template.tools.files import human_seconds
from kernel_template.tools.outcome import Outcome
from kernel_template.tools.process import ChildEnd, StopCause
from kernel_template.train.checkpoints import Checkpoint
from kernel_template.train.diagnosis import diagnose

_INTERRUPT_HEARD = re.compile(r"Keyboard interrupt detected|^KeyboardInterrupt")
# What the host stopped for by itself.
_STOPPED = {
    HostStop.BUDGET: (
        EndReason.BUDGET,
        "The training stopped because the next epoch or step would not fit into the session's time",
    ),
    HostStop.UNTIL_STEP: (EndReason.UNTIL_STEP, "The training reached run.until_step"),
    HostStop.NO_IMPROVEMENT: (
        EndReason.NO_IMPROVEMENT,
        "The training stopped early: the evaluation has not improved for run.patience evaluations in a row",
    ),
}
_INTERRUPTED_CODE = 130  # The trainer's exit code after a SIGINT, once its checkpoint is saved.


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What is known once the training process is gone.

    Attributes:
        end: how the process ended.
        tail: the last lines that it printed.
        newest: the newest whole checkpoint.
        other_weights: how many weight files lie under names that are not Coqui's.
        batch_size: `training.batch_size`.
        tts: the version of Coqui TTS.
        host: what the host reported.
    """

    end: ChildEnd
    tail: list[str]
    newest: Checkpoint | None
    other_weights: int
    batch_size: int
    tts: str | None
    host: HostReport = field(default_factory=HostReport)


def training_outcome(result: TrainingResult) -> Outcome:
    """Judge a training that has ended.

    Reaching the time limit is a success if there is a checkpoint, since the next session continues from it.
    A training that leaves nothing to continue from is a failure, whatever its exit code.
    """
    saved = (
        f"the newest checkpoint is {result.newest.path.name}" if result.newest else "no checkpoint was saved"
    )
    if result.host.refused is not None:
        return Outcome(EndReason.BAD_DATA, result.host.refused)
    end, stopped = result.end, result.host.stopped
    if result.newest is not None and stopped in _STOPPED:
        reason, message = _STOPPED[stopped]
        return Outcome(reason, f"{message}; {saved}.", complete=True)
    obeyed = stopped is HostStop.SIGNAL
    if end.stop_cause is StopCause.INTERRUPTED or (
        end.stop_cause is None and (obeyed or end.returncode in (_INTERRUPTED_CODE, -signal.SIGINT))
    ):
        return Outcome(EndReason.INTERRUPTED, f"The training was interrupted; {saved}.")
    if end.stop_cause is StopCause.TIME_LIMIT and (
        end.killed or obeyed or _ended_by_interrupt(end.returncode, result.tail)
    ):
        if result.newest is None:
            return Outcome(
                EndReason.TIME_LIMIT,
                f"The time limit was reached after {human_seconds(end.seconds)}, before the first checkpoint "
                "was saved. Raise training.time_limit (on your own machine --hours), or save more often: "
                "set save_step in training.coqui.",
            )
        return Outcome(EndReason.TIME_LIMIT, f"The time limit was reached; {saved}.", complete=True)
    return _outcome_by_itself(result, saved)


def _outcome_by_itself(result: TrainingResult, saved: str) -> Outcome:
    """Judge a training that nobody stopped."""
    end = result.end
    nothing = result.newest is None and not result.other_weights
    # A script may hide that its training failed, or that a program did which trained for it.
    hidden = result.host.failed or (nothing and any("Traceback" in line for line in result.tail))
    if end.returncode != 0 or hidden:
        found = diagnose(result.tail, end.returncode or 1, batch_size=result.batch_size, tts=result.tts)
        return Outcome(found.reason, found.sentence)
    if nothing:
        return Outcome(
            EndReason.TRAINING_FAILED,
            "The training ended without an error, but it left no checkpoint. The script must save below its "
            "output_path; save_step in training.coqui says how often.",
        )
    return Outcome(EndReason.FINISHED, f"The training ran to its end; {saved}.", complete=True)


def _ended_by_interrupt(returncode: int, tail: list[str]) -> bool:
    """Whether SIGINT ended the training, rather than an error or its own end.

    trainer 0.4.0 exits with 130, and a script without the trainer dies of the signal. Other releases exit
    with 0 or 1; then the interrupt must be the last thing in the log, since the save after it can fail.
    """
    if returncode in (_INTERRUPTED_CODE, -signal.SIGINT):
        return True
    heard = [index for index, line in enumerate(tail) if _INTERRUPT_HEARD.search(line)]
    if returncode not in (0, 1) or not heard:
        return False
    return not any("Traceback" in line for line in tail[heard[-1] :])
