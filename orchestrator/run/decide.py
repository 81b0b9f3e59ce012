"""Decide what a run needs next, by what Kaggle shows of it. Pure: no clock, no network, no files."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel_template.contract import LOCAL, DoneReason
from orchestrator import untrusted
from orchestrator.models import KernelRef, OutputFile, Quota, SessionState
from orchestrator.run.forecast import QUOTA_RESERVE, SESSION_OVERHEAD, epochs_left
from orchestrator.run.handover import downloads_itself, handover_dataset
from orchestrator.run.snapshot import CannotTell, Seen, value_of
from orchestrator.run.view import RunView, SessionView
from orchestrator.settings import SESSION_LIMIT, Settings, format_duration

if TYPE_CHECKING:
    from orchestrator.run.state import SessionResult  # pydantic, see `Snapshot.state`.

_LONGEST_CAUSE = 300  # Characters of Kaggle's own words.
_MARGIN = 1.2  # Epochs of another session may be slower.
# How long a session may stay in a state, from its push on; Kaggle queues and saves for a while.
_LONGEST_IN_STATE = {
    SessionState.RUNNING: SESSION_LIMIT + timedelta(hours=1),
    SessionState.QUEUED: timedelta(hours=24),
    SessionState.NEW_SCRIPT: timedelta(hours=24),
    SessionState.CANCEL_REQUESTED: SESSION_LIMIT + timedelta(hours=2),
}
_MOST_WITHOUT_PROGRESS = 2
PREPARING = timedelta(minutes=1)  # Until it is worth another look.
_UNCLEAR = timedelta(minutes=1)  # As above.
_ELSEWHERE = timedelta(minutes=2)  # As above, for a session outside Kaggle.
_IN_WORDS = {
    SessionState.QUEUED: "queued",
    SessionState.RUNNING: "running",
    SessionState.NEW_SCRIPT: "saved, but Kaggle has not started it",
    SessionState.CANCEL_REQUESTED: "being stopped",
}


class RunState(StrEnum):
    """What a run is, in one word."""

    NEW = "new"  # Nothing was pushed yet.
    RUNNING = "running"
    READY = "ready"  # The next session can be pushed.
    WAITING = "waiting"  # It could, but quota or running sessions forbid it for now.
    DONE = "done"
    LIMITED = "limited"  # max_sessions or max_gpu_hours is reached.
    FAILED = "failed"  # The kernel says that it cannot work; trying again would burn quota.
    STOPPED = "stopped"  # A person ended its session; only a person goes on with it.
    STALLED = "stalled"  # Sessions ended twice in a row without saving anything new.
    ZOMBIE = "zombie"  # Kaggle says that it is alive long after it must have ended, or begun.

    @property
    def is_over(self) -> bool:
        """Whether no pass will push another session."""
        return self in (
            RunState.DONE,
            RunState.LIMITED,
            RunState.STOPPED,
            RunState.FAILED,
            RunState.STALLED,
        )


@dataclass(frozen=True, slots=True)
class Start:
    """The session to push.

    Attributes:
        session: its number in the run.
        kernel: the kernel that it is pushed to.
        parent: what it continues from; None starts from the base voice.
        budget: the time that it may take.
        needs_handover: whether no kernel can mount the parent yet, so that it must be handed over.
        downloads: the outputs of the parent that the session downloads itself.
    """

    session: int
    kernel: KernelRef
    parent: SessionView | None
    budget: timedelta
    needs_handover: bool = False
    downloads: tuple[OutputFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What a run is, why, and the session to start, if one is due.

    Attributes:
        state: what it is.
        reason: why.
        start: the session that is due.
        until: when to look again.
        is_preparing: whether it only waits for Kaggle to process what the session would mount.
    """

    state: RunState
    reason: str
    start: Start | None = None
    until: datetime | None = None
    is_preparing: bool = False


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What matters beside the run itself.

    Attributes:
        now: the wall clock, UTC.
        quota: the week's GPU hours as they were seen; None if none are needed.
    """

    now: datetime
    quota: Seen[Quota] | None = None


def decide(
    settings: Settings, base: KernelRef, view: RunView | None, around: Circumstances, *, retry: bool = False
) -> Decision:
    """Choose what a run needs next.

    Args:
        settings: settings that went through `with_owner`.
        base: the kernel that they name.
        view: what Kaggle shows; None if nothing was pushed yet.
        around: time and quota.
        retry: a person asks for another session of a run that failed or stalled, perhaps having mended it.
    """
    if view is not None and not settings.run.rescue and not view.has_stranded_elsewhere:
        view = view.without_stranded()
    ended = None if view is None else _not_continuable(settings, view, around, retry=retry)
    if ended is not None:
        return ended
    number = 1 if view is None else view.next_number
    stranded = None if view is None else view.stranded
    by_download = view is not None and downloads_itself(settings, view)
    failed = 0 if view is None else view.failed_downloads
    preparing = view is not None and view.preparing
    if view is not None and stranded is not None:
        view = view.handed_over()
    parent = None if view is None else view.resumable
    kernel = _kernel(settings, base, view)
    wanted = _budget(settings, view)
    if isinstance(wanted, Decision):
        return wanted
    budget = _within_quota(settings, wanted, around)
    if isinstance(budget, Decision):
        return budget
    if stranded is not None and preparing and not by_download:
        return being_prepared(stranded, around.now)
    start = Start(number, kernel, parent, budget, stranded is not None)
    if view is None:
        return Decision(RunState.NEW, "Session 1 begins.", start)
    from_step = (
        f"continues from step {view.global_step}"
        if parent is not None
        else "starts again from the base voice"
    )
    notes = ""
    if stranded is not None:
        notes = _handed_over_how(stranded, by_download=by_download, failed=failed)
    elif view.unreachable is not None:
        notes = f" What {view.unreachable} saved can no longer be mounted."
    return Decision(RunState.READY, f"Session {number} {from_step}.{notes}", start)


def _kernel(settings: Settings, base: KernelRef, view: RunView | None) -> KernelRef:
    """The kernel of the next session: one that can mount what it continues from."""
    if view is None or view.resumable is None:
        other = settings.inputs.other_voice  # Its kernel is mounted by a session without a parent.
        return base.next_after(None if other is None else KernelRef.parse(other[0]))
    if not view.resumable.ref.is_elsewhere:
        return base.next_after(view.resumable.ref)
    newest = view.newest_on_kaggle  # Either can mount a dataset.
    return base.next_after(None if newest is None else newest.ref)


def _handed_over_how(stranded: SessionView, *, by_download: bool, failed: int) -> str:
    """How the next session gets what no kernel can mount, as a sentence behind others."""
    number = stranded.stamp.session
    if stranded.ref.is_elsewhere:
        return f" What session {number} saved on {stranded.ref.place} is handed over as a dataset first."
    way = "the session downloads it" if by_download else "it is handed over as a dataset first"
    tried = f" It could not be downloaded {'once' if failed == 1 else f'{failed} times'}." if failed else ""
    return f" No kernel can mount what session {number} saved, so {way}.{tried}"


def being_prepared(session: SessionView, now: datetime) -> Decision:
    """The decision to wait until Kaggle has processed the dataset that hands a session over: minutes."""
    return Decision(
        RunState.WAITING,
        f"What session {session.stamp.session} kept, up to step {session.step}, is uploaded, and Kaggle is "
        "preparing it; the next pass continues.",
        until=now + PREPARING,
        is_preparing=True,
    )


def _not_continuable(
    settings: Settings, view: RunView, around: Circumstances, *, retry: bool
) -> Decision | None:
    """Why the run needs no further session now, or must not get one; None if it may have one."""
    newest = view.newest
    if not newest.status.state.is_terminal:
        return _alive(newest, around.now)
    result = newest.result
    if newest.is_mountable and result is not None and is_done(settings, result):
        return Decision(
            RunState.DONE,
            f"The run is done at step {view.step_to_continue_from}: {why_done(result.done_reason)}.",
        )
    if not retry and (ended := _ended_for_good(view)) is not None:
        return ended
    if (lost := _lost(view, around.now, retry=retry)) is not None:
        return lost
    if view.sessions_without_progress >= _MOST_WITHOUT_PROGRESS and not retry:
        return Decision(
            RunState.STALLED,
            f"{view.sessions_without_progress} sessions in a row saved nothing new (the last: "
            f"{_how_it_ended(newest)}), so another would only burn quota.",
        )
    return _limited(settings, view)


def _lost(view: RunView, now: datetime, *, retry: bool) -> Decision | None:
    """Why nothing gives what the run is to continue from; None if something does.

    Without a session that ran elsewhere a run goes on from an older one only if a person asks for that: some
    machine has its results.
    """
    ref = view.unreachable
    if ref is None or view.stranded is not None:
        return None
    if not ref.is_elsewhere:
        words = (
            f"The run cannot continue from {ref}: Kaggle mounts a kernel's newest completed version, and "
            "that is another one now, or the kernel is gone."
        )
        return Decision(RunState.FAILED, words) if view.resumable is None else None
    dataset = handover_dataset(view.base)
    if view.preparing:
        words = (
            f"Kaggle is preparing {dataset}, which hands session {ref.version} over; then the run goes on."
        )
        return Decision(RunState.WAITING, words, until=now + PREPARING, is_preparing=True)
    if retry and view.resumable is not None:
        return None
    without = f"goes on from step {view.global_step}" if view.resumable is not None else "cannot go on"
    return Decision(
        RunState.FAILED,
        f"The run cannot continue from session {ref.version}, which ran outside Kaggle ({ref}): {dataset}, "
        "which handed it over, is gone or has another session. `kgtts push` on the machine that has its "
        f"results hands it over again; on any other the run {without} without it.",
    )


def _ended_for_good(view: RunView) -> Decision | None:
    """What forbids another session until a person asks for one; None if nothing does."""
    newest = view.newest
    if newest.was_stopped:
        return Decision(
            RunState.STOPPED,
            f"Session {newest.stamp.session} was stopped. `kgtts push` continues {_from_where(view)}.",
        )
    if newest.cause is not None:
        return Decision(RunState.FAILED, f"Session {newest.stamp.session} failed: {newest.cause}")
    return None


def _from_where(view: RunView) -> str:
    step = view.step_to_continue_from
    return f"from step {step}" if step else "from the base voice: no checkpoint was saved"


def _limited(settings: Settings, view: RunView) -> Decision | None:
    limit = settings.run.max_sessions
    if limit and view.newest.stamp.session >= limit:
        had = f"{limit} session{'' if limit == 1 else 's'}"
        return Decision(RunState.LIMITED, f"The run has had its {had} (run.max_sessions).")
    return None


def _alive(newest: SessionView, now: datetime) -> Decision:
    age = None if newest.started is None else now - newest.started
    state = newest.status.state
    if newest.ref.is_elsewhere:
        told = "" if newest.ref.owner == LOCAL else ", by what was brought here last"
        words = f"Session {newest.stamp.session} trains on {newest.ref.place}{told}, so nothing is pushed."
        return Decision(RunState.RUNNING, words, until=now + _ELSEWHERE)
    if age is not None and age > _LONGEST_IN_STATE[state]:
        since = format_duration(_whole(age))
        if state is SessionState.RUNNING:
            words = (
                f"Kaggle has said for {since} that {newest.ref} runs, but no session may take more than 12h"
            )
        else:
            words = f"Kaggle says {since} after the push that {newest.ref} is {_IN_WORDS[state]}"
        return Decision(RunState.ZOMBIE, f"{words}: it hangs.")
    return Decision(RunState.RUNNING, f"Session {newest.stamp.session} is {_IN_WORDS[newest.status.state]}.")


def is_done(settings: Settings, result: "SessionResult") -> bool:
    """Whether the target is reached: by the kernel's word, unless the settings ask for more since then."""
    if not result.done:
        return False
    if result.done_reason == DoneReason.EPOCHS:
        return max(result.epochs_done, result.epochs or 0) >= settings.training.epochs
    if result.done_reason == DoneReason.UNTIL_STEP:
        return settings.run.until_step != 0 and (result.global_step or 0) >= settings.run.until_step
    if result.done_reason == DoneReason.NO_IMPROVEMENT:
        return settings.run.patience != 0
    return True


def _budget(settings: Settings, view: RunView | None) -> timedelta | Decision:
    """How long the next session should be, at most `session.budget`; or why there is none."""
    session = settings.session
    budget = min(session.budget, settings.training.time_limit + SESSION_OVERHEAD + session.grace)
    hours = settings.run.max_gpu_hours
    if hours:
        used = timedelta(seconds=_used_s(view, budget) if view is not None else 0.0)
        left = timedelta(hours=hours) - used
        if left < _shortest(settings, budget):
            return Decision(
                RunState.LIMITED,
                f"The run took {format_duration(_whole(used))} of its {hours:g} hours (run.max_gpu_hours).",
            )
        budget = min(budget, left)
    rest_s = _rest_s(settings, view) if view is not None else None
    if rest_s is not None:
        # With a margin and the overhead, so that the estimate is not too short.
        budget = min(budget, timedelta(seconds=rest_s * _MARGIN) + SESSION_OVERHEAD + session.grace)
    return _whole(budget)


def _used_s(view: RunView, budget: timedelta) -> float:
    """The seconds that the run's sessions on Kaggle took, also those that were killed and left no state.

    Of the newest, the log tells; an earlier one of which nothing is known counts with its planned time. The
    limit is there for Kaggle's quota, of which sessions elsewhere take nothing.
    """
    newest, longest = view.newest_on_kaggle, SESSION_LIMIT.total_seconds()
    told = {item.session: 0.0 if item.is_elsewhere else item.seconds for item in view.history}
    if newest is None:
        return 0.0
    number = newest.stamp.session
    if newest.seconds is not None:
        told[number] = max(told.get(number, 0.0), min(newest.seconds, longest))
    missing = sum(number not in told for number in range(1, number + 1))
    return sum(told.values()) + missing * budget.total_seconds()


def _rest_s(settings: Settings, view: RunView) -> float | None:
    """The seconds of training to the target at the pace so far; None if no pace is known."""
    result = view.resumable.result if view.resumable is not None else None
    if view.resumable is not None and view.resumable.ref.is_elsewhere:
        return None  # Another machine has another pace.
    if result is None or not result.seconds_per_epoch or result.epoch is None:
        return None
    epochs = epochs_left(settings, result) or 1.0
    return min(epochs * result.seconds_per_epoch, SESSION_LIMIT.total_seconds())


def _shortest(settings: Settings, budget: timedelta) -> timedelta:
    """The shortest session worth a push: by the settings, and long enough to save."""
    return min(max(settings.run.shortest_session, settings.session.grace + SESSION_OVERHEAD), budget)


def _within_quota(settings: Settings, budget: timedelta, around: Circumstances) -> timedelta | Decision:
    """The session's time within what is left of the week, or the decision to wait for the next week."""
    if isinstance(around.quota, CannotTell) and settings.accelerator.has_gpu:
        return Decision(
            RunState.WAITING,
            f"The next session is due, but what is left of the week's quota is not known: "
            f"{around.quota.error.message}",
            until=around.now + _UNCLEAR,
        )
    week = value_of(around.quota)
    if week is None or not settings.accelerator.has_gpu or week.left >= budget + QUOTA_RESERVE:
        return budget
    usable = _whole(week.left - QUOTA_RESERVE)
    # Waiting does not help if no week can hold the session.
    shorten = settings.run.when_quota_is_short == "shorten" or week.allowed < budget + QUOTA_RESERVE
    if shorten and usable >= _shortest(settings, budget):
        return usable
    until = f" until {week.refreshes_at:%A %H:%M} UTC" if week.refreshes_at else ""
    return Decision(
        RunState.WAITING,
        f"The week's quota has {format_duration(_whole(week.left))} left, and a session needs "
        f"{format_duration(budget)}; waiting{until}.",
        until=week.refreshes_at,
    )


def why_done(reason: str | None) -> str:
    """What a run has reached, in words."""
    return {
        DoneReason.EPOCHS.value: "all epochs are trained",
        DoneReason.UNTIL_STEP.value: "run.until_step is reached",
        DoneReason.NO_IMPROVEMENT.value: "the trainer found no better model any more (run.patience)",
    }.get(reason or "", reason or "the kernel says so")


def _how_it_ended(view: SessionView) -> str:
    return untrusted.one_line(view.cause or view.status.failure_message or "", _LONGEST_CAUSE) or str(
        view.status.state
    )


def _whole(span: timedelta) -> timedelta:
    return timedelta(seconds=max(0, int(span.total_seconds())))
