"""What the session prints: lines for people, `@kgtts` events for programs, and the time that each stage took.

Everything is printed with `print`: Kaggle runs a script as a notebook cell, whose standard output is not a
file.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from kernel_template.contract import EVENT_PREFIX, LOG_ONLY_EVENTS, Stage, StageState
from kernel_template.events import Event, StageEvent, WarningEvent
from kernel_template.tools.files import LineFile, human_seconds


class MessageSink(Protocol):
    """Takes messages for people: a Reporter, or a buffer in front of one."""

    def say(self, text: str) -> None:
        """Print a line for people."""

    def warn(self, message: str) -> None:
        """Print a warning; the session continues."""


def print_line(text: str) -> None:
    """Print a line; if the log cannot be written, the session continues without it."""
    with contextlib.suppress(OSError, ValueError):  # The disk behind stdout is full; stdout is closed.
        try:
            print(text, flush=True)
        except UnicodeEncodeError:
            encoding = getattr(sys.stdout, "encoding", None) or "ascii"
            print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


class Reporter:
    """Prints lines, events and stages.

    Args:
        session: the session's number in its run; metrics.jsonl has it in each event.
        clock: seconds, monotonic.
        out: prints a line.

    Attributes:
        metrics: metrics.jsonl, once it is open.
        seconds: how long each stage took, by name.
        parallel_seconds: how long work took in all that ran partly beside other stages, by stage.
    """

    def __init__(
        self, *, session: int, clock: Callable[[], float], out: Callable[[str], None] = print_line
    ) -> None:
        self.metrics: LineFile | None = None
        self.seconds: dict[str, float] = {}
        self.parallel_seconds: dict[str, float] = {}
        self._session = session
        self._clock = clock
        self._out = out
        self._started = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the session began."""
        return self._clock() - self._started

    def say(self, text: str) -> None:
        """Print one or more lines for the people who read the log."""
        self._out(text)

    def warn(self, message: str) -> None:
        """Print a warning, and record it as an event."""
        self._out(f"⚠ {message}")
        self.event(WarningEvent(message))

    def event(self, event: Event) -> None:
        """Print an event for the programs that read the log, and append it to metrics.jsonl."""
        record: dict[str, Any] = {"event": event.name, "t": round(self.elapsed, 2), **event.fields()}
        # Bangla stays readable. Unpaired surrogates (from a hostile file name) can only be escaped.
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            text = json.dumps(record, separators=(",", ":"))
        self._out(EVENT_PREFIX + text)
        if self.metrics is not None and event.name not in LOG_ONLY_EVENTS:
            line = json.dumps({**record, "session": self._session}, separators=(",", ":"))
            self.metrics.write(line)

    def reopen_metrics(self, change: Callable[[], None]) -> None:
        """Close metrics.jsonl, let `change` replace it, and open it again at its end."""
        if self.metrics is None:
            change()
            return
        self.metrics.close()
        try:
            change()
        finally:
            self.metrics = self.metrics.reopened()

    @contextlib.contextmanager
    def stage(self, stage: Stage, title: str) -> Iterator[None]:
        """Announce a stage under `title`, time it, and print how it ended."""
        began = self._clock()
        self._out(f"\n▶ {title}")
        self.event(StageEvent(stage, StageState.START))
        state = StageState.FAILED
        try:
            yield
            state = StageState.DONE
        finally:
            seconds = round(self._clock() - began, 2)
            self.seconds[stage] = seconds
            mark = "■" if state is StageState.DONE else "✗"
            self._out(f"{mark} {stage}: {state} in {human_seconds(seconds)}")
            self.event(StageEvent(stage, state, seconds))
