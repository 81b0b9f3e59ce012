"""What Kaggle shows of a run: all is read from there, so a fresh machine sees the same as any other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.chain.siblings import siblings
from orchestrator.chain.state import STATE_FILE, SessionResult, one_line, read_state
from orchestrator.errors import NotFoundError, ServiceError, UsageError
from orchestrator.logs import log_lines
from orchestrator.models import KernelInfo, KernelRef, SessionState, SessionStatus, SessionSummary
from orchestrator.ports import Kaggle
from orchestrator.progress import read_progress
from orchestrator.stamp import RunStamp, read_stamp

# How many versions of a kernel are looked through, which costs a call each.
_LOOK_BACK_FOR_OURS = 5
_LOOK_BACK_FOR_COMPLETE = 20
_TOLD_TO_STOP = "interrupted"


@dataclass(frozen=True, slots=True)
class SessionView:
    """One session as Kaggle shows it.

    Attributes:
        ref: the kernel version.
        stamp: what the version's source says it is.
        status: its state, and Kaggle's words where it failed.
        started: when it was last run.
        result: its own `state.json`, once it has ended and where it left one.
        cause: why the kernel itself says that it failed; None where it was ended without a word.
    """

    ref: KernelRef
    stamp: RunStamp
    status: SessionStatus
    started: datetime | None = None
    result: SessionResult | None = None
    cause: str | None = None

    @property
    def is_resumable(self) -> bool:
        """Whether a sibling that mounts its output can continue from it."""
        return (
            self.status.state is SessionState.COMPLETE
            and self.result is not None
            and self.result.global_step is not None
        )

    @property
    def step(self) -> int:
        """The step of its newest checkpoint; 0 where it left none."""
        return (self.result.global_step or 0) if self.result is not None else 0


@dataclass(frozen=True, slots=True)
class RunView:
    """A run: its newest session, and the one that the next can continue from.

    Attributes:
        base: the kernel that the settings name.
        newest: the newest session; one that is alive goes before one that is not.
        resumable: what a mount gives now, where the next session can continue from it.
        unreachable: the version that ought to be continued from, where no mount gives it any more: a mount
            is the newest completed version of a kernel, and somebody made a newer one or deleted it.
        saved_session: the number of the newest session known to have saved something.
        heads: the newest version number of each sibling that exists.
    """

    base: KernelRef
    newest: SessionView
    resumable: SessionView | None
    unreachable: KernelRef | None = None
    saved_session: int | None = None
    heads: Mapping[KernelRef, int] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.newest.stamp.id

    @property
    def history(self) -> Sequence[SessionSummary]:
        """The sessions that left a state, oldest first."""
        source = self.newest if self.newest.result is not None else self.resumable
        return source.result.history if source is not None and source.result is not None else ()

    @property
    def global_step(self) -> int:
        """The step that the run can be continued from; 0 before its first checkpoint."""
        return self.resumable.step if self.resumable is not None else 0

    @property
    def has_saved(self) -> bool:
        """Whether any session of the run left something to go on from."""
        return self.resumable is not None or self.unreachable is not None

    @property
    def fruitless(self) -> int:
        """How many sessions in a row, up to the newest ended one, saved nothing new to go on from."""
        if not self.newest.status.state.is_terminal:
            return 0
        saved = self.saved_session
        if saved is None:
            saved = self.resumable.stamp.session if self.resumable is not None else 0
        idle = 0
        for summary in reversed(self.history):
            if summary.session > saved:
                continue  # It was killed, and counts as such.
            if summary.advanced:
                break
            idle += 1
        return max(0, self.newest.stamp.session - saved) + idle


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
    found = [head for kernel in siblings(base) if (head := _head(kaggle, kernel)) is not None]
    if not found:
        return None
    heads = {head.session.ref.kernel: head.version for head in found}
    run = max(found, key=_age).session.stamp.id
    sessions = [head.session for head in found if head.session.stamp.id == run]
    sessions.sort(key=lambda view: view.stamp.session, reverse=True)
    newest, *others = sessions
    newest = _look_closer(kaggle, newest)
    others = [replace(view, status=_status(kaggle, view.ref)) for view in others]
    alive = [view for view in (newest, *others) if not view.status.state.is_terminal]
    if alive:
        parent = _parent(kaggle, alive[0])
        return RunView(base, alive[0], parent, heads=heads)
    resumable = _mounted(kaggle, found, newest, (newest, *others))
    saved = newest if newest.is_resumable else _parent(kaggle, newest, known=resumable)
    wanted = newest.ref if newest.is_resumable else _parent_ref(newest)
    lost = wanted is not None and (resumable is None or (saved is not None and saved.step > resumable.step))
    best = max((view.stamp.session for view in (saved, resumable) if view is not None), default=None)
    return RunView(base, newest, resumable, wanted if lost else None, best, heads)


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
        found = info if version == newest else _described(kaggle, kernel.at(version))
        stamp = None if found is None else read_stamp(found.source or "")
        if found is not None and stamp is not None:
            queued = SessionStatus(SessionState.QUEUED)  # Until somebody looks closer.
            return _Head(newest, SessionView(kernel.at(version), stamp, queued, found.last_run))
    return None


def _described(kaggle: Kaggle, ref: KernelRef) -> KernelInfo | None:
    try:
        return kaggle.kernel(ref)
    except NotFoundError:
        return None


def _status(kaggle: Kaggle, ref: KernelRef) -> SessionStatus:
    """The state of a version; one that is saved and has no session yet is as good as queued."""
    try:
        return kaggle.session_status(ref)
    except NotFoundError:
        return SessionStatus(SessionState.QUEUED)


def _look_closer(kaggle: Kaggle, view: SessionView) -> SessionView:
    """The session with its state and, once it has ended, what it left."""
    status = _status(kaggle, view.ref)
    view = replace(view, status=status)
    if not status.state.is_terminal:
        return view
    result = _result(kaggle, view)
    if status.state.is_success:
        return replace(view, result=result)
    cause = _cause(kaggle, view.ref, result)
    return replace(view, result=result, cause=None if cause is None else one_line(cause) or None)


def _cause(kaggle: Kaggle, ref: KernelRef, result: SessionResult | None) -> str | None:
    """Why the kernel says that it failed; a kernel that was told to stop has no fault, it was killed."""
    if result is not None and result.status == "failed":
        return None if result.reason == _TOLD_TO_STOP else result.message
    progress = read_progress(line.text for line in log_lines(kaggle.stored_log(ref)))
    if progress.end_status != "failed" or progress.end_reason == _TOLD_TO_STOP:
        return None
    return progress.end_message


def _parent_ref(view: SessionView) -> KernelRef | None:
    """The version that a session was to continue from; its source may have been edited by anybody."""
    try:
        ref = None if view.stamp.parent is None else KernelRef.parse(view.stamp.parent)
    except UsageError:
        return None
    return ref if ref is not None and ref.version is not None else None


def _parent(kaggle: Kaggle, child: SessionView, *, known: SessionView | None = None) -> SessionView | None:
    """The session that `child` was to continue from, where Kaggle still has it."""
    ref = _parent_ref(child)
    if ref is None or (known is not None and known.ref == ref):
        return known if ref is not None else None
    return _session(kaggle, ref, child.stamp.id, _status(kaggle, ref))


def _session(kaggle: Kaggle, ref: KernelRef, run: str, status: SessionStatus) -> SessionView | None:
    """An ended session of the run that can be continued from, read from its version."""
    info = _described(kaggle, ref)
    stamp = read_stamp(info.source or "") if info is not None else None
    if stamp is None or stamp.id != run:
        return None
    view = SessionView(ref, stamp, status)
    view = replace(view, result=_result(kaggle, view))
    return view if view.is_resumable else None


def _mounted(
    kaggle: Kaggle, found: Sequence[_Head], newest: SessionView, known: Sequence[SessionView]
) -> SessionView | None:
    """What the mounts of the siblings give to continue from: the best of the newest completed versions."""
    wanted = newest.ref if newest.is_resumable else _parent_ref(newest)
    by_kernel = {head.session.ref.kernel: head.version for head in found}
    kernels = sorted(by_kernel, key=lambda kernel: wanted is None or kernel != wanted.kernel)
    candidates = []
    for kernel in kernels:
        given = _newest_complete(kaggle, kernel, by_kernel[kernel], newest.stamp.id, known)
        if given is not None and given.ref == wanted:
            return given  # As it should be, and as it nearly always is.
        candidates += [given] if given is not None else []
    return max(candidates, key=lambda view: (view.step, view.stamp.session), default=None)


def _newest_complete(
    kaggle: Kaggle, kernel: KernelRef, head: int, run: str, known: Sequence[SessionView]
) -> SessionView | None:
    """The newest completed version of a kernel, where it can be continued from."""
    seen = {view.ref: view for view in known}
    for version in range(head, max(0, head - _LOOK_BACK_FOR_COMPLETE), -1):
        ref = kernel.at(version)
        view = seen.get(ref)
        status = view.status if view is not None else _status(kaggle, ref)
        if status.state is SessionState.COMPLETE:
            if view is not None and view.result is not None:
                return view if view.is_resumable else None
            return _session(kaggle, ref, run, status)
    return None


def _result(kaggle: Kaggle, view: SessionView) -> SessionResult | None:
    """The session's own `state.json`; one that was copied from another session is not."""
    result = read_state(kaggle.output_file(view.ref, STATE_FILE))
    if result is None or (result.run, result.session) != (view.stamp.id, view.stamp.session):
        return None
    return result
