"""How a transfer behaves towards the storage, and what it counts."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.download.ranges import BLOCK
from orchestrator.download.storage import TransientError

_LONGEST_ASKED_S = 60.0  # A `Retry-After` beyond this is not waited for in full.


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How a transfer behaves.

    Attributes:
        connections: how many the files of a transfer share.
        attempts: how often one piece is asked for in a row without any progress.
        first_delay_s: the wait after the first failure; it doubles with each further one.
        longest_delay_s: the longest such wait.
        connect_s: seconds to wait for a connection.
        stall_s: seconds without a byte after which a connection is given up.
        sleep: waits so many seconds; by default for real, and woken by Ctrl-C.
    """

    connections: int = 10
    attempts: int = 10
    first_delay_s: float = 0.25
    longest_delay_s: float = 15.0
    connect_s: float = 10.0
    stall_s: float = 30.0
    sleep: Callable[[float], object] | None = None


DEFAULT = TransferOptions()


class Patience:
    """How often one piece is tried again; progress refills it.

    Args:
        options: how often, and how long the waits are.
        sleep: waits.
    """

    def __init__(self, options: TransferOptions, sleep: Callable[[float], object]) -> None:
        self._options = options
        self._sleep = sleep
        self._failures = 0
        self._came = 0

    def refill(self, count: int) -> None:
        """So many new bytes came; a block of them is progress."""
        self._came += count
        if self._came >= BLOCK:
            self._failures = 0

    def wait(self, error: TransientError) -> None:
        """Wait for the next attempt.

        Raises:
            TransientError: `error`, where there is none left.
        """
        self._failures, self._came = self._failures + 1, 0
        if self._failures >= self._options.attempts:
            raise error
        longest = self._options.first_delay_s * 2 ** (self._failures - 1)
        # Jitter: connections that broke together do not come back together.
        wait = random.uniform(0.5, 1.0) * min(longest, self._options.longest_delay_s)  # noqa: S311  # No secret.
        if error.retry_after_s is not None:
            wait = max(wait, min(error.retry_after_s, _LONGEST_ASKED_S))
        self._sleep(wait)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a transfer cost.

    Attributes:
        received: bytes that came.
        again: those among them that had come before.
        resumed: bytes that an earlier transfer had left here.
        requests: questions to the storage.
        retries: how often something was tried again.
        connections: how many were opened.
    """

    received: int = 0
    again: int = 0
    resumed: int = 0
    requests: int = 0
    retries: int = 0
    connections: int = 0


class Tally:
    """Counts from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("received", "again", "resumed", "requests", "retries"), 0)

    def add(self, what: str, count: int = 1) -> None:
        """Count."""
        with self._lock:
            self._counts[what] += count

    def counts(self, connections: int) -> Counts:
        """All of it so far."""
        with self._lock:
            return Counts(**self._counts, connections=connections)
