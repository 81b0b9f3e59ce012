"""What a run needs next, by what Kaggle shows of it. Pure: no clock, no network, no files."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.chain.siblings import next_kernel
from orchestrator.chain.view import RunView, SessionView
from orchestrator.config import SESSION_LIMIT, Settings, format_duration
from orchestrator.models import KernelRef, Quota, SessionState

_OVERHEAD = timedelta(minutes=10)  # Start-up, installing, samples and saving, as real-run.md measured it.
_MARGIN = 1.2  # Epochs of another session may be slower.
_ZOMBIE_AFTER = timedelta(hours=1)  # Past the session's limit; Kaggle queues and saves for a while.
_FRUITLESS_LIMIT = 2
QUOTA_RESERVE = timedelta(minutes=5)


class RunState(StrEnum):
    """What a run is, in one word."""

    NEW = "new"  # Nothing was pushed yet.
    RUNNING = "running"
    READY = "ready"  # The next session can be pushed.
    WAITING = "waiting"  # It could, but quota or running sessions forbid it for now.
    DONE = "done"
    LIMITED = "limited"  # max_sessions or max_gpu_hours is reached.
    FAILED = "failed"  # The kernel says that it cannot work; trying again would burn quota.
    STALLED = "stalled"  # Sessions ended twice in a row without saving anything new.
    ZOMBIE = "zombie"  # Kaggle says RUNNING long after it must have ended.

    @property
    def is_over(self) -> bool:
        """Whether no pass will push another session."""
        return self in (RunState.DONE, RunState.LIMITED, RunState.FAILED, RunState.STALLED)


@dataclass(frozen=True, slots=True)
class Start:
    """The session to push: its number, its kernel, what it continues from, and the time it may take."""

    session: int
    kernel: KernelRef
    parent: SessionView | None
    budget: timedelta


@dataclass(frozen=True, slots=True)
class Decision:
    """What a run is, why, and the session to start where there is one."""

    state: RunState
    reason: str
    start: Start | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What matters beside the run itself.

    Attributes:
        now: the wall clock, UTC.
        quota: the week's GPU hours; None where Kaggle tells none, or none are needed.
    """

    now: datetime
    quota: Quota | None = field(default=None)


def decide(settings: Settings, base: KernelRef, view: RunView | None, around: Circumstances) -> Decision:
    """Choose what a run needs next.

    Args:
        settings: settings that went through `with_owner`.
        base: the kernel that they name.
        view: what Kaggle shows; None where nothing was pushed yet.
        around: time and quota.
    """
    ended = None if view is None else _not_continuable(settings, view, around)
    if ended is not None:
        return ended
    number = 1 if view is None else view.newest.stamp.session + 1
    parent = None if view is None else view.resumable
    kernel = next_kernel(base, None if parent is None else parent.ref)
    wanted = _budget(settings, view)
    if isinstance(wanted, Decision):
        return wanted
    budget = _within_quota(settings, wanted, around)
    if isinstance(budget, Decision):
        return budget
    start = Start(number, kernel, parent, budget)
    if view is None:
        return Decision(RunState.NEW, "Nothing was pushed yet.", start)
    from_step = (
        f"continues from step {view.global_step}"
        if parent is not None
        else "starts again from the base voice"
    )
    return Decision(RunState.READY, f"Session {number} {from_step}.", start)


def _not_continuable(settings: Settings, view: RunView, around: Circumstances) -> Decision | None:
    """Why the run does not need, or must not get, another session now."""
    newest = view.newest
    if not newest.status.state.is_terminal:
        return _alive(newest, around.now)
    result = newest.result
    if newest.is_resumable and result is not None and _is_done(settings, view):
        return Decision(
            RunState.DONE, f"The run is done at step {view.global_step}: {_why_done(result.done_reason)}."
        )
    if newest.status.state is SessionState.ERROR and newest.cause is not None:
        return Decision(RunState.FAILED, f"Session {newest.stamp.session} failed: {newest.cause}")
    if view.fruitless >= _FRUITLESS_LIMIT:
        return Decision(
            RunState.STALLED,
            f"{view.fruitless} sessions in a row saved nothing new (the last: {_how_it_ended(newest)}), so "
            "another would only burn quota.",
        )
    limit = settings.run.max_sessions
    if limit and newest.stamp.session >= limit:
        return Decision(RunState.LIMITED, f"The run has had its {limit} sessions (run.max_sessions).")
    return None


def _alive(newest: SessionView, now: datetime) -> Decision:
    age = None if newest.started is None else now - newest.started
    if (
        newest.status.state is SessionState.RUNNING
        and age is not None
        and age > SESSION_LIMIT + _ZOMBIE_AFTER
    ):
        return Decision(
            RunState.ZOMBIE,
            f"Kaggle has said for {format_duration(_whole(age))} that {newest.ref} runs; no session may take "
            "more than 12h, so it hangs.",
        )
    return Decision(RunState.RUNNING, f"Session {newest.stamp.session} is {newest.status.state}.")


def _is_done(settings: Settings, view: RunView) -> bool:
    """Whether the target is reached: the kernel's word, unless the target was raised since."""
    result = view.newest.result
    if result is None or not result.done:
        return False
    if result.done_reason == "epochs":
        reached = max((summary.to_epoch for summary in result.history), default=result.epoch or 0)
        return reached >= settings.training.epochs
    if result.done_reason == "until_step":
        return settings.run.until_step != 0 and view.global_step >= settings.run.until_step
    return True


def _budget(settings: Settings, view: RunView | None) -> timedelta | Decision:
    """How long the next session needs to be, at most `session.budget`."""
    budget = settings.session.budget
    if view is None:
        return budget
    hours = settings.run.max_gpu_hours
    if hours:
        used = timedelta(seconds=sum(summary.seconds for summary in view.history))
        left = timedelta(hours=hours) - used
        if left < min(settings.run.shortest_session, budget):
            return Decision(
                RunState.LIMITED,
                f"The run took {format_duration(_whole(used))} of its {hours:g} hours (run.max_gpu_hours).",
            )
        budget = min(budget, left)
    result = view.resumable.result if view.resumable is not None else None
    if result is not None and result.seconds_per_epoch and result.epoch is not None:
        remaining = max(1, settings.training.epochs - result.epoch) * result.seconds_per_epoch
        # At least what the settings ask of a session that could not be estimated too short.
        budget = min(budget, timedelta(seconds=remaining * _MARGIN) + _OVERHEAD + settings.session.grace)
    return _whole(budget)


def _within_quota(settings: Settings, budget: timedelta, around: Circumstances) -> timedelta | Decision:
    """The session's time within what is left of the week, or to wait for the next one."""
    week = around.quota
    if week is None or not settings.accelerator.has_gpu or week.left >= budget + QUOTA_RESERVE:
        return budget
    usable = _whole(week.left - QUOTA_RESERVE)
    if settings.run.when_quota_is_short == "shorten" and usable >= min(settings.run.shortest_session, budget):
        return usable
    until = f" until {week.refreshes_at:%A %H:%M} UTC" if week.refreshes_at else ""
    return Decision(
        RunState.WAITING,
        f"The week's quota has {format_duration(_whole(week.left))} left, and a session needs "
        f"{format_duration(budget)}; waiting{until}.",
        until=week.refreshes_at,
    )


def _why_done(reason: str | None) -> str:
    return {
        "epochs": "all epochs are trained",
        "until_step": "run.until_step is reached",
        "no_improvement": "the eval loss has not improved any more (run.patience)",
    }.get(reason or "", reason or "the kernel says so")


def _how_it_ended(view: SessionView) -> str:
    return view.cause or view.status.failure_message or str(view.status.state)


def _whole(span: timedelta) -> timedelta:
    return timedelta(seconds=max(0, int(span.total_seconds())))
