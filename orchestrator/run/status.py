"""One look at a session for people: its state, progress and log, and what its run needs next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.errors import NotFoundError
from orchestrator.kaggle.logs import log_lines
from orchestrator.models import KernelRef, SessionStatus, SessionSummary
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.run.context import RunContext, Target
from orchestrator.run.follow import session_log
from orchestrator.run.handover import result_before
from orchestrator.run.progress import Progress, parse_event, read_progress
from orchestrator.run.snapshot import Snapshot, value_of, visible
from orchestrator.run.view import SessionView

_TAIL = 12


@dataclass(frozen=True, slots=True)
class SessionReport:
    """What one look at a session showed.

    Attributes:
        target: the session, at its version.
        status: its state.
        progress: how far it is, by its log.
        tail: the end of its log, without the kernel's events.
        latest_version: the kernel's newest version.
        page: the address of its page on the service.
        stamp: which run and session it is; None if it is not one, or not the kernel's newest version.
        history: the run's sessions so far.
        started: when the kernel was last run.
    """

    target: Target
    status: SessionStatus
    progress: Progress
    tail: Sequence[str]
    latest_version: int | None
    page: str
    stamp: RunStamp | None = None
    history: Sequence[SessionSummary] = ()
    started: datetime | None = None

    @property
    def is_latest(self) -> bool:
        """Whether Kaggle's newest version of the kernel is the one looked at."""
        return self.latest_version in (None, self.target.ref.version)


def report_session(
    context: RunContext,
    target: Target,
    *,
    snapshot: Snapshot | None = None,
) -> SessionReport:
    """Look at a session once; the ledger remembers what was seen.

    Args:
        context: Kaggle, the ledger and the clock.
        target: the session.
        snapshot: what of Kaggle was already seen.

    Raises:
        NotFoundError: there is no such kernel or session.
        ServiceError: Kaggle could not be read, or does not say.
    """
    snapshot = snapshot or context.snapshot()
    with target.looked_for():
        info = visible(snapshot.kernel(target.ref.kernel))
    if info is None:
        raise _missing(target, target.ref.kernel)
    target = target.at_version_of(info)
    with target.looked_for():
        status = visible(snapshot.status(target.ref))
    if status is None:
        raise _missing(target, target.ref)
    if target.record is not None:
        context.ledger.observe(target.record, status.state, status.failure_message, context.clock.now())
    lines = _lines(context, snapshot, target.ref, status)
    stamp = read_stamp(info.source or "") if info.latest_version == target.ref.version else None
    return SessionReport(
        target,
        status,
        read_progress(lines),
        [line for line in lines if parse_event(line) is None][-_TAIL:],
        info.latest_version,
        target.page(context.kaggle.service),
        stamp,
        () if stamp is None else _history(context, snapshot, target.ref, status, stamp),
        info.last_run,
    )


def _missing(target: Target, ref: KernelRef) -> NotFoundError:
    return NotFoundError(
        f"Kaggle has no session of {ref}: it does not exist, or was saved but never run.",
        hint=target.missing_hint,
    )


def _lines(context: RunContext, snapshot: Snapshot, ref: KernelRef, status: SessionStatus) -> list[str]:
    if status.state.is_terminal:
        return [line.text for line in log_lines(value_of(snapshot.log(ref)) or ())]
    return [line.text for line in session_log(context, ref, status.state)]


def _history(
    context: RunContext, snapshot: Snapshot, ref: KernelRef, status: SessionStatus, stamp: RunStamp
) -> Sequence[SessionSummary]:
    """The run's sessions so far, by the newest state there is: the session's own or its parent's."""
    result = value_of(snapshot.state(ref)) if status.state.is_terminal else None
    if result is None or result.run != stamp.id:
        result = result_before(snapshot, SessionView(ref, stamp, status))
    if result is None or result.run != stamp.id:
        return ()
    context.ledger.learn(stamp.id, result.history)
    return result.history
