"""The kernel's voice: lines for people, `@kgtts` events for programs, and the timing of each stage.

All that is said goes through `print`: Kaggle runs a script as a notebook cell, whose standard output is not
a file.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from kernel_template.tools.files import LineFile, human_seconds

EVENT_PREFIX = "@kgtts "
# Kept out of metrics.jsonl: how long stages took stands in state.json.
_LOG_ONLY = frozenset({"stage"})


class Voice(Protocol):
    """Where a part says what it does; a Reporter, or what keeps it for one."""

    def say(self, text: str) -> None:
        """Say a line for people."""

    def warn(self, message: str) -> None:
        """Say that something is wrong which does not end the session."""


def print_line(text: str) -> None:
    """Print a line whatever is in it: a log that cannot be written never ends a training."""
    with contextlib.suppress(OSError, ValueError):  # A full disk behind stdout; a closed stdout.
        try:
            print(text, flush=True)
        except UnicodeEncodeError:
            encoding = getattr(sys.stdout, "encoding", None) or "ascii"
            print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


class Reporter:
    """Says lines, events and stages.

    Args:
        session: the session's number in its run, written with each event to metrics.jsonl.
        clock: seconds of a clock that never goes back.
        out: where a line goes.
    """

    def __init__(
        self, *, session: int, clock: Callable[[], float], out: Callable[[str], None] = print_line
    ) -> None:
        self.metrics: LineFile | None = None
        self.seconds: dict[str, float] = {}
        # What a stage took in all, where part of it ran beside other stages.
        self.beside: dict[str, float] = {}
        self._session = session
        self._clock = clock
        self._out = out
        self._started = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the kernel's start."""
        return self._clock() - self._started

    def say(self, text: str) -> None:
        """Say a line (or several) to the people who read the log."""
        self._out(text)

    def warn(self, message: str) -> None:
        """Say that something is wrong which does not end the session."""
        self._out(f"⚠ {message}")
        self.event("warning", message=message)

    def event(self, name: str, /, **fields: Any) -> None:
        """Say what happened to the programs that read the log, and note it in metrics.jsonl."""
        record = {"event": name, "t": round(self.elapsed, 2), **fields}
        # Strict ASCII only where it must be: a Bangla message stays readable.
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            text = json.dumps(record, separators=(",", ":"))
        self._out(EVENT_PREFIX + text)
        if self.metrics is not None and name not in _LOG_ONLY:
            line = json.dumps({**record, "session": self._session}, separators=(",", ":"))
            self.metrics.write(line)

    def reopen_metrics(self, change: Callable[[], None]) -> None:
        """Close metrics.jsonl, let `change` replace it, and go on at its end."""
        if self.metrics is None:
            change()
            return
        self.metrics.close()
        try:
            change()
        finally:
            self.metrics = self.metrics.reopened()

    @contextlib.contextmanager
    def stage(self, name: str, title: str) -> Iterator[None]:
        """Announce a stage, time it, and say how it ended.

        Args:
            name: the stage's name in events and in state.json.
            title: what is being done, for people.
        """
        began = self._clock()
        self._out(f"\n▶ {title}")
        self.event("stage", name=name, state="start")
        state = "failed"
        try:
            yield
            state = "done"
        finally:
            seconds = round(self._clock() - began, 2)
            self.seconds[name] = seconds
            self._out(f"{'■' if state == 'done' else '✗'} {name}: {state} in {human_seconds(seconds)}")
            self.event("stage", name=name, state=state, seconds=seconds)
