"""One clock for every test: time passes only when a test says so."""

import threading
import time
from datetime import UTC, datetime, timedelta

from orchestrator.ports import SystemClock

START = datetime(2026, 11, 18, 12, tzinfo=UTC)  # A Wednesday, in the middle of a week of quota.
# What `monotonic` begins with: not zero, so that code which takes 0 for "never" is found out.
ORIGIN_S = 1000.0


class FakeClock:
    """Time that passes only by sleeping and by `advance`; it serves every part of kgtts.

    It has the methods of the laptop's clock (`now`, `monotonic`, `sleep`) and of the emulator's (`wait`), and
    it can be called, as the kernel calls its clock.

    Args:
        start: the wall clock at the beginning.
        tick_s: how much time each look at `now` takes, in seconds.
    """

    def __init__(self, start: datetime = START, *, tick_s: float = 0.0) -> None:
        self._start = start
        self._tick_s = tick_s
        self._lock = threading.Lock()
        self._waiting: set[threading.Condition] = set()
        self.passed = 0.0
        self.waits: list[float] = []

    def now(self) -> datetime:
        """Return the wall clock."""
        self.advance(self._tick_s)
        return self._start + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        """Return the seconds that passed since some moment before the start."""
        return ORIGIN_S + self.passed

    __call__ = monotonic

    def sleep(self, seconds: float) -> None:
        """Advance the time, and record it in `waits`."""
        self.waits.append(seconds)
        self.advance(seconds)

    def wait(self, condition: threading.Condition, until: float | None) -> None:
        """Wait for a notification of `condition`, which `advance` sends."""
        self._waiting.add(condition)
        condition.wait()

    def advance(self, seconds: float) -> None:
        """Advance the time, and wake everyone who waits."""
        with self._lock:
            self.passed += seconds
        if seconds:
            for condition in list(self._waiting):
                with condition:
                    condition.notify_all()

    def advance_to(self, monotonic_s: float) -> None:
        """Advance the time until `monotonic` gives that, unless it is later already."""
        self.advance(max(0.0, monotonic_s - self.monotonic()))


class HastyClock(SystemClock):
    """The machine's clock for tests against a real server: long waits take a hundredth of a second."""

    LONGEST_S = 0.01

    def __init__(self) -> None:
        self._skipped = 0.0

    def monotonic(self) -> float:
        """Return real seconds and skipped ones."""
        return super().monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        """Skip most of it."""
        real = min(seconds, self.LONGEST_S)
        self._skipped += seconds - real
        time.sleep(real)
