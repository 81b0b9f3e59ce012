"""When a session that runs will end, and when its run will be done. Pure."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from kernel_template.contract import CONTINUED, Status
from orchestrator import formatting
from orchestrator.cli.show.live_background import Background, Plan
from orchestrator.cli.show.live_feed import Feed

if TYPE_CHECKING:
    from orchestrator.run.progress import Progress

# The kernel's own words for ends after which another session goes on (`done` in its state.json is false).
_LONGEST_S = 5 * 365 * 86400.0  # A pace that needs longer says nothing.


@dataclass(frozen=True, slots=True)
class Ends:
    """What lies ahead; None where it is not known.

    Attributes:
        session_s: seconds until the session's time is over.
        target_s: seconds until the target is reached, where this session reaches it.
        later: when the run is done, where that takes further sessions.
        sessions: how many further sessions.
    """

    session_s: float | None = None
    target_s: float | None = None
    later: datetime | None = None
    sessions: int | None = None


def ends(feed: Feed, background: Background, *, now: float, clock: datetime) -> Ends:
    """Look ahead from where the session is.

    Args:
        feed: the session.
        background: its plan and the week's quota.
        now: seconds of the clock that the feed was told by.
        clock: the wall clock, UTC.
    """
    session_s = _session_left(feed, background.plan, now)
    left_s = _target_left(feed, background.plan, now)
    if left_s is None or left_s > _LONGEST_S:
        return Ends(session_s)
    trains_s = _training_left(feed, background.plan, now)
    if trains_s is None or left_s <= trains_s:
        return Ends(session_s, target_s=left_s)
    return _with_further_sessions(feed, background, session_s, left_s - trains_s, clock)


def goes_on(progress: "Progress") -> bool:
    """Whether the session's own last word is that the run needs another."""
    return progress.end_status == Status.COMPLETE and progress.end_reason in CONTINUED


def ends_in_words(found: Ends) -> tuple[str | None, str | None]:
    """The outlook to the target, and to the session's end, as phrases."""
    session = None if found.session_s is None else f"ends in at most {formatting.duration(found.session_s)}"
    if found.target_s is not None and found.target_s < 1:
        return "reached", session
    if found.target_s is not None:
        return f"in about {formatting.duration(found.target_s)}, within this session", session
    if found.sessions is None:
        return None, session
    more = formatting.counted(found.sessions, "more session")
    if found.later is None:
        return f"needs {more}; when cannot be said with this quota", session
    return f"about {found.later:%a %d %b %H:%M} UTC, {more}", session


def _session_left(feed: Feed, plan: Plan, now: float) -> float | None:
    elapsed = feed.elapsed(now)
    if plan.budget_s is None or elapsed is None or feed.progress.end_status is not None:
        return None
    return max(0.0, plan.budget_s - elapsed)


def _training_left(feed: Feed, plan: Plan, now: float) -> float | None:
    """Seconds that this session can still train."""
    session_s, elapsed = _session_left(feed, plan, now), feed.elapsed(now)
    if plan.limit_s is None or feed.train_began is None or elapsed is None:
        return session_s
    own = max(0.0, feed.train_began + plan.limit_s - elapsed)
    return own if session_s is None else min(own, session_s)


def _target_left(feed: Feed, plan: Plan, now: float) -> float | None:
    """Seconds of training to the target: the last epoch, or `run.until_step` where that comes first."""
    left_s, progress = feed.eta(now), feed.progress
    if left_s is None or plan.until_step is None or progress.global_step is None:
        return left_s
    steps = _steps_left(progress)
    return left_s if not steps else left_s * min(1.0, max(0, plan.until_step - progress.global_step) / steps)


def _steps_left(progress: "Progress") -> int | None:
    if not progress.epochs or not progress.steps_per_epoch or progress.epoch is None:
        return None
    return max(0, (progress.epochs - progress.epoch) * progress.steps_per_epoch - (progress.step or 0))


def _with_further_sessions(
    feed: Feed, background: Background, session_s: float | None, rest_s: float, clock: datetime
) -> Ends:
    """Play through what this session leaves, by the week's quota."""
    from orchestrator.run.forecast import OVERHEAD, Terms, Work, forecast  # noqa: PLC0415  # Slow to import.

    plan, progress = background.plan, feed.progress
    steps = _steps_left(progress)
    left_s = progress.eta_s
    if (
        plan.limit_s is None
        or plan.budget_s is None
        or not steps
        or not left_s
        or not progress.steps_per_epoch
    ):
        return Ends(session_s)
    epoch_s = left_s / steps * progress.steps_per_epoch
    budget = timedelta(seconds=plan.budget_s)
    training = min(timedelta(seconds=plan.limit_s), budget - min(OVERHEAD, budget / 4))
    if epoch_s <= 0 or training <= timedelta(0):
        return Ends(session_s)
    # Sessions end with an epoch where one fits, so what is left are whole ones.
    after = clock + timedelta(seconds=session_s or 0.0)
    ahead = forecast(Work(math.ceil(rest_s / epoch_s), epoch_s), Terms(training, background.quota), after)
    return Ends(session_s, later=ahead.done_at, sessions=ahead.sessions)
