"""Read a run from Kaggle: everything is read from there, so a fresh machine sees the same as any other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kernel_template.contract import EndReason, Status
from orchestrator import untrusted
from orchestrator.errors import ServiceError
from orchestrator.kaggle.logs import log_lines
from orchestrator.models import KernelRef, LogEvent, SessionState, SessionStatus
from orchestrator.render.stamp import read_stamp
from orchestrator.run.handover import find_parent, parent_of
from orchestrator.run.progress import read_progress
from orchestrator.run.snapshot import Snapshot, certain
from orchestrator.run.view import RunView, SessionView

_LOOK_BACK = 5  # How many versions of a kernel are searched for ours; each costs a call.
_LONGEST_SILENCE_S = 600.0  # Of a session that trains: between two lines of its log.
_LONGEST_LOG_S = 7 * 86400.0  # No session's log is that long.


@dataclass(frozen=True, slots=True)
class _Head:
    """A sibling: its newest version, and the newest one that is a session of kgtts."""

    version: int
    session: SessionView


def read_run(snapshot: Snapshot, base: KernelRef) -> RunView | None:
    """Read a run; None if neither sibling holds a session of kgtts.

    Raises:
        CredentialsError, ServiceError: Kaggle could not be read, or does not tell.
    """
    if _is_new(snapshot, base):
        return None
    found = [head for kernel in base.siblings if (head := _head(snapshot, kernel)) is not None]
    if not found:
        return None
    heads = {head.session.ref.kernel: head.version for head in found}
    run = max(found, key=_age).session.stamp.id
    sessions = [head.session for head in found if head.session.stamp.id == run]
    sessions.sort(key=lambda view: view.stamp.session, reverse=True)
    newest, notes = look_closer(snapshot, sessions[0])
    others = [replace(view, status=snapshot.certain_status(view.ref)) for view in sessions[1:]]
    alive = [view for view in (newest, *others) if not view.status.state.is_terminal]
    if alive:
        return RunView(base, alive[0], parent_of(snapshot, alive[0]), heads=heads)
    found_parent = find_parent(snapshot, base, heads, newest, (newest, *others))
    resumable, saved = found_parent.resumable, found_parent.saved
    wanted = newest.ref if newest.is_mountable else newest.parent
    lost = wanted is not None and (resumable is None or (saved is not None and saved.step > resumable.step))
    return RunView(
        base,
        newest,
        resumable,
        unreachable=wanted if lost else None,
        saved_session=max((view.stamp.session for view in (saved, resumable) if view), default=None),
        heads=heads,
        stranded=found_parent.stranded,
        preparing=found_parent.preparing,
        notes=notes,
    )


def _is_new(snapshot: Snapshot, base: KernelRef) -> bool:
    """Whether two answers agree that neither sibling exists: the first is not there, and neither is listed.

    Raises:
        ServiceError: they contradict each other, or Kaggle does not tell.
    """
    first, second = base.siblings
    if certain(snapshot.kernel(first)) is not None or not snapshot.is_own(base):
        return False
    listed = certain(snapshot.listing()) or frozenset()
    if str(first).casefold() in listed:
        raise ServiceError(
            f"Kaggle lists {first} and says that it does not exist, so what the run needs is unknown.",
            hint="try again later",
        )
    # An empty list may be a fault, too; then the second kernel has to be missing as well.
    return bool(listed) and str(second).casefold() not in listed


def look_closer(snapshot: Snapshot, view: SessionView) -> tuple[SessionView, Sequence[str]]:
    """The session with its state and, once it has ended, what it left; and notes about that.

    Raises:
        ServiceError: it cannot be told.
    """
    status = snapshot.certain_status(view.ref)
    view = replace(view, status=status)
    if not status.state.is_terminal:
        return view, ()
    result, note = snapshot.result(view)
    view, notes = replace(view, result=result), () if note is None else (note,)
    if status.state is SessionState.CANCEL_ACKNOWLEDGED:
        view = replace(view, was_stopped=_was_stopped(certain(snapshot.log(view.ref)) or ()))
    if result is not None and result.status == Status.FAILED:
        cause = None if result.reason == EndReason.INTERRUPTED else result.message
    elif status.state.is_success:
        return view, notes
    else:
        log = certain(snapshot.log(view.ref)) or ()
        cause = _cause(log)
        view = replace(view, seconds=_length_of(log))
    return replace(view, cause=None if cause is None else untrusted.one_line(cause) or None), notes


def _age(head: _Head) -> tuple[float, int]:
    view = head.session
    return (view.started.timestamp() if view.started else 0.0, view.stamp.session)


def _head(snapshot: Snapshot, kernel: KernelRef) -> _Head | None:
    """A sibling, if one of its newest versions is a session of kgtts.

    Raises:
        ServiceError: Kaggle does not tell.
    """
    info = certain(snapshot.kernel(kernel))
    if info is None:
        return None
    newest = info.latest_version
    if newest is None or info.source is None:
        lacks = "does not say which version is the newest" if newest is None else "gives no source"
        raise ServiceError(
            f"Kaggle {lacks} of {kernel}, so what the run needs is unknown.", hint="try again later"
        )
    for version in range(newest, max(0, newest - _LOOK_BACK), -1):
        # If the newest is not ours, somebody perhaps saved it on the kernel's page.
        found = certain(snapshot.kernel(kernel.at(version)))
        stamp = None if found is None else read_stamp(found.source or "")
        if found is not None and stamp is not None:
            queued = SessionStatus(SessionState.QUEUED)  # Until somebody looks closer.
            return _Head(newest, SessionView(kernel.at(version), stamp, queued, found.last_run))
    return None


def _length_of(log: Sequence[LogEvent]) -> float | None:
    """When the last line of a log was written, in seconds; None if there is no line."""
    return max((event.time_s for event in log if 0 <= event.time_s < _LONGEST_LOG_S), default=None)


def _was_stopped(log: Sequence[LogEvent]) -> bool:
    """Whether a person ended a session that Kaggle calls cancelled.

    Kaggle uses that word for a time-out as well. But the session says at its start when it will end by
    itself, and speaks until it is ended: a log that ends long before that time was cut off by somebody.
    """
    length_s, stops_by_s = _length_of(log), read_progress(line.text for line in log_lines(log)).stops_by_s
    if length_s is None or stops_by_s is None:
        return False
    return length_s < stops_by_s - min(_LONGEST_SILENCE_S, stops_by_s / 2)


def _cause(log: Sequence[LogEvent]) -> str | None:
    """Why the kernel says that it failed; one that was interrupted has no fault of its own."""
    progress = read_progress(line.text for line in log_lines(log))
    if progress.end_status != Status.FAILED or progress.end_reason == EndReason.INTERRUPTED:
        return None
    return progress.end_message
