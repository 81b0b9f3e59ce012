"""Read a run from Kaggle: everything is read from there, so a fresh machine sees the same as any other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kernel_template.contract import EXCUSED, EndReason, Status
from orchestrator import untrusted
from orchestrator.errors import ServiceError
from orchestrator.kaggle.logs import log_lines
from orchestrator.models import KernelRef, LogEvent, SessionState, SessionStatus
from orchestrator.render.stamp import RunStamp
from orchestrator.run.handover import find_parent, parent_of
from orchestrator.run.progress import read_progress
from orchestrator.run.snapshot import Snapshot, certain, see, value_of
from orchestrator.run.view import RunView, SessionView

_LONGEST_SILENCE_S = 600.0  # Of a session that trains: between two lines of its log.
_LOOK_BACK = 200  # How many versions of a kernel are searched for ours; each costs a call.
_LONGEST_LOG_S = 7 * 86400.0  # No session's log is that long.


@dataclass(frozen=True, slots=True)
class _Head:
    """A sibling: its newest version, and the newest one that is a session of kgtts, if there is one."""

    version: int
    session: SessionView | None

    @property
    def is_ours(self) -> bool:
        """Whether the newest version is the session."""
        return self.session is not None and self.session.ref.version == self.version


def read_run(snapshot: Snapshot, base: KernelRef) -> RunView | None:
    """Read a run; None if neither sibling holds a session of kgtts.

    Raises:
        CredentialsError, ServiceError: Kaggle could not be read, or does not say.
    """
    if _is_new(snapshot, base):
        return None
    found = {kernel: head for kernel in base.siblings if (head := _head(snapshot, kernel)) is not None}
    heads = {kernel: head.version for kernel, head in found.items()}
    ours = [head.session for head in found.values() if head.session is not None]
    if not ours:
        return None
    run = max(ours, key=_age).stamp.id
    sessions = [view for view in ours if view.stamp.id == run]
    sessions.sort(key=lambda view: view.stamp.session, reverse=True)
    newest, notes = look_closer(snapshot, sessions[0])
    strangers = [kernel.at(head.version) for kernel, head in found.items() if not head.is_ours]
    notes = (*notes, *(f"{ref}, the newest version there, was not pushed by kgtts." for ref in strangers))
    others = [replace(view, status=_status_beside(snapshot, view.ref)) for view in sessions[1:]]
    alive = [view for view in (newest, *others) if not view.status.state.is_terminal]
    if alive:
        parent = parent_of(snapshot, alive[0])
        return RunView(base, alive[0], parent, heads=heads, strangers=strangers, notes=notes)
    found_parent = find_parent(snapshot, base, heads, newest, (newest, *others))
    resumable, saved = found_parent.resumable, found_parent.saved
    wanted = newest.ref if newest.is_mountable else newest.parent
    lost = wanted is not None and (
        resumable is None
        or (saved is None and wanted.is_elsewhere)
        or (saved is not None and saved.step > resumable.step)
    )
    return RunView(
        base,
        newest,
        resumable,
        unreachable=wanted if lost else None,
        saved_session=max((view.stamp.session for view in (saved, resumable) if view), default=None),
        heads=heads,
        stranded=found_parent.stranded,
        preparing=found_parent.preparing,
        strangers=strangers,
        notes=notes,
    )


def _status_beside(snapshot: Snapshot, ref: KernelRef) -> SessionStatus:
    """The state of a session that has a newer one, so that it should have ended; if not, asked for again.

    Raises:
        ServiceError: it cannot be found out.
    """
    status = snapshot.certain_status(ref)
    if not status.state.is_terminal:
        again = certain(see(lambda: snapshot.kaggle.session_status(ref)))
        if again is not None and again.state.is_terminal:
            raise ServiceError(
                f"Kaggle says of {ref} that it is {status.state}, and that it is {again.state}.",
                hint="try again in a minute",
            )
    return status


def _is_new(snapshot: Snapshot, base: KernelRef) -> bool:
    """Whether two answers agree that neither sibling exists: the first is not there, and neither is listed.

    Raises:
        ServiceError: they contradict each other, or Kaggle does not say.
    """
    first, second = base.siblings
    if certain(snapshot.kernel(first)) is not None or not snapshot.is_own(base):
        return False
    listed = certain(snapshot.listing()) or {}
    if str(first).casefold() in listed:
        raise ServiceError(
            f"Kaggle lists {first}, but also says that it does not exist, so kgtts cannot tell "
            "what the run needs.",
            hint="try again later",
        )
    # An empty list may be a fault, too; then the second kernel has to be missing as well.
    return bool(listed) and str(second).casefold() not in listed


def ended_by_the_list(snapshot: Snapshot, base: KernelRef) -> KernelRef | None:
    """The newest session of a run that is over, read with few calls; None if `read_run` has to find it.

    The account's list tells which sibling ran last, and that session's own state that the run is over, so the
    other sibling is not read. This is for commands that only show a run: an old list would hide a session
    that was pushed a moment ago to continue the run beyond its target.

    Raises:
        ServiceError: Kaggle could not be read, or does not say.
    """
    listed = value_of(snapshot.listing()) if base == base.base and snapshot.is_own(base) else None
    if not listed or str(base).casefold() in listed:
        return None
    names = {str(kernel).casefold(): kernel for kernel in base.siblings}
    times = {names[name]: moment for name, moment in listed.items() if name in names and moment is not None}
    if not times:
        return None
    head = _head(snapshot, max(times, key=times.__getitem__))
    if head is None or head.session is None or not head.is_ours:
        return None
    session, _ = look_closer(snapshot, head.session)
    return session.ref if session.result is not None and session.result.done else None


def look_closer(snapshot: Snapshot, view: SessionView) -> tuple[SessionView, Sequence[str]]:
    """The session with its state and, once it has ended, what it left; and notes about that.

    Raises:
        ServiceError: it cannot be found out.
    """
    status = snapshot.certain_status(view.ref)
    view = replace(view, status=status)
    if not status.state.is_terminal:
        return view, ()
    result, note = snapshot.result(view)
    view, notes = replace(view, result=result), () if note is None else (note,)
    if status.state is SessionState.CANCEL_ACKNOWLEDGED:
        view = replace(view, was_stopped=_was_stopped(snapshot.certain_log(view.ref)))
    cause: str | None
    if result is not None:
        view = replace(view, reason=result.reason or None)
    if result is not None and result.status == Status.FAILED:
        # Kaggle's own word is not asked: it has called crashed scripts complete.
        cause = result.message
    elif status.state.is_success and result is not None:
        return view, notes
    else:
        log = snapshot.certain_log(view.ref)
        progress = read_progress(line.text for line in log_lines(log))
        cause = progress.end_message if progress.end_status == Status.FAILED else None
        view = replace(view, seconds=_length_of(log), reason=view.reason or progress.end_reason)
    if view.reason == EndReason.HANDOVER_FAILED and cause:
        notes = (*notes, f"Session {view.stamp.session} ended at its start: {untrusted.one_line(cause)}")
    if view.reason in EXCUSED:
        cause = None
    return replace(view, cause=None if cause is None else untrusted.one_line(cause) or None), notes


def _age(view: SessionView) -> tuple[float, int]:
    return (view.started.timestamp() if view.started else 0.0, view.stamp.session)


def _head(snapshot: Snapshot, kernel: KernelRef) -> _Head | None:
    """A sibling, if it exists.

    Versions that are not ours, saved on the website for example, are skipped.

    Raises:
        ServiceError: Kaggle does not say.
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
        ref = kernel.at(version)
        stamp = snapshot.stamp(ref)
        if stamp is None or (version > 1 and _is_saved_copy(snapshot, ref, stamp)):
            continue
        found = certain(snapshot.kernel(ref))
        queued = SessionStatus(SessionState.QUEUED)  # Until somebody looks closer.
        return _Head(newest, SessionView(ref, stamp, queued, None if found is None else found.last_run))
    if newest > _LOOK_BACK:
        raise ServiceError(
            f"None of the newest {_LOOK_BACK} versions of {kernel} was pushed by kgtts, and older ones were "
            "not read, so what the run needs is unknown.",
            hint="another kernel.slug begins another run",
        )
    return _Head(newest, None)


def _is_saved_copy(snapshot: Snapshot, ref: KernelRef, stamp: RunStamp) -> bool:
    """Whether a version was saved on the website from the one before it, and never run.

    A session that was pushed a moment ago may show no state, either, but it repeats no stamp.
    """
    status = certain(snapshot.status(ref))
    if status is not None and status.state is not SessionState.NEW_SCRIPT:
        return False
    before = snapshot.stamp(ref.at((ref.version or 0) - 1))
    return before is not None and (before.id, before.session) == (stamp.id, stamp.session)


def newest_session(snapshot: Snapshot, kernel: KernelRef) -> SessionView | None:
    """A kernel's newest version that is a session of kgtts; None if it has none, or there is no kernel.

    Raises:
        ServiceError: Kaggle does not say.
    """
    head = _head(snapshot, kernel)
    return None if head is None else head.session


def stranger_on(snapshot: Snapshot, kernel: KernelRef) -> KernelRef | None:
    """The newest version of a kernel, if kgtts did not push it; None if it did or there is no kernel.

    Raises:
        ServiceError: Kaggle does not say.
    """
    head = _head(snapshot, kernel)
    return None if head is None or head.is_ours else kernel.at(head.version)


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
