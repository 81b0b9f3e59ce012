"""What service and runner agree on about a session: how it is ordered, how it ends, and its log.

The service decides when a session starts and what its end means; a runner (see `runner.processes`) executes
it and reports to a `SessionListener`. Neither the service nor this module starts a process.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from orchestrator.emulator.service.files import write_bytes_atomically
from orchestrator.emulator.service.mounts import BindMount


class EndCause(StrEnum):
    """Why a session ended."""

    FINISHED = "finished"
    TIME_LIMIT = "time_limit"
    CANCELLED = "cancelled"
    DELETED = "deleted"
    SHUTDOWN = "shutdown"
    UNABLE = "unable"  # It could not be run at all.


@dataclass(frozen=True, slots=True)
class SessionOutcome:
    """How a session ended.

    Attributes:
        cause: why.
        exit_code: of the script; None if it was stopped or never ran.
        detail: a sentence, if `cause` does not say everything.
        working: the folder that holds the session's outputs; None if it never had one.
    """

    cause: EndCause
    exit_code: int | None = None
    detail: str = ""
    working: Path | None = None


@dataclass(frozen=True, slots=True)
class SessionOrder:
    """A session to run.

    Attributes:
        number: the session's id.
        source: the Python program.
        limit_s: seconds that it may run.
        internet: whether it gets this machine's proxy settings.
        live_log: the file of its live log.
        mounts: returns its inputs; called when the session starts, since that is when Kaggle mounts them.
    """

    number: int
    source: str
    limit_s: float
    internet: bool
    live_log: Path
    mounts: Callable[[], tuple[BindMount, ...]]


class SessionListener(Protocol):
    """Receives what happens to sessions, from the sessions' own threads."""

    def session_started(self, session: int) -> None:
        """A session has left the queue and runs."""
        ...

    def session_stopping(self, session: int) -> None:
        """A session is being stopped; its files are still being saved."""
        ...

    def session_ended(self, session: int, end: SessionOutcome) -> None:
        """A session is over; its folder still exists and is the listener's to empty and remove."""
        ...


class SessionRunner(Protocol):
    """Runs sessions."""

    def start(self, order: SessionOrder, listener: SessionListener) -> None:
        """Queue a session; return at once."""
        ...

    def stop(self, sessions: set[int], cause: EndCause) -> None:
        """Ask these sessions to end; return at once; ignore unknown ids."""
        ...

    def join(self, sessions: set[int]) -> None:
        """Wait until each of these sessions has been reported as ended; ignore unknown ids."""
        ...

    def live_log(self, session: int) -> "SessionLog | None":
        """The log of an active session; None if it is over."""
        ...


class SessionLog:
    """The live log of one session: a file with one JSON object per line, which others may follow.

    Each event is `{"stream_name": "stdout", "time": 12.3, "data": "…"}` (client 2.2.4, kernels_logs_stream).

    Args:
        path: the file; it is created empty.
        elapsed: returns the seconds since the session's start.
    """

    def __init__(self, path: Path, elapsed: Callable[[], float]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._followers: list[Callable[[], None]] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the log is complete."""
        return self._closed

    def append(self, stream: str, text: str) -> None:
        """Add text of `stdout` or `stderr`; a closed log ignores it."""
        with self._lock:
            if self._closed:
                return
            event = {"stream_name": stream, "time": round(self._elapsed(), 6), "data": text}
            self._file.write(json.dumps(event, ensure_ascii=False) + "\n")
            self._file.flush()
            self._notify()

    def close(self) -> None:
        """End the log once it has been stored: followers read to its end, then the file is deleted."""
        with self._lock:
            self._closed = True
            self._file.close()
            self.path.unlink(missing_ok=True)
            self._notify()

    @contextmanager
    def followed(self, notify: Callable[[], None]) -> Iterator[None]:
        """Call `notify` whenever text is added or the log is closed, from any thread; it must be quick."""
        with self._lock:
            self._followers.append(notify)
        try:
            yield
        finally:
            with self._lock:
                self._followers.remove(notify)

    def _notify(self) -> None:
        for notify in self._followers:
            notify()


def store_log(live: Path, stored: Path) -> None:
    """Turn a live log into the stored JSON array; an incomplete last line is left out."""
    lines = []
    if live.exists():
        with live.open(encoding="utf-8") as file:
            for line in file:
                try:
                    json.loads(line)
                except ValueError:
                    break
                lines.append(line.rstrip("\n"))
    write_bytes_atomically(stored, ("[" + ",\n".join(lines) + "]").encode())


def last_log_time(live: Path) -> float:
    """The time of the last complete event in a live log, in seconds into the session; 0 if there is none."""
    last = 0.0
    if live.exists():
        with live.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    last = float(json.loads(line)["time"])
                except ValueError:  # The line that was being written when the emulator was killed.
                    break
    return last
