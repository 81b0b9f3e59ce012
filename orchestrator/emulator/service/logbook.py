"""A session's log: appended while it runs, followed live, and stored as one JSON array at the end.

Kaggle's pieces are objects `{"stream_name": "stdout", "time": 12.3, "data": "…"}`
(client 2.2.4, kernels_logs_stream).
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.emulator.service.store import write_atomically


class Logbook:
    """The live log of one session, in a file of one JSON object a line.

    Args:
        path: the file; it is made empty.
        elapsed: gives the seconds since the session's start.
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
        """Whether nothing will be added any more."""
        return self._closed

    def append(self, stream: str, text: str) -> None:
        """Add a piece of `stdout` or `stderr`; a closed log takes nothing."""
        with self._lock:
            if self._closed:
                return
            event = {"stream_name": stream, "time": round(self._elapsed(), 6), "data": text}
            self._file.write(json.dumps(event, ensure_ascii=False) + "\n")
            self._file.flush()
            self._tell()

    def close(self) -> None:
        """End the log, which is stored by then: followers read to its end, its live file goes."""
        with self._lock:
            self._closed = True
            self._file.close()
            self.path.unlink(missing_ok=True)
            self._tell()

    @contextmanager
    def followed(self, notify: Callable[[], None]) -> Iterator[None]:
        """Call `notify` (from any thread, quickly) whenever something was added or the log was closed."""
        with self._lock:
            self._followers.append(notify)
        try:
            yield
        finally:
            with self._lock:
                self._followers.remove(notify)

    def _tell(self) -> None:
        for notify in self._followers:
            notify()


def store_log(live: Path, stored: Path) -> None:
    """Turn the lines of a live log into the stored JSON array; a cut last line is left out."""
    lines = []
    if live.exists():
        with live.open(encoding="utf-8") as file:
            for line in file:
                try:
                    json.loads(line)
                except ValueError:
                    break
                lines.append(line.rstrip("\n"))
    write_atomically(stored, ("[" + ",\n".join(lines) + "]").encode())
