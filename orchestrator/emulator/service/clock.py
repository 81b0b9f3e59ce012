"""The emulator's time: what o'clock it is, how long something lasted, and waiting for either.

Limits, quota and URL expiry all ask a `Clock`, so that a test can move twelve hours in no time.
"""

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time that threads can wait on."""

    def now(self) -> datetime:
        """The date and time, with the UTC zone."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...

    def wait(self, condition: threading.Condition, until: float | None) -> None:
        """Wait until `condition` is notified or `monotonic()` reaches `until` (None: no limit).

        The caller holds the condition's lock and looks at its predicate again afterwards.
        """
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The machine's date and time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The machine's monotonic clock, in seconds."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, until: float | None) -> None:
        """Wait in real time."""
        condition.wait(None if until is None else max(0.0, until - time.monotonic()))
