"""One kernel version read from Kaggle: what it is, how it stands, what it left."""

from orchestrator.errors import NotFoundError, UsageError
from orchestrator.models import KernelInfo, KernelRef, SessionState, SessionStatus
from orchestrator.ports import Kaggle
from orchestrator.render.stamp import read_stamp
from orchestrator.run.session import SessionView
from orchestrator.run.state import STATE_FILE, SessionResult, read_state


def describe(kaggle: Kaggle, ref: KernelRef) -> KernelInfo | None:
    """A version with its source; None where it is gone."""
    try:
        return kaggle.kernel(ref)
    except NotFoundError:
        return None


def status_of(kaggle: Kaggle, ref: KernelRef) -> SessionStatus:
    """The state of a version; one that is saved and has no session yet is as good as queued."""
    try:
        return kaggle.session_status(ref)
    except NotFoundError:
        return SessionStatus(SessionState.QUEUED)


def result_of(kaggle: Kaggle, view: SessionView) -> SessionResult | None:
    """The session's own `state.json`; one that was copied from another session is not."""
    result = read_state(kaggle.output_file(view.ref, STATE_FILE))
    if result is None or (result.run, result.session) != (view.stamp.id, view.stamp.session):
        return None
    return result


def read_session(kaggle: Kaggle, ref: KernelRef, run: str, status: SessionStatus) -> SessionView | None:
    """A session of the run that has saved, read from its version; None where it is none such."""
    info = describe(kaggle, ref)
    stamp = read_stamp(info.source or "") if info is not None else None
    if info is None or stamp is None or stamp.id != run:
        return None
    view = SessionView(ref, stamp, status)
    view = SessionView(ref, stamp, status, result=result_of(kaggle, view))
    return view if view.has_saved else None


def parent_ref(view: SessionView) -> KernelRef | None:
    """The version that a session was to continue from; its source may have been edited by anybody."""
    try:
        ref = None if view.stamp.parent is None else KernelRef.parse(view.stamp.parent)
    except UsageError:
        return None
    return ref if ref is not None and ref.version is not None else None


def parent_of(kaggle: Kaggle, child: SessionView, *, known: SessionView | None = None) -> SessionView | None:
    """The session that `child` was to continue from, where Kaggle still has what it saved."""
    ref = parent_ref(child)
    if ref is None or (known is not None and known.ref == ref):
        return known if ref is not None else None
    return read_session(kaggle, ref, child.stamp.id, status_of(kaggle, ref))
