"""What `FakeKaggle` is made of: versions, the life of their sessions, connections, and spoiled calls."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    KgttsError,
    NotFoundError,
    RefusedError,
    ServiceError,
)
from orchestrator.models import KernelPush, LogEvent, Quota, SessionState

FOREVER = float("inf")
LOST = ServiceError("Could not push: the connection broke.")


@dataclass(frozen=True, slots=True)
class Lost:
    """A call that is executed, but whose answer is lost: `error` is raised instead."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is returned instead of the real one."""

    value: Any


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the live log: what arrives, how fast, and how it ends."""

    events: Sequence[LogEvent]
    error: Exception | None = None
    seconds: float = 0.0  # The time that each event takes to come.
    then: Sequence[LogEvent] = ()  # What follows at another pace.
    then_seconds: float = 0.0


# What becomes of one call: an error, a lost answer, another answer, a reading of the log, or something that
# happens just before the call is answered truly.
Happening = Exception | Lost | Answer | Reading | Callable[[], object]


@dataclass(frozen=True, slots=True)
class Life:
    """The life of a session, in seconds since its push."""

    queued_s: float = 0.0
    runs_s: float = FOREVER
    saving_s: float = 0.0  # Between the end of its log and its last state.
    end: SessionState = SessionState.COMPLETE
    stored_late_s: float = 0.0  # How long after the end the stored log is only half there.

    @property
    def over_s(self) -> float:
        """Return when the state becomes terminal."""
        return self.queued_s + self.runs_s + self.saving_s


@dataclass
class Version:
    """One saved version of a kernel, how far its session is, and what the session leaves when it is over.

    The state is the one that was set by hand, unless it has a `life`.
    """

    source: str
    pushed_at: datetime
    pushed_s: float  # On the clock's monotonic time.
    push: KernelPush | None = None
    state: SessionState = SessionState.QUEUED
    life: Life | None = None
    message: str | None = None
    outputs: Mapping[str, bytes] = field(default_factory=dict)
    log: Sequence[LogEvent] = ()
    session: int = field(default_factory=itertools.count(48151623).__next__)  # Kaggle's id of the session.

    def state_at(self, now_s: float) -> SessionState:
        """Return the state of the session at a moment of the clock's monotonic time."""
        if self.life is None:
            return self.state
        age = now_s - self.pushed_s
        if age < self.life.queued_s:
            return SessionState.QUEUED
        return SessionState.RUNNING if age < self.life.over_s else self.life.end


@dataclass
class Connection:
    """How calls and live logs travel; by default at once and without interruption."""

    latency_s: float = 0.0  # Each call takes so long.
    idle_cut_s: float = FOREVER  # Kaggle ends a live log after so much silence.
    life_s: float = FOREVER  # A proxy ends every live log after so long.
    replay_lag_s: float = 0.0  # A live log that is opened lacks what was said just before.
    ends_empty: bool = False  # A live log is an empty document as long as the session runs.
    down: Sequence[tuple[float, float]] = ()  # Nothing can be reached then; seconds from the clock's start.


def said(*lines: str, start: float = 0.0) -> list[LogEvent]:
    """Return log events, one for each line, a second apart."""
    return [LogEvent("stdout", start + index, f"{line}\n") for index, line in enumerate(lines)]


def hours(left: float, *, allowed: float = 30, refreshes_at: datetime | None = None) -> Quota:
    """Return a week's quota with this many hours left."""
    return Quota(timedelta(hours=allowed - left), timedelta(0), timedelta(hours=allowed), refreshes_at)


def http_error(status: int) -> KgttsError:
    """Return the client's error for an answer with this HTTP status."""
    words = f"Kaggle answered with HTTP {status}."
    kinds: dict[int, type[KgttsError]] = {401: CredentialsError, 403: ForbiddenError, 404: NotFoundError}
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServiceError(words)
    return kinds.get(status, RefusedError)(words)
