"""What Kaggle shows of a run: all is read from there, so a fresh machine sees the same as any other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kernel_template.contract import EndReason, Status
from orchestrator import untrusted
from orchestrator.errors import NotFoundError, ServiceError
from orchestrator.kaggle.logs import log_lines
from orchestrator.models import KernelRef, LogEvent, SessionState, SessionStatus
from orchestrator.ports import Kaggle
from orchestrator.render.stamp import read_stamp
from orchestrator.run.handover import find_offer
from orchestrator.run.progress import read_progress
from orchestrator.run.reading import describe, parent_of, parent_ref, result_of, status_of
from orchestrator.run.session import RunView, SessionView

_LOOK_BACK_FOR_OURS = 5  # How many versions of a kernel are looked through, which costs a call each.
_ENDLESS_S = 7 * 86400.0  # No session's log is that long; neither is one that tells no number.


@dataclass(frozen=True, slots=True)
class _Head:
    """A sibling: its newest version, and the newest one that is a session of kgtts."""

    version: int
    session: SessionView


def observe(kaggle: Kaggle, base: KernelRef) -> RunView | None:
    """Read a run from Kaggle; None where neither sibling holds a session of kgtts.

    Raises:
        CredentialsError, RefusedError, ServiceError: Kaggle could not be read.
    """
    found = [head for kernel in base.siblings if (head := _head(kaggle, kernel)) is not None]
    if not found:
        return None
    heads = {head.session.ref.kernel: head.version for head in found}
    run = max(found, key=_age).session.stamp.id
    sessions = [head.session for head in found if head.session.stamp.id == run]
    sessions.sort(key=lambda view: view.stamp.session, reverse=True)
    newest, *others = sessions
    newest = _look_closer(kaggle, newest)
    others = [replace(view, status=status_of(kaggle, view.ref)) for view in others]
    alive = [view for view in (newest, *others) if not view.status.state.is_terminal]
    if alive:
        return RunView(base, alive[0], parent_of(kaggle, alive[0]), heads=heads)
    offer = find_offer(kaggle, base, heads, newest, (newest, *others))
    resumable, saved = offer.resumable, offer.saved
    wanted = newest.ref if newest.is_mountable else parent_ref(newest)
    lost = wanted is not None and (resumable is None or (saved is not None and saved.step > resumable.step))
    best = max((view.stamp.session for view in (saved, resumable) if view is not None), default=None)
    return RunView(
        base, newest, resumable, wanted if lost else None, best, heads, offer.kept, preparing=offer.preparing
    )


def _age(head: _Head) -> tuple[float, int]:
    view = head.session
    return (view.started.timestamp() if view.started else 0.0, view.stamp.session)


def _head(kaggle: Kaggle, kernel: KernelRef) -> _Head | None:
    """A sibling, where one of its newest versions carries a stamp."""
    try:
        info = kaggle.kernel(kernel)
    except NotFoundError:
        return None
    newest = info.latest_version
    if newest is None:
        if read_stamp(info.source or "") is None:
            return None
        raise ServiceError(
            f"Kaggle does not say which version of {kernel} is the newest, so what the run needs is unknown.",
            hint="try again later",
        )
    for version in range(newest, max(0, newest - _LOOK_BACK_FOR_OURS), -1):
        # Where the newest is none of ours, somebody made it on the kernel's page perhaps.
        found = info if version == newest else describe(kaggle, kernel.at(version))
        stamp = None if found is None else read_stamp(found.source or "")
        if found is not None and stamp is not None:
            queued = SessionStatus(SessionState.QUEUED)  # Until somebody looks closer.
            return _Head(newest, SessionView(kernel.at(version), stamp, queued, found.last_run))
    return None


def _look_closer(kaggle: Kaggle, view: SessionView) -> SessionView:
    """The session with its state and, once it has ended, what it left."""
    status = status_of(kaggle, view.ref)
    view = replace(view, status=status)
    if not status.state.is_terminal:
        return view
    view = replace(view, result=result_of(kaggle, view))
    if status.state.is_success:
        return view
    if view.result is not None and view.result.status == Status.FAILED:
        cause = None if view.result.reason == EndReason.INTERRUPTED else view.result.message
    else:
        log = kaggle.stored_log(view.ref)
        cause = _cause(log)
        times = [event.time_s for event in log if 0 <= event.time_s < _ENDLESS_S]
        view = replace(view, seconds=max(times, default=None))
    return replace(view, cause=None if cause is None else untrusted.one_line(cause) or None)


def _cause(log: Sequence[LogEvent]) -> str | None:
    """Why the kernel says that it failed; a kernel that was told to stop has no fault, it was killed."""
    progress = read_progress(line.text for line in log_lines(log))
    if progress.end_status != Status.FAILED or progress.end_reason == EndReason.INTERRUPTED:
        return None
    return progress.end_message
