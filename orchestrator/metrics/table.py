"""The table of a training's measurements: time, session, epoch, step, split, name, value.

A trainer measures one or two dozen values at once, under the same names every time. So the table stores a
*moment* (when, where, which names) apart from its values: eight bytes per value, however long the names are.
"""

import math
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Literal, NamedTuple

from kernel_template.contract import EventName

Split = Literal["train", "eval", "system"]
_UNKNOWN = -1
_NAME = re.compile(r"\w[\w./ :()+-]{0,199}")
_COORDINATES = 4
_EXAMPLES = 3
_EXAMPLE_LENGTH = 100  # Bytes.


class Kind(IntEnum):
    """What was measured at a moment. The numbers order the moments of one step.

    The means of an epoch and its evaluation carry the first step of the next epoch, and come before it.
    """

    EPOCH = 0
    EVAL = 1
    STEP = 2
    SYSTEM = 3

    @property
    def split(self) -> Split:
        """The split of rows of this kind."""
        return _SPLITS[self]


_SPLITS: Mapping[Kind, Split] = {
    Kind.EPOCH: "train",
    Kind.EVAL: "eval",
    Kind.STEP: "train",
    Kind.SYSTEM: "system",
}


class Row(NamedTuple):
    """One value.

    Attributes:
        time: seconds since the session's kernel started; in a log without such times, since its first date.
        session: the session's number in its run, from 1.
        epoch: the epoch, from 0 as the trainer counts.
        step: optimizer steps done in the whole run.
        split: what was measured: training, evaluation, or the machine.
        name: the name that the trainer or the kernel uses.
        value: the number, which may be NaN or infinite; of a training step the mean since its epoch began.
    """

    time: float | None
    session: int | None
    epoch: int | None
    step: int | None
    split: Split
    name: str
    value: float


class Moment(NamedTuple):
    """When and where values were measured together; None for what is not known."""

    kind: Kind
    time: float | None
    session: int | None
    epoch: int | None
    step: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """An event other than a measurement: `checkpoint`, `warning`, `oom`, `start`, `end`, `resources`, ….

    Attributes:
        at: how many moments the table held at that time.
        data: the kernel's own fields, none of which can be trusted. A checkpoint has `best`.
    """

    kind: str
    at: int
    time: float | None
    session: int | None
    step: int | None
    data: Mapping[str, Any]


@dataclass(slots=True)
class Counters:
    """Counts of what was read.

    Attributes:
        lines: lines read.
        lost_lines: lines that could not be read: torn, garbled, binary, or of an unknown form. Each costs
            only its own values.
        repeated: moments left out of a series because a later session or a restart did their steps again.
        examples: the first lost lines, shortened.
    """

    lines: int = 0
    lost_lines: int = 0
    repeated: int = 0
    examples: tuple[str, ...] = ()

    def lose(self, line: bytes) -> None:
        """Count a line that could not be read."""
        self.lost_lines += 1
        if len(self.examples) < _EXAMPLES:
            self.examples += (line[:_EXAMPLE_LENGTH].decode("utf-8", "replace").strip(),)

    def add(self, other: "Counters") -> None:
        """Add what another source of the same run counted."""
        self.lines += other.lines
        self.lost_lines += other.lost_lines
        self.examples = (self.examples + other.examples)[:_EXAMPLES]


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one name over the run; all arrays have the same length.

    An unknown count is -1, an unknown time is NaN.
    """

    name: str
    split: Split
    steps: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    epochs: "array[int]" = field(default_factory=lambda: array("q"))
    sessions: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[float]" = field(default_factory=lambda: array("d"))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class SessionStart:
    """A session's first training step, and that step's epoch."""

    session: int
    step: int
    epoch: int | None


class MetricsTable:
    """All measurements and events in the order in which they were read."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.events: list[Event] = []
        self._kinds = bytearray()
        self._times = array("d")
        self._coordinates = array("q")  # Of each moment: layout, session, epoch, step.
        self._ends = array("q")  # Where each moment's values end.
        self._values = array("d")
        self._layouts: list[tuple[str, ...]] = []
        self._known: dict[tuple[str, ...], int] = {}
        self._series: dict[tuple[str, Split], Series] | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._values)

    def __iter__(self) -> Iterator[Row]:
        for moment, names, values in self.measurements():
            split = moment.kind.split
            place = (moment.time, moment.session, moment.epoch, moment.step, split)
            for name, value in zip(names, values, strict=True):
                yield Row(*place, name, value)

    @property
    def moment_count(self) -> int:
        """The number of moments."""
        return len(self._kinds)

    def add(self, moment: Moment, names: tuple[str, ...], values: Sequence[float]) -> None:
        """Append the values measured at `moment`; does nothing without a name."""
        if not names:
            return
        layout = self._known.get(names)
        if layout is None:
            layout = self._known[names] = len(self._layouts)
            self._layouts.append(names)
        kind, time, session, epoch, step = moment
        self._values.extend(values)
        self._ends.append(len(self._values))
        self._kinds.append(kind)
        self._times.append(math.nan if time is None else time)
        self._coordinates.extend(
            (
                layout,
                _UNKNOWN if session is None else session,
                _UNKNOWN if epoch is None else epoch,
                _UNKNOWN if step is None else step,
            )
        )
        self._series = None

    def knows(self, names: tuple[str, ...]) -> bool:
        """Whether these names have been measured together before."""
        return names in self._known

    def add_event(self, kind: str, moment: Moment, data: Mapping[str, Any]) -> None:
        """Append an event; `moment` gives its time, session and step."""
        self.events.append(Event(kind, self.moment_count, moment.time, moment.session, moment.step, data))

    def moment_at(self, index: int) -> Moment:
        """The moment at `index`."""
        time = self._times[index]
        place = index * _COORDINATES
        _, session, epoch, step = self._coordinates[place : place + _COORDINATES]
        return Moment(
            Kind(self._kinds[index]),
            None if math.isnan(time) else time,
            None if session == _UNKNOWN else session,
            None if epoch == _UNKNOWN else epoch,
            None if step == _UNKNOWN else step,
        )

    def values_at(self, index: int) -> tuple[tuple[str, ...], "array[float]"]:
        """The names and values at `index`."""
        begin = self._ends[index - 1] if index else 0
        return self._layouts[self._coordinates[index * _COORDINATES]], self._values[begin : self._ends[index]]

    def measurements(self) -> Iterator[tuple[Moment, tuple[str, ...], "array[float]"]]:
        """Every moment with its names and values."""
        for index in range(self.moment_count):
            yield self.moment_at(index), *self.values_at(index)

    def series(self) -> Mapping[tuple[str, Split], Series]:
        """The values of each name and split, in order; computed once until more is added."""
        if self._series is None:
            self._series = self._by_name()
        return self._series

    def of(self, name: str, split: Split) -> Series:
        """The values of one name; an empty series if there are none."""
        return self.series().get((name, split)) or Series(name, split)

    def _by_name(self) -> dict[tuple[str, Split], Series]:
        found: dict[tuple[str, Split], Series] = {}
        columns: dict[tuple[int, int], list[Series]] = {}
        begin = 0
        for index, (kind, time, end) in enumerate(zip(self._kinds, self._times, self._ends, strict=True)):
            place = index * _COORDINATES
            layout, session, epoch, step = self._coordinates[place : place + _COORDINATES]
            if (kind, layout) not in columns:
                split = Kind(kind).split
                columns[kind, layout] = [
                    found.setdefault((name, split), Series(name, split)) for name in self._layouts[layout]
                ]
            for series, value in zip(columns[kind, layout], self._values[begin:end], strict=True):
                series.steps.append(step)
                series.values.append(value)
                series.epochs.append(epoch)
                series.sessions.append(session)
                series.times.append(time)
            begin = end
        return found

    def session_starts(self) -> list[SessionStart]:
        """The first training step of each session, in order of sessions."""
        found: dict[int, SessionStart] = {}
        for index in range(self.moment_count):
            if self._kinds[index] == Kind.STEP:
                moment = self.moment_at(index)
                if moment.session is not None and moment.step is not None and moment.session not in found:
                    found[moment.session] = SessionStart(moment.session, moment.step, moment.epoch)
        return [found[session] for session in sorted(found)]

    def renumber(self, change: Callable[[int | None], int | None]) -> None:
        """Change the sessions' numbers; `change` maps an old one to a new one."""
        numbers = {}
        for place in range(1, len(self._coordinates), _COORDINATES):
            old = self._coordinates[place]
            if old not in numbers:
                new = change(None if old == _UNKNOWN else old)
                numbers[old] = _UNKNOWN if new is None else new
            self._coordinates[place] = numbers[old]
        self.events = [replace(event, session=change(event.session)) for event in self.events]
        self._series = None

    def best_steps(self) -> list[int]:
        """The steps of the best models, in order; the last one is the best model of the run."""
        steps = {
            event.step
            for event in self.events
            if event.kind == EventName.CHECKPOINT
            and event.step is not None
            and event.data.get("best") is True
        }
        return sorted(steps)

    def last(self, kind: str) -> Event | None:
        """The newest event of a kind, if there is any."""
        return next((event for event in reversed(self.events) if event.kind == kind), None)


def is_name(name: object) -> bool:
    """Whether this can name a measurement: no characters that a page or a spreadsheet would obey."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None
