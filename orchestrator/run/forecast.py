"""Forecast when a run will be done: from its pace, what is left, and the week's quota. Pure.

Sessions are counted as they will happen: each trains a whole number of epochs, its start and its end train
nothing, and none begins in a week that cannot hold it.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from orchestrator.models import Quota
from orchestrator.run.view import RunView
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.run.state import SessionResult  # pydantic, see `Snapshot.state`.

# Start-up, installing, samples and saving, as measured on a real run.
SESSION_OVERHEAD = timedelta(minutes=10)
QUOTA_RESERVE = timedelta(minutes=5)
_WEEK = timedelta(days=7)
_SHORTEST_EPOCH_S, _LONGEST_WORK_S = 1e-3, 20 * 365 * 86400.0
_MOST_SESSIONS = 10_000  # Beyond, a date would mean nothing.


@dataclass(frozen=True, slots=True)
class Work:
    """What is left of a run.

    Attributes:
        epochs: epochs to train; a part of one counts as a part.
        epoch_s: seconds that one takes.
    """

    epochs: float
    epoch_s: float


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms under which the rest is trained.

    Attributes:
        training: the longest that one session trains.
        quota: the week's GPU hours that are left for sessions not pushed yet; None if none are needed or
            Kaggle reports none.
        shorten: whether a session may be made shorter to use up a week.
        shortest: the shortest session that is worth a push.
    """

    training: timedelta
    quota: Quota | None = None
    shorten: bool = False
    shortest: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is still to come.

    Attributes:
        epochs: epochs left.
        sessions: sessions still to end, the running one included.
        gpu_time: what they will take of the quota.
        done_at: when the last one ends; None if that cannot be said.
    """

    epochs: float
    sessions: int
    gpu_time: timedelta
    done_at: datetime | None


def epochs_left(settings: Settings, result: "SessionResult") -> float:
    """Epochs from what a session saved to the last one, or to `run.until_step` if that is nearer."""
    epoch = result.epochs_done
    left = float(max(0, settings.training.epochs - epoch))
    step, until = result.global_step or 0, settings.run.until_step
    steps_per_epoch = float(result.steps_per_epoch or 0)
    if not steps_per_epoch and epoch:
        steps_per_epoch = (step - min((item.from_step for item in result.history), default=0)) / epoch
    return left if not until or steps_per_epoch <= 0 else min(left, max(0, until - step) / steps_per_epoch)


def work_left(settings: Settings, view: RunView | None) -> Work | None:
    """What is left by the newest result; None if no session on Kaggle has reported its pace yet."""
    source = None if view is None else view.stranded if view.has_stranded_elsewhere else view.resumable
    result = None if source is None else source.result
    if view is None or source is None or result is None:
        return None
    epoch = result.epochs_done
    if source.ref.is_elsewhere:  # Another machine has another pace.
        paced = None if view.on_kaggle is None else view.on_kaggle.result
        epoch_s = None if paced is None else paced.seconds_per_epoch
    else:
        epoch_s = result.seconds_per_epoch
        if not epoch_s and epoch:
            epoch_s = sum(item.seconds for item in result.history) / epoch
    left = epochs_left(settings, result)
    # The numbers come from a server: a pace that no training has is not one.
    if not epoch_s or not _SHORTEST_EPOCH_S <= epoch_s <= _LONGEST_WORK_S / max(1.0, left):
        return None
    return Work(left, epoch_s)


def terms_of(settings: Settings, quota: Quota | None) -> Terms:
    """The terms that the settings and the week's quota set."""
    session = settings.session
    return Terms(
        training=min(
            settings.training.time_limit, session.budget - min(SESSION_OVERHEAD, session.budget / 4)
        ),
        quota=quota if settings.accelerator.has_gpu else None,
        shorten=settings.run.when_quota_is_short == "shorten",
        shortest=settings.run.shortest_session,
    )


def forecast(work: Work, terms: Terms, now: datetime, *, running_since: datetime | None = None) -> Forecast:
    """Play the rest of a run through.

    Args:
        work: what is left.
        terms: the time of a session and the week's quota.
        now: the wall clock, UTC.
        running_since: when the running session began; its hours are reserved in the quota already.
    """
    epochs, at, sessions, spent = work.epochs, now, 0, timedelta(0)
    week = _Week(terms.quota)
    begun = running_since
    while epochs > 0 and sessions < _MOST_SESSIONS:
        share = min(epochs, _epochs_in(terms.training, work.epoch_s))
        length = timedelta(seconds=share * work.epoch_s) + SESSION_OVERHEAD
        if begun is not None:
            at, begun = max(now, min(now, begun) + length), None
        else:
            started = week.take(length, at, terms)
            if started is None:
                return Forecast(work.epochs, *_without_date(work, terms))
            at, granted = started
            if granted < length:
                length = granted
                share = min(share, _epochs_in(length - SESSION_OVERHEAD, work.epoch_s))
            at += length
        epochs -= share
        if epochs < 1e-9:  # noqa: PLR2004  # What is left of adding fractions.
            epochs = 0.0
        sessions += 1
        spent += length
    return Forecast(work.epochs, sessions, spent, at if epochs <= 0 else None)


def _epochs_in(training: timedelta, epoch_s: float) -> float:
    """How many epochs one session trains: it ends at the last that fits or, if none fits, at a step."""
    fitting = training.total_seconds() / epoch_s
    return float(math.floor(fitting)) if fitting >= 1 else max(fitting, 1e-3)


def _without_date(work: Work, terms: Terms) -> tuple[int, timedelta, None]:
    sessions = math.ceil(work.epochs / _epochs_in(terms.training, work.epoch_s))
    return sessions, timedelta(seconds=work.epochs * work.epoch_s) + sessions * SESSION_OVERHEAD, None


class _Week:
    """The quota as it goes down session by session and comes back week by week."""

    def __init__(self, quota: Quota | None) -> None:
        self._allowed = None if quota is None else quota.allowed
        self._left = timedelta(0) if quota is None else quota.left
        self._refresh = None if quota is None else quota.refreshes_at

    def take(self, length: timedelta, at: datetime, terms: Terms) -> tuple[datetime, timedelta] | None:
        """When a session of `length` can start, and how long it may be; None if that cannot be said."""
        if self._allowed is None:
            return at, length
        self._renew(at)
        shortest = min(terms.shortest, length)
        if self._left < length + QUOTA_RESERVE:
            usable = self._left - QUOTA_RESERVE
            if terms.shorten and usable >= shortest and usable > SESSION_OVERHEAD:
                length = usable
            elif self._refresh is None or self._allowed < length + QUOTA_RESERVE:
                return None
            else:
                at = max(at, self._refresh)
                self._renew(at)
        self._left -= length
        return at, length

    def _renew(self, at: datetime) -> None:
        while self._refresh is not None and self._refresh <= at and self._allowed is not None:
            self._left = self._allowed
            self._refresh += _WEEK
