"""What Kaggle shows of a run: all is read from there, so a fresh machine sees the same as any other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.chain.siblings import siblings
from orchestrator.chain.state import STATE_FILE, SessionResult, SessionSummary, read_state
from orchestrator.errors import NotFoundError
from orchestrator.logs import log_lines
from orchestrator.models import KernelInfo, KernelRef, SessionState, SessionStatus
from orchestrator.ports import Kaggle
from orchestrator.progress import read_progress
from orchestrator.render.stamp import RunStamp, read_stamp


@dataclass(frozen=True, slots=True)
class SessionView:
    """One session as Kaggle shows it.

    Attributes:
        ref: the kernel version.
        stamp: what the version's source says it is.
        status: its state, and Kaggle's words where it failed.
        started: when it was last run.
        result: its `state.json`, once it has ended and where it left one.
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
        """Whether a sibling that mounts its kernel can continue from it."""
        return (
            self.status.state is SessionState.COMPLETE
            and self.result is not None
            and (self.result.run, self.result.session) == (self.stamp.id, self.stamp.session)
            and self.result.global_step is not None
        )


@dataclass(frozen=True, slots=True)
class RunView:
    """A run: its newest session, and the newest one that can be continued from."""

    base: KernelRef
    newest: SessionView
    resumable: SessionView | None

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
        result = self.resumable.result if self.resumable is not None else None
        return (result.global_step or 0) if result is not None else 0

    @property
    def fruitless(self) -> int:
        """How many sessions in a row, up to the newest ended one, saved nothing to go on from."""
        if not self.newest.status.state.is_terminal:
            return 0
        resumed = self.resumable.stamp.session if self.resumable is not None else 0
        failed = self.newest.stamp.session - resumed
        idle = 0
        for summary in reversed(self.history):
            if summary.session > resumed or summary.advanced:
                break
            idle += 1
        return failed + idle


def observe(kaggle: Kaggle, base: KernelRef) -> RunView | None:
    """Read a run from Kaggle; None where neither sibling holds a session of kgtts.

    Raises:
        CredentialsError, RefusedError, ServiceError: Kaggle could not be read.
    """
    found = [view for kernel in siblings(base) if (view := _latest(kaggle, kernel)) is not None]
    if not found:
        return None
    newest = max(found, key=_age)
    same_run = [view for view in found if view.stamp.id == newest.stamp.id]
    newest = max(same_run, key=lambda view: view.stamp.session)
    newest = _look_closer(kaggle, newest)
    if newest.is_resumable:
        return RunView(base, newest, newest)
    parent = newest.stamp.parent
    return RunView(base, newest, None if parent is None else _parent(kaggle, KernelRef.parse(parent)))


def _age(view: SessionView) -> tuple[float, int]:
    return (view.started.timestamp() if view.started else 0.0, view.stamp.session)


def _latest(kaggle: Kaggle, kernel: KernelRef) -> SessionView | None:
    """The newest version of a kernel, where its source carries a stamp."""
    try:
        info = kaggle.kernel(kernel)
    except NotFoundError:
        return None
    return _view(info, SessionStatus(SessionState.QUEUED))


def _view(info: KernelInfo, status: SessionStatus) -> SessionView | None:
    stamp = read_stamp(info.source or "")
    if stamp is None or info.latest_version is None:
        return None
    return SessionView(info.ref.kernel.at(info.latest_version), stamp, status, info.last_run)


def _look_closer(kaggle: Kaggle, view: SessionView) -> SessionView:
    """The session with its state and, once it has ended, what it left."""
    status = kaggle.session_status(view.ref)
    view = replace(view, status=status)
    if not status.state.is_terminal:
        return view
    result = _result(kaggle, view.ref)
    cause = None
    if not status.state.is_success:
        cause = (result.message if result is not None and result.status == "failed" else None) or _last_words(
            kaggle, view.ref
        )
    return replace(view, result=result, cause=cause)


def _parent(kaggle: Kaggle, ref: KernelRef) -> SessionView | None:
    """The session that the newest one was to continue from."""
    try:
        source = kaggle.kernel(ref).source
    except NotFoundError:
        return None
    stamp = read_stamp(source or "")
    if stamp is None:
        return None
    view = SessionView(ref, stamp, kaggle.session_status(ref))
    view = replace(view, result=_result(kaggle, ref))
    return view if view.is_resumable else None


def _result(kaggle: Kaggle, ref: KernelRef) -> SessionResult | None:
    return read_state(kaggle.output_file(ref, STATE_FILE))


def _last_words(kaggle: Kaggle, ref: KernelRef) -> str | None:
    """Why the kernel says that it failed, from the end of its log."""
    progress = read_progress(line.text for line in log_lines(kaggle.stored_log(ref)))
    return progress.end_message if progress.end_status == "failed" else None
