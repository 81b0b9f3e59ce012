"""What a session was pushed to do, the run around it, and when both will end."""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from kernel_template.contract import CONTINUED, Status
from orchestrator import untrusted
from orchestrator.errors import KgttsError
from orchestrator.metrics import MetricsTable, read_run
from orchestrator.models import KernelRef, Quota, SessionState, SessionStatus, SessionSummary
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.results import Results, pulled_sessions
from orchestrator.run.context import RunContext
from orchestrator.run.forecast import SESSION_OVERHEAD, Terms, Work, forecast
from orchestrator.run.handover import result_before
from orchestrator.run.live import Curve, Feed, add_all
from orchestrator.run.progress import Progress
from orchestrator.run.snapshot import Snapshot, value_of
from orchestrator.run.view import SessionView

_LONGEST_S = 5 * 365 * 86400.0  # A pace that needs longer says nothing.
_SETTINGS = "\nSETTINGS = "
_LONGEST_SETTINGS = 200_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a session was pushed to do, by its own source; times are seconds, None is not known.

    Attributes:
        has_gpu: whether it takes of the GPU quota.
        epochs: the run's target.
        until_step: the run's other target.
        budget_s: the whole session.
        limit_s: its training.
    """

    has_gpu: bool = False
    epochs: int | None = None
    until_step: int | None = None
    budget_s: float | None = None
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Background:
    """The run around a session.

    Attributes:
        stamp: which run and session it is; None if it is not a session of kgtts.
        plan: what it was pushed to do.
        history: the run's earlier sessions, oldest first.
        quota: the week's GPU hours, if the session uses any.
        earlier: the losses of earlier sessions by split and name, if they were pulled.
        on_interrupt: what Ctrl-C does, for the person who watches.
    """

    stamp: RunStamp | None = None
    plan: Plan = field(default_factory=Plan)
    history: Sequence[SessionSummary] = ()
    quota: Quota | None = None
    earlier: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)
    on_interrupt: str = "Ctrl-C leaves this page; the run goes on."


class BackgroundSource(Protocol):
    """Gives the run around a session that is shown."""

    def read(self) -> Background:
        """The background."""
        ...

    def quota(self) -> Quota | None:
        """The week's GPU hours as they are now, if the session uses any."""
        ...


@dataclass(frozen=True, slots=True)
class KnownBackground:
    """The run around a session that Kaggle does not know."""

    background: Background

    def read(self) -> Background:
        """The background, as it was when the session began."""
        return self.background

    def quota(self) -> None:
        """None: the session uses no quota."""


class BackgroundReader:
    """Reads the run around a session; what cannot be read is left out, as the session is what matters.

    Args:
        context: Kaggle.
        ref: the session.
        find_results: gives the results on this machine.
    """

    def __init__(self, context: RunContext, ref: KernelRef, find_results: Callable[[], Results]) -> None:
        self._context, self._ref, self._find_results = context, ref, find_results

    def read(self) -> Background:
        """The background, in at most three calls to Kaggle."""
        try:
            snapshot = self._context.snapshot()
            info = value_of(snapshot.kernel(self._ref))
            source = "" if info is None else info.source or ""
            stamp, plan = read_stamp(source), read_plan(source)
            if stamp is None:
                return Background()
            quota = value_of(snapshot.quota()) if plan.has_gpu else None
            return Background(stamp, plan, self._history(snapshot, stamp), quota, self._earlier(stamp))
        except KgttsError:
            return Background()

    def quota(self) -> Quota | None:
        """The week's GPU hours; None if they cannot be read now."""
        try:
            return value_of(self._context.snapshot().quota())
        except KgttsError:
            return None

    def _history(self, snapshot: Snapshot, stamp: RunStamp) -> Sequence[SessionSummary]:
        child = SessionView(self._ref, stamp, SessionStatus(SessionState.RUNNING))
        result = result_before(snapshot, child)
        return result.history if result is not None and result.run == stamp.id else ()

    def _earlier(self, stamp: RunStamp) -> Mapping[str, Mapping[str, Curve]]:
        """What was measured before, by the results that passes brought here."""
        if stamp.session == 1:
            return {}
        try:
            folder = self._find_results().of_run(self._ref.slug, stamp.id)
        except (KgttsError, OSError):
            return {}
        return earlier_losses(folder, stamp.id, stamp.session)


def earlier_losses(folder: Path, run_id: str, number: int) -> Mapping[str, Mapping[str, Curve]]:
    """What the sessions before `number` measured, by the results of a run in `folder`."""
    try:
        sessions = [
            item
            for item in pulled_sessions(folder)
            if item.run == run_id and item.number is not None and item.number < number
        ]
        return _curves(read_run(sessions, logs=False)) if sessions else {}
    except (KgttsError, OSError):
        return {}


def _curves(table: MetricsTable) -> Mapping[str, Mapping[str, Curve]]:
    found: dict[str, dict[str, Curve]] = {}
    for (name, split), series in table.series().items():
        if "loss" in name:
            for step, value in zip(series.steps, series.values, strict=True):
                add_all(found.setdefault(split, {}), step if step >= 0 else None, {name: value})
    return found


def read_plan(source: str) -> Plan:
    """The plan in a kernel's source, which comes from a server: a value that makes no sense is not known."""
    settings = _settings(source)
    training = settings.get("training")
    training = training if isinstance(training, Mapping) else {}
    return Plan(
        has_gpu=settings.get("accelerator") is not None,
        epochs=untrusted.count(training.get("epochs")) or None,
        until_step=untrusted.count(training.get("until_step")) or None,
        budget_s=untrusted.seconds(settings.get("session_budget_s")),
        limit_s=untrusted.seconds(training.get("time_limit_s")),
    )


def _settings(source: str) -> Mapping[str, Any]:
    """The literal of the kernel's SETTINGS: one line, or up to a line that holds only its last bracket."""
    _, found, rest = source.partition(_SETTINGS)
    line, _, _ = rest.partition("\n")
    text = line if line.endswith("}") else rest[: rest.find("\n}\n") + 2]
    if not found or len(text) > _LONGEST_SETTINGS:
        return {}
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Ends:
    """What lies ahead of a running session; None for what is not known.

    Attributes:
        session_s: seconds until the session's time is over.
        target_s: seconds until the target is reached, if this session reaches it.
        later: when the run is done, if that takes further sessions.
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
        now: seconds of the clock that the feed goes by.
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


def goes_on(progress: Progress) -> bool:
    """Whether the session's own last word is that the run needs another."""
    return progress.end_status == Status.COMPLETE and progress.end_reason in CONTINUED


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
    """Seconds of training to the target: the last epoch, or `run.until_step` if that comes first."""
    left_s, progress = feed.eta(now), feed.progress
    if left_s is None or plan.until_step is None or progress.global_step is None:
        return left_s
    steps = _steps_left(progress)
    return left_s if not steps else left_s * min(1.0, max(0, plan.until_step - progress.global_step) / steps)


def _steps_left(progress: Progress) -> int | None:
    if not progress.epochs or not progress.steps_per_epoch or progress.epoch is None:
        return None
    return max(0, (progress.epochs - progress.epoch) * progress.steps_per_epoch - (progress.step or 0))


def _with_further_sessions(
    feed: Feed, background: Background, session_s: float | None, rest_s: float, clock: datetime
) -> Ends:
    """Play through what this session leaves to further ones, within the week's quota."""
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
    training = min(timedelta(seconds=plan.limit_s), budget - min(SESSION_OVERHEAD, budget / 4))
    if epoch_s <= 0 or training <= timedelta(0):
        return Ends(session_s)
    # Sessions end with an epoch if one fits, so whole epochs are left.
    after = clock + timedelta(seconds=session_s or 0.0)
    ahead = forecast(Work(math.ceil(rest_s / epoch_s), epoch_s), Terms(training, background.quota), after)
    return Ends(session_s, later=ahead.done_at, sessions=ahead.sessions)
