"""What a log's readings tell that was not told before.

Every reading of a log, live or stored, begins at the log's start again (kaggle 2.2.4, `kernels_logs_stream`).
Counting pieces, as the official client does, repeats or loses text where one reading cuts the log otherwise
than another; here the characters of each stream are counted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.models import LogEvent

_WINDOW = 256  # Characters at both ends of what was told that a reading has to agree with.


@dataclass(slots=True)
class _Told:
    """One stream's text that was told: its length, both its ends, and when its last pieces were said."""

    length: int = 0
    head: str = ""
    tail: str = ""
    time_s: float = 0.0
    last: Counter[str] = field(default_factory=Counter)  # The pieces of that time.

    def add(self, text: str, time_s: float) -> None:
        self.length += len(text)
        self.head += text[: _WINDOW - len(self.head)]
        self.tail = (self.tail + text)[-_WINDOW:]
        if time_s > self.time_s:
            self.time_s, self.last = time_s, Counter()
        if time_s == self.time_s:
            self.last[text.strip()] += 1  # Line ends may be stored otherwise.


class Replay:
    """Passes on, of reading after reading, what is new.

    A reading that agrees with what was told is new from where that ends, however it is cut. One that does not
    agree (its beginning is gone, its text was changed) is new from the time on at which the last piece was
    told. One that is shorter has nothing new. Text counts more than time, which is that of any piece that was
    joined with others.
    """

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._behind = False

    @property
    def behind(self) -> bool:
        """Whether the latest reading ended before what had been told already."""
        return self._behind

    def news(self, events: Iterable[LogEvent]) -> Iterator[LogEvent]:
        """Read the log once more from its start, and give what was not told before."""
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
    """One stream of one reading, against what was told of it."""

    def __init__(self, told: _Told) -> None:
        self._told = told
        self._position = 0  # In the part of the text that was told before.
        self._window = ""
        self._later: list[LogEvent] = []  # Passed over, yet said after the last piece that was told.
        self._until, self._last = told.time_s, Counter(told.last)
        self._overlaps, self._by_time = told.length > 0, False

    @property
    def is_short(self) -> bool:
        """Whether it has not come to the end of what was told, nor anything later."""
        return self._overlaps and not self._later

    def take(self, event: LogEvent) -> Iterator[LogEvent]:
        """Take the next piece and give what is new of it."""
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
        """Give what is later than all that was told, although the reading is shorter than that."""
        if self._overlaps:
            yield from self._go_by_time()

    def _advance(self, text: str) -> bool:
        """Go on over what was told; gives whether it is what was told, as far as that is remembered."""
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
            self._last[text] -= 1  # Said twice at the same time, it is told twice.
            return False
        return event.time_s >= self._until

    def _tell(self, event: LogEvent) -> LogEvent:
        self._told.add(event.text, event.time_s)
        return event
