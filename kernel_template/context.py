"""What a session is made with, and how it ended."""

import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kernel_template.contract import HostStop
from kernel_template.host.protocol import HostReport
from kernel_template.start.environment import installed_versions
from kernel_template.tools.failure import EndReason
from kernel_template.tools.files import WriteFile, human_seconds, write_atomic
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import (
    Capture,
    ChildEnd,
    ChildRunner,
    Cut,
    RunChild,
    StopSign,
    capture_output,
)
from kernel_template.tools.report import print_line
from kernel_template.train.checkpoints import Checkpoint
from kernel_template.train.diagnosis import diagnose

_INTERRUPT_HEARD = re.compile(r"Keyboard interrupt detected|^KeyboardInterrupt")
# What the host stopped for by itself.
_STOPPED = {
    HostStop.BUDGET: (
        EndReason.BUDGET,
        "The training stopped in time: what comes next would not fit into the session",
    ),
    HostStop.UNTIL_STEP: (EndReason.UNTIL_STEP, "The training reached the step that was asked for"),
    HostStop.NO_IMPROVEMENT: (
        EndReason.NO_IMPROVEMENT,
        "The training stopped early: its evaluations have not improved for as many as run.patience allows",
    ),
}
_INTERRUPTED_CODE = 130  # What the trainer exits with after a SIGINT and a saved checkpoint.


def _utc_now() -> datetime:
    return datetime.now(tz=UTC)


def default_root() -> Path:
    """Kaggle's folder; an emulator without mount namespaces names another."""
    return Path(os.environ.get("KGTTS_KAGGLE_ROOT") or "/kaggle")


@dataclass(frozen=True, slots=True)
class Tools:
    """The world as the kernel sees it; tests hand in another.

    Args:
        root: the folder that holds input, working and temp.
        clock: seconds of a clock that never goes back.
        now: the wall clock, in UTC.
        out: where a line of the log goes.
        env: the environment that children inherit, less Kaggle's own variables.
        programs: the programs of this package, and the interpreter of all children.
        run: runs a child with streaming; None for the real thing.
        capture: runs a short program.
        versions: installed versions by distribution name.
        write: writes a whole file.
    """

    root: Path = field(default_factory=default_root)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _utc_now
    out: Callable[[str], None] = print_line
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    programs: PackagePrograms = field(default_factory=PackagePrograms)
    run: RunChild | None = None
    capture: Capture = capture_output
    versions: Callable[[tuple[str, ...]], dict[str, str]] = installed_versions
    write: WriteFile = write_atomic

    def runner(self, stop: StopSign) -> RunChild:
        """What runs children in this session."""
        return self.run if self.run is not None else ChildRunner(stop=stop, clock=self.clock)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the session ended."""

    reason: EndReason
    message: str
    complete: bool = False

    @property
    def status(self) -> str:
        """`complete` or `failed`."""
        return "complete" if self.complete else "failed"

    @property
    def exit_code(self) -> int:
        """The kernel's exit code: 0 only for a session that has a result."""
        return 0 if self.complete else self.reason.exit_code


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What is known once the training process is gone."""

    end: ChildEnd
    tail: list[str]
    newest: Checkpoint | None
    other_weights: int
    batch_size: int
    tts: str | None
    host: HostReport = field(default_factory=HostReport)


def judge_training(facts: TrainingFacts) -> Outcome:
    """How the session ended, by how the training did.

    A time limit with a checkpoint is a success: the next session goes on from it. A training that leaves
    nothing to go on from is none, whatever its exit code.
    """
    saved = (
        f"the newest checkpoint is {facts.newest.path.name}" if facts.newest else "no checkpoint was saved"
    )
    if facts.host.refused is not None:
        return Outcome(EndReason.BAD_DATA, facts.host.refused)
    end, stopped = facts.end, facts.host.stopped
    if facts.newest is not None and stopped in _STOPPED:
        reason, words = _STOPPED[stopped]
        return Outcome(reason, f"{words}; {saved}.", complete=True)
    heeded = stopped is HostStop.SIGNAL
    if end.cut is Cut.INTERRUPTED or (
        end.cut is None and (heeded or end.returncode in (_INTERRUPTED_CODE, -signal.SIGINT))
    ):
        return Outcome(EndReason.INTERRUPTED, f"The training was interrupted; {saved}.")
    if end.cut is Cut.TIME_LIMIT and (end.killed or heeded or _left_when_asked(end.returncode, facts.tail)):
        if facts.newest is None:
            return Outcome(
                EndReason.TIME_LIMIT,
                f"The time limit was reached after {human_seconds(end.seconds)} and no checkpoint was saved. "
                "Raise training.time_limit, or save more often (training.coqui: save_step).",
            )
        return Outcome(EndReason.TIME_LIMIT, f"The time limit was reached; {saved}.", complete=True)
    return _judge_end(facts, saved)


def _judge_end(facts: TrainingFacts, saved: str) -> Outcome:
    """A training that ended by itself."""
    end = facts.end
    if end.returncode != 0:
        told = diagnose(facts.tail, end.returncode, batch_size=facts.batch_size, tts=facts.tts)
        return Outcome(told.reason, told.sentence)
    if facts.newest is None and not facts.other_weights:
        return Outcome(
            EndReason.TRAINING_FAILED,
            "The training ended without an error but left no checkpoint. Its script has to save below its "
            "output_path (training.coqui: save_step).",
        )
    return Outcome(EndReason.FINISHED, f"The training ran to its end; {saved}.", complete=True)


def _left_when_asked(returncode: int, tail: list[str]) -> bool:
    """Whether the training ended because of the SIGINT, rather than of an error or by itself.

    trainer 0.4.0 exits 130 and a script without it dies of the signal. Other releases leave with 0 or 1:
    there the interrupt must be the last that was heard of, as a save may fail after it.
    """
    if returncode in (_INTERRUPTED_CODE, -signal.SIGINT):
        return True
    heard = [index for index, line in enumerate(tail) if _INTERRUPT_HEARD.search(line)]
    if returncode not in (0, 1) or not heard:
        return False
    return not any("Traceback" in line for line in tail[heard[-1] :])
