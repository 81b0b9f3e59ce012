"""The kernel's events, one JSON object a line: `metrics.jsonl`, and the `@kgtts` lines of a log."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from kernel_template.contract import EventName
from orchestrator.metrics.lines import LineCutter
from orchestrator.metrics.table import Kind, MetricsTable, Moment, as_count, as_time, is_name

_DECODER = json.JSONDecoder()
_BEGINNING = '{"event":'
_KINDS: Mapping[str, Kind] = {EventName.PROGRESS: Kind.STEP, EventName.EVAL: Kind.EVAL}
_NUMBERS = {float, int}
# What says where a measurement stands, rather than being one.
_PLACES = frozenset({"event", "t", "session", "epoch", "global_step", "step"})
_NO_JSON = (ValueError, RecursionError)


class Reader(Protocol):
    """Turns bytes into a table, piece by piece."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes, cut anywhere."""

    def finish(self) -> MetricsTable:
        """What was read, the end included; nothing is fed after it."""


class EventTaker:
    """Puts events into a table.

    Args:
        table: where they go.
        session: the session of events that tell none.
    """

    def __init__(self, table: MetricsTable, *, session: int | None = None) -> None:
        self.table = table
        self._session = session
        self._step: int | None = None  # Of the newest evaluation: an epoch's end tells none.

    def take(self, event: Mapping[str, Any]) -> None:
        """Take an event; what makes no sense in it is passed over."""
        kind = event.get("event")
        if not isinstance(kind, str):
            return
        session = as_count(event.get("session"))
        step = as_count(event.get("global_step"))
        moment = Moment(
            _KINDS.get(kind, Kind.SYSTEM),
            as_time(event.get("t")),
            self._session if session is None else session,
            as_count(event.get("epoch")),
            step,
        )
        if kind == EventName.PROGRESS:
            self._measure(moment, event.get("losses"))
        elif kind == EventName.EVAL:
            self._step = step
            self._measure(moment, event.get("losses"))
        elif kind == EventName.EPOCH:
            self._epoch(moment._replace(step=self._step if step is None else step), event)
        else:
            if kind == EventName.RESOURCES:
                self._add(moment, dict(_flat(event)))
            self.table.happened(kind, moment, event)

    def _epoch(self, moment: Moment, event: Mapping[str, Any]) -> None:
        """An epoch's end: its time, and its averages where they are not just those of its last step."""
        losses = event.get("losses")
        if isinstance(losses, Mapping):
            averages = {name: losses[name] for name in losses if str(name).startswith("avg_")}
            self._measure(moment._replace(kind=Kind.EPOCH), averages)
        self._add(moment, {"epoch_seconds": event.get("seconds")})

    def _measure(self, moment: Moment, losses: object) -> None:
        if not isinstance(losses, dict):
            return
        names, values = tuple(losses), losses.values()
        if self.table.knows(names) and {*map(type, values)} == {float}:  # Nearly every time.
            self.table.add(moment, names, [*values])
            return
        self._add(moment, losses)

    def _add(self, moment: Moment, values: Mapping[Any, object]) -> None:
        """Add those of the values that are numbers."""
        found: dict[str, float] = {}
        for name, value in values.items():
            if is_name(name) and type(value) in _NUMBERS:
                try:
                    found[name] = float(value)  # type: ignore[arg-type]  # A number, as said above.
                except OverflowError:
                    continue
        self.table.add(moment, tuple(found), [*found.values()])


def _flat(values: Mapping[Any, Any], before: str = "", depth: int = 3) -> Iterator[tuple[str, object]]:
    """The numbers of an event by names: `gpus: [{utilisation: 1}]` is `gpus_0_utilisation`."""
    for key, value in values.items():
        name = f"{before}{key}"
        if isinstance(value, list):
            value = dict(enumerate(value))  # noqa: PLW2901  # The same, by number.
        if isinstance(value, Mapping):
            if depth:
                yield from _flat(value, f"{name}_", depth - 1)
        elif before or key not in _PLACES:
            yield name, value


def take_line(taker: EventTaker, line: str) -> bool:
    """Take the event in a line; of a garbled one, whole events in it. Tells whether the line was whole."""
    event, rest = _decode(line)
    if event is not None and not rest:
        taker.take(event)
        return True
    # Half an event whose writer was killed, and the next writer's first one after it.
    while line:
        if event is not None:
            taker.take(event)
        at = rest.find(_BEGINNING)
        line = rest[at:] if at >= 0 else ""
        event, rest = _decode(line)
    return False


def _decode(line: str) -> tuple[dict[str, Any] | None, str]:
    """The object that a line begins with, and what follows it; without one, what may hold another."""
    try:
        event, end = _DECODER.raw_decode(line)
    except _NO_JSON:
        return None, line[1:]
    if isinstance(event, dict):
        return event, line[end:].strip()
    return None, line[1:]


class EventsReader:
    """Reads a `metrics.jsonl`.

    Args:
        session: the session of events that tell none.
    """

    def __init__(self, *, session: int | None = None) -> None:
        self._table = MetricsTable()
        self._taker = EventTaker(self._table, session=session)
        self._cutter = LineCutter(self._table.counters)

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._take(self._cutter.cut(data))

    def finish(self) -> MetricsTable:
        """What was read."""
        self._take(self._cutter.rest())
        return self._table

    def _take(self, lines: bytes) -> None:
        for line in lines.decode("utf-8", "replace").split("\n"):
            stripped = line.strip()
            if stripped and not take_line(self._taker, stripped):
                self._table.counters.lost_lines += 1
