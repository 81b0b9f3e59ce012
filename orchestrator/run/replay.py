"""Find what is new when a log is read again.

Every reading of a log, live or stored, begins at the log's start (kaggle 2.2.4, `kernels_logs_stream`). The
official client counts pieces, and so repeats or loses text if two readings are cut into pieces differently;
here the characters of each stream are counted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.models import LogEvent

_WINDOW = 256  # Characters at both ends of the known text that a reading must agree with.


@dataclass(slots=True)
class _Told:
    """The known text of one stream: its length, both its ends, and its last pieces with their time."""

    length: int = 0
    head: str = ""
    tail: str = ""
    time_s: float = 0.0
    last: Counter[str] = field(default_factory=Counter)  # The pieces with that time.

    def add(self, text: str, time_s: float) -> None:
        self.length += len(text)
        self.head += text[: _WINDOW - len(self.head)]
        self.tail = (self.tail + text)[-_WINDOW:]
        if time_s > self.time_s:
            self.time_s, self.last = time_s, Counter()
        if time_s == self.time_s:
            self.last[text.strip()] += 1  # Line ends may be stored differently.


class Replay:
    """Passes on what is new in each reading.

    If a reading agrees with the known text, everything after that text is new, however it is cut. If it does
    not agree (its beginning is gone, or its text was changed), everything from the time of the last known
    piece on is new. A shorter reading has nothing new. Match by text first: timestamps of merged pieces are
    unreliable.
    """

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._behind = False

    @property
    def behind(self) -> bool:
        """Whether the latest reading ended before the known text did."""
        return self._behind

    def news(self, events: Iterable[LogEvent]) -> Iterator[LogEvent]:
        """Read the log once more from its start, and give what is new."""
        streams: dict[str, _Reading] = {}
        for event in events:
            reading = streams.get(event.stream)
            if reading is None:
                told = self._told.setdefault(event.stream, _Told())
                reading = streams[event.stream] = _Reading(told)
            yield from reading.take(event)
        self._behind = any(told.length > 0 for name, told in self._told.items() if name not in streams)
        for reading in streams.values():
            self._behind |= reading.is_short
            yield from reading.finish()


class _Reading:
    """One stream of one reading, compared with what is known of it."""

    def __init__(self, told: _Told) -> None:
        self._told = told
        self._position = 0  # In the known text.
        self._window = ""
        self._later: list[LogEvent] = []  # Skipped, but later than the last known piece.
        self._until, self._last = told.time_s, Counter(told.last)
        self._overlaps, self._by_time = told.length > 0, False

    @property
    def is_short(self) -> bool:
        """Whether it reached neither the end of the known text nor anything later."""
        return self._overlaps and not self._later

    def take(self, event: LogEvent) -> Iterator[LogEvent]:
        """Take the next piece, and give what is new in it."""
        if self._by_time:
            if self._is_later(event):
                yield self._tell(event)
            return
        if not self._overlaps:
            yield self._tell(event)
            return
        text = event.text[: self._told.length - self._position]
        agrees = self._advance(text)
        if agrees and len(text) == len(event.text):
            if self._position < self._told.length and event.time_s > self._until:
                self._later.append(event)
        elif agrees:
            yield self._tell(LogEvent(event.stream, event.time_s, event.text[len(text) :]))
        else:
            yield from self._go_by_time()
            yield from self.take(event)

    def finish(self) -> Iterator[LogEvent]:
        """Give what is later than the known text, although the reading is shorter than that."""
        if self._overlaps:
            yield from self._go_by_time()

    def _advance(self, text: str) -> bool:
        """Move on in the known text; gives whether the piece agrees with it, as far as it is remembered."""
        head = self._told.head[self._position : self._position + len(text)]
        if not text.startswith(head):
            return False
        self._position += len(text)
        self._window = (self._window + text)[-_WINDOW:]
        if self._position < self._told.length:
            return True
        self._overlaps = self._window != self._told.tail
        if not self._overlaps:
            self._later.clear()
        return not self._overlaps

    def _go_by_time(self) -> Iterator[LogEvent]:
        self._overlaps, self._by_time = False, True
        for event in self._later:
            yield self._tell(event)
        self._later.clear()

    def _is_later(self, event: LogEvent) -> bool:
        text = event.text.strip()
        if event.time_s == self._until and self._last[text] > 0:
            self._last[text] -= 1  # A piece that was said twice at the same time is given twice.
            return False
        return event.time_s >= self._until

    def _tell(self, event: LogEvent) -> LogEvent:
        self._told.add(event.text, event.time_s)
        return event
