"""Read the kernel's events, one JSON object a line: `metrics.jsonl`, and the `@kgtts` lines of a log.

Both come from a server: what makes no sense in them is left out and counted.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from kernel_template.contract import EventName
from orchestrator import untrusted
from orchestrator.metrics.table import Counters, Kind, MetricsTable, Moment, is_name

_LONGEST_LINE = 4 * 1024 * 1024  # Bytes. No event and no line of a log is longer.
_DECODER = json.JSONDecoder()
_EVENT_START = '{"event":'
_KINDS: Mapping[str, Kind] = {EventName.PROGRESS: Kind.STEP, EventName.EVAL: Kind.EVAL}
_NUMBERS = {float, int}
# Fields that say where a measurement belongs; all others are measurements.
_COORDINATES = frozenset({"event", "t", "session", "epoch", "global_step", "step"})
_EPOCH_MEAN = "avg_"


class Reader(Protocol):
    """Turns bytes into a table, piece by piece."""

    def feed(self, data: bytes) -> None:
        """Read the next bytes, which may end anywhere."""

    def finish(self) -> MetricsTable:
        """Read the unfinished last line too, and return the table. Nothing may be fed after it."""


class LineSplitter:
    """Splits bytes that come in pieces into complete lines, many at a time, and counts the lines.

    Args:
        counters: where lines are counted; a line longer than 4 MiB is dropped and counts as lost.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._pending: list[bytes] = []
        self._size = 0
        self._dropping = False

    def split(self, data: bytes) -> bytes:
        """The lines that `data` completes, each with its line end; empty if it completes none."""
        complete, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._keep(rest)
            return b""
        if self._dropping:
            self._dropping = False
            _, _, complete = complete.partition(b"\n") if b"\n" in complete else (b"", b"", b"")
            lines = complete + b"\n" if complete else b""
        else:
            lines = b"".join((*self._pending, complete, b"\n"))
        self._pending, self._size = [], 0
        self._keep(rest)
        self._counters.lines += lines.count(b"\n")
        return lines

    def remainder(self) -> bytes:
        """The last line, which has no line end."""
        pending, self._pending, self._size = b"".join(self._pending), [], 0
        self._counters.lines += bool(pending)
        return pending

    def _keep(self, rest: bytes) -> None:
        if self._dropping or not rest:
            return
        self._pending.append(rest)
        self._size += len(rest)
        if self._size > _LONGEST_LINE:
            self._pending, self._size, self._dropping = [], 0, True
            self._counters.lines += 1
            self._counters.lose(rest)


class EventSink:
    """Adds events to a table.

    Args:
        table: the table.
        session: the session of events that name none.
    """

    def __init__(self, table: MetricsTable, *, session: int | None = None) -> None:
        self.table = table
        self._session = session
        self._evaluated: int | None = None  # The step of the newest evaluation; an epoch event has none.

    def add(self, event: Mapping[str, Any]) -> None:
        """Add an event; what makes no sense in it is left out."""
        name = event.get("event")
        if not isinstance(name, str):
            return
        session = untrusted.count(event.get("session"))
        step = untrusted.count(event.get("global_step"))
        moment = Moment(
            _KINDS.get(name, Kind.SYSTEM),
            untrusted.seconds(event.get("t")),
            self._session if session is None else session,
            untrusted.count(event.get("epoch")),
            step,
        )
        if name == EventName.PROGRESS:
            self._add_losses(moment, event.get("losses"))
        elif name == EventName.EVAL:
            self._evaluated = step
            self._add_losses(moment, event.get("losses"))
        elif name == EventName.EPOCH:
            self._add_epoch(moment._replace(step=self._evaluated if step is None else step), event)
        else:
            if name == EventName.RESOURCES:
                self._add_numbers(moment, dict(_flat(event)))
            self.table.add_event(name, moment, event)

    def _add_epoch(self, moment: Moment, event: Mapping[str, Any]) -> None:
        """Add an epoch's duration, and its means unless they are only those of its last step."""
        losses = event.get("losses")
        if isinstance(losses, Mapping):
            means = {name: losses[name] for name in losses if str(name).startswith(_EPOCH_MEAN)}
            self._add_losses(moment._replace(kind=Kind.EPOCH), means)
        self._add_numbers(moment, {"epoch_seconds": event.get("seconds")})

    def _add_losses(self, moment: Moment, losses: object) -> None:
        if not isinstance(losses, dict):
            return
        names, values = tuple(losses), losses.values()
        if self.table.knows(names) and {*map(type, values)} == {float}:  # Nearly always, and quicker.
            self.table.add(moment, names, [*values])
            return
        self._add_numbers(moment, losses)

    def _add_numbers(self, moment: Moment, values: Mapping[Any, object]) -> None:
        """Add the values that are numbers, NaN and infinity included."""
        found: dict[str, float] = {}
        for name, value in values.items():
            if is_name(name) and type(value) in _NUMBERS:
                try:
                    found[name] = float(value)  # type: ignore[arg-type]  # It is a number, see above.
                except OverflowError:
                    continue
        self.table.add(moment, tuple(found), [*found.values()])


def _flat(values: Mapping[Any, Any], prefix: str = "", depth: int = 3) -> Iterator[tuple[str, object]]:
    """The nested numbers of an event by names: `gpus: [{utilisation: 1}]` becomes `gpus_0_utilisation`."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, list):
            value = dict(enumerate(value))  # noqa: PLW2901  # A list is read as an object of its indices.
        if isinstance(value, Mapping):
            if depth:
                yield from _flat(value, f"{name}_", depth - 1)
        elif prefix or key not in _COORDINATES:
            yield name, value


def add_line(sink: EventSink, line: str) -> bool:
    """Add the event in a line; of a garbled line, every complete event in it.

    Returns:
        Whether the line was one complete event.
    """
    event, rest = _decode(line)
    if event is not None and not rest:
        sink.add(event)
        return True
    # A writer that was killed leaves half an event; the next writer's first event follows on the same line.
    while line:
        if event is not None:
            sink.add(event)
        at = rest.find(_EVENT_START)
        line = rest[at:] if at >= 0 else ""
        event, rest = _decode(line)
    return False


def _decode(line: str) -> tuple[dict[str, Any] | None, str]:
    """The JSON object at the start of a line and what follows it; without one, None and what may hold one."""
    try:
        event, end = _DECODER.raw_decode(line)
    except (ValueError, RecursionError):
        return None, line[1:]
    if isinstance(event, dict):
        return event, line[end:].strip()
    return None, line[1:]


class EventsReader:
    """Reads a `metrics.jsonl`.

    Args:
        session: the session of events that name none.
    """

    def __init__(self, *, session: int | None = None) -> None:
        self._table = MetricsTable()
        self._sink = EventSink(self._table, session=session)
        self._splitter = LineSplitter(self._table.counters)

    def feed(self, data: bytes) -> None:
        """Read the next bytes."""
        self._read(self._splitter.split(data))

    def finish(self) -> MetricsTable:
        """Return what was read."""
        self._read(self._splitter.remainder())
        return self._table

    def _read(self, lines: bytes) -> None:
        for line in lines.decode("utf-8", "replace").split("\n"):
            stripped = line.strip()
            if stripped and not add_line(self._sink, stripped):
                self._table.counters.lose(stripped.encode("utf-8", "replace"))
