"""A run and its sessions as values: what one read of Kaggle showed. `reading.read_run` makes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kernel_template.contract import EndReason
from orchestrator.errors import UsageError
from orchestrator.models import KernelRef, SessionState, SessionStatus, SessionSummary
from orchestrator.render.stamp import RunStamp

if TYPE_CHECKING:
    from orchestrator.run.state import SessionResult  # pydantic, see `Snapshot.state`.


@dataclass(frozen=True, slots=True)
class SessionView:
    """One session of a run.

    Attributes:
        ref: the kernel version.
        stamp: what the version's source says that it is.
        status: its state and, if it failed, Kaggle's words.
        started: when it was last run.
        result: its own `state.json`, once it has ended and if it left one.
        cause: why the kernel itself says that it failed; None if it was ended without a word.
        seconds: the time at which its log ends, if that was read: nothing else tells how long a killed
            session ran.
        dataset: `owner/slug` of the dataset that hands it over; None if mounting its kernel does.
        was_stopped: whether a person ended it, by `kgtts stop` or on its page.
        reason: why it ended, by its `state.json` or the end of its log; None if neither says.
        folder: where its outputs are on this machine, if it ran outside Kaggle and they are here.
    """

    ref: KernelRef
    stamp: RunStamp
    status: SessionStatus
    started: datetime | None = None
    result: "SessionResult | None" = None
    cause: str | None = None
    seconds: float | None = None
    dataset: str | None = None
    was_stopped: bool = False
    reason: str | None = None
    folder: Path | None = None

    @property
    def has_saved(self) -> bool:
        """Whether it left a checkpoint, by its own word."""
        return self.result is not None and self.result.global_step is not None

    @property
    def is_mountable(self) -> bool:
        """Whether a sibling that mounts its output can continue from it."""
        return self.status.state is SessionState.COMPLETE and self.has_saved

    @property
    def step(self) -> int:
        """The step of its newest checkpoint; 0 if it left none."""
        return (self.result.global_step or 0) if self.result is not None else 0

    @property
    def parent(self) -> KernelRef | None:
        """The version that it was to continue from; anybody may have edited the source that says so."""
        try:
            ref = None if self.stamp.parent is None else KernelRef.parse(self.stamp.parent)
        except UsageError:
            return None
        return ref if ref is not None and ref.version is not None else None


@dataclass(frozen=True, slots=True)
class RunView:
    """A run: its newest session, and the one that the next session can continue from.

    Attributes:
        base: the kernel that the settings name.
        newest: the newest session; one that is alive goes before one that is not.
        resumable: what the next session can mount now and continue from.
        unreachable: the version that ought to be continued from, if nothing gives it any more: a mount gives
            the newest completed version of a kernel, and somebody made a newer one or deleted the kernel.
        saved_session: the number of the newest session known to have saved something that can be mounted.
        heads: the newest version number of each sibling that exists.
        stranded: a session that saved more than `resumable`, whose outputs Kaggle has but nobody can mount.
        preparing: whether a dataset with them may be on its way: Kaggle has not processed its newest version.
        strangers: the newest versions of siblings that kgtts did not push.
        notes: what was seen and set aside, in sentences.
        on_kaggle: the newest session on Kaggle, if `newest` ran elsewhere; None also if Kaggle has none.
    """

    base: KernelRef
    newest: SessionView
    resumable: SessionView | None
    unreachable: KernelRef | None = None
    saved_session: int | None = None
    heads: Mapping[KernelRef, int] = field(default_factory=dict)
    stranded: SessionView | None = None
    preparing: bool = False
    strangers: Sequence[KernelRef] = ()
    notes: Sequence[str] = ()
    on_kaggle: SessionView | None = None

    @property
    def newest_on_kaggle(self) -> SessionView | None:
        """The newest session on Kaggle; None if the run has none there."""
        return self.on_kaggle if self.newest.ref.is_elsewhere else self.newest

    @property
    def has_stranded_elsewhere(self) -> bool:
        """Whether `stranded` ran outside Kaggle, so that this machine has it."""
        return self.stranded is not None and self.stranded.ref.is_elsewhere

    @property
    def next_number(self) -> int:
        """The number of the run's next session."""
        known = (self.newest, self.on_kaggle)
        return max(view.stamp.session for view in known if view is not None) + 1

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.newest.stamp.id

    @property
    def is_alive(self) -> bool:
        """Whether a session of the run has not ended."""
        return not self.newest.status.state.is_terminal

    @property
    def history(self) -> Sequence[SessionSummary]:
        """The sessions that left a state, oldest first.

        A session that could not take over does not know of those before it.
        """
        sources = (self.on_kaggle, self.resumable, self.stranded, self.newest)
        results = [view.result for view in sources if view is not None and view.result is not None]
        known = {item.session: item for result in results for item in result.history}
        return [known[number] for number in sorted(known)]

    @property
    def global_step(self) -> int:
        """The step that the run can be continued from; 0 before its first checkpoint."""
        return self.resumable.step if self.resumable is not None else 0

    @property
    def step_to_continue_from(self) -> int:
        """The step that the next session begins at, handed over if need be; 0 for the base voice."""
        return max(self.global_step, 0 if self.stranded is None else self.stranded.step)

    @property
    def has_saved(self) -> bool:
        """Whether any session of the run left something to continue from."""
        return any(item is not None for item in (self.resumable, self.unreachable, self.stranded))

    @property
    def failed_downloads(self) -> int:
        """How many sessions, up to the newest ended one, could not download what is to be continued from."""
        if self.is_alive or self.newest.has_saved:
            return 0
        return self.newest.stamp.failed_downloads + (self.newest.reason == EndReason.HANDOVER_FAILED)

    @property
    def sessions_without_progress(self) -> int:
        """How many sessions in a row, up to the newest ended one, saved nothing new to continue from.

        Those that could not download what they were to continue from do not count: they cost a minute each.
        """
        if self.is_alive:
            return 0
        saved = self.saved_session
        if saved is None:
            saved = self.resumable.stamp.session if self.resumable is not None else 0
        if self.stranded is not None:
            saved = max(saved, self.stranded.stamp.session)
        idle = 0
        for summary in reversed(self.history):
            if summary.session > saved or summary.reason == EndReason.HANDOVER_FAILED:
                continue  # It was killed, and is counted below; or does not count.
            if summary.advanced:
                break
            idle += 1
        return max(0, self.newest.stamp.session - saved - self.failed_downloads) + idle

    def unknown_to(self, parent: SessionView | None) -> Sequence[SessionSummary]:
        """The sessions that `parent` cannot know: those after it, which ended without being continued.

        Each session passes them on to the next, so that no hour of the run is forgotten. Of a session that
        left no state, only the end of its log is known.
        """
        told = parent.result.history if parent is not None and parent.result is not None else ()
        known = {item.session for item in told}
        missed = [item for item in self.history if item.session not in known]
        newest = self.newest_on_kaggle
        if newest is not None and newest.result is None and newest.seconds is not None:
            kernel, number = str(newest.ref.kernel), newest.stamp.session
            listed = (*told, *missed)
            if any(item.session == number for item in listed):
                return missed
            step = max((item.to_step for item in listed if item.session < number), default=0)
            epoch = max((item.to_epoch for item in listed if item.session < number), default=0)
            reason = newest.reason or EndReason.KILLED
            missed.append(SessionSummary(number, kernel, step, step, epoch, epoch, reason, newest.seconds))
        return missed

    def handed_over(self, dataset: str | None = None) -> "RunView":
        """The run once `stranded` can be continued from, through `dataset`."""
        assert self.stranded is not None
        resumable = self.stranded if dataset is None else replace(self.stranded, dataset=dataset)
        return replace(
            self, resumable=resumable, unreachable=None, saved_session=None, stranded=None, preparing=False
        )

    def without_stranded(self) -> "RunView":
        """The run if nobody hands `stranded` over: it counts for nothing."""
        return replace(self, stranded=None, preparing=False)
