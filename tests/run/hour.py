"""A session of an hour in no time: what Kaggle's interface says of it, on a clock that only calls move."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.errors import NotFoundError, ServiceError, SilentLogError
from orchestrator.models import KernelRef, LogEvent, SessionState, SessionStatus
from tests.run.fakes import FakeKaggle

BEGINS_S = 40.0
HOUR_S = 3600.0


@dataclass
class HourKaggle(FakeKaggle):
    """The `Kaggle` port for one session that says something every `every_s` seconds; calls are counted."""

    every_s: float = 10.0
    ends_s: float = BEGINS_S + HOUR_S
    saving_s: float = 0.0  # Between the log's end and the state's.
    idle_cut_s: float = 180.0  # Kaggle cuts a connection off after so much silence.
    life_s: float = float("inf")  # And some proxies after so much time.
    latency_s: float = 0.2
    stream_error: Exception | None = None  # There is no live log.
    stream_ends_empty: bool = False  # Or it is an empty document.
    lag_s: float = 0.0  # A replay lacks what was said just before.
    stored_after_s: float = 0.0  # The stored log is whole only so long after the end.
    down: Sequence[tuple[float, float]] = ()  # When nothing can be reached.
    at: dict[str, list[float]] = field(default_factory=lambda: {"status": [], "stream": [], "log": []})

    @property
    def over_s(self) -> float:
        """When the session's state is terminal."""
        return self.ends_s + self.saving_s

    def whole(self) -> list[LogEvent]:
        """All that the session says."""
        count = int((self.ends_s - BEGINS_S) / self.every_s)
        return [
            LogEvent("stdout", number * self.every_s, f"line {number}\n") for number in range(1, count + 1)
        ]

    def session_status(self, ref: KernelRef, *, retry: bool = True) -> SessionStatus:
        """Where its life is now."""
        now = self._asked("status")
        if now < BEGINS_S:
            return SessionStatus(SessionState.QUEUED)
        return SessionStatus(SessionState.RUNNING if now < self.over_s else SessionState.COMPLETE)

    def stored_log(self, ref: KernelRef) -> Sequence[LogEvent]:
        """The whole log in pieces of three lines; at first only a half."""
        now = self._asked("log")
        whole = self.whole()
        if now < self.over_s + self.stored_after_s:
            whole = whole[: len(whole) // 2]
        threes = [whole[index : index + 3] for index in range(0, len(whole), 3)]
        return [LogEvent("stdout", three[0].time_s, "".join(e.text for e in three)) for three in threes]

    def log_stream(self, ref: KernelRef, *, idle_s: float, retry: bool = True) -> Iterator[LogEvent]:
        """The past, then what comes until something cuts it off."""
        opened = heard = self._asked("stream")
        if self.stream_error is not None:
            raise self.stream_error
        if self.stream_ends_empty and opened < self.ends_s:
            return
        for event in self.whole():
            said_at = BEGINS_S + event.time_s
            if said_at <= opened - self.lag_s:
                yield event
                continue
            self._wait_until(said_at, opened=opened, heard=heard, idle_s=idle_s)
            heard = self.clock.passed
            yield event
        self._wait_until(self.ends_s, opened=opened, heard=heard, idle_s=idle_s)

    def _wait_until(self, moment: float, *, opened: float, heard: float, idle_s: float) -> None:
        ends: list[tuple[float, Exception]] = [
            (heard + idle_s, SilentLogError("Nothing was said.")),
            (heard + self.idle_cut_s, ServiceError("The live log was cut off.")),
            (opened + self.life_s, ServiceError("The live log was cut off.")),
            *[(begins, ServiceError("The network is gone.")) for begins, _ in self.down if begins > opened],
        ]
        end, error = min(ends, key=lambda each: each[0])
        self.clock.passed = max(self.clock.passed, min(moment, end))
        if end < moment:
            raise error

    def _asked(self, what: str) -> float:
        self.calls += 1
        self.clock.passed += self.latency_s
        now = self.clock.passed
        self.at[what].append(now)
        if any(begins <= now < ends for begins, ends in self.down):
            raise ServiceError("The network is gone.")
        return now


GONE = NotFoundError("There is no such log.")
