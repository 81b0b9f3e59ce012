"""Merge what several sessions, restarts and files measured of the same run into one series."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kernel_template.contract import EventName
from orchestrator.metrics.table import Event, Kind, MetricsTable, Moment

_OF_STEPS = (EventName.CHECKPOINT, EventName.SCORES)  # What a training that goes back takes with it.
_Key = tuple[Kind, int, bool]  # A kind, a number, and whether that is an epoch or a step.


@dataclass(frozen=True, slots=True)
class _Restart:
    """A training went back: the index of the first moment after that, and the step it continued from."""

    index: int
    step: int


def append(table: MetricsTable, other: MetricsTable, accept: Callable[[int | None], bool]) -> None:
    """Append the rows and events of `other` whose session is accepted."""
    at = [table.moment_count]
    for moment, names, values in other.measurements():
        if accept(moment.session):
            table.add(moment, names, values)
        at.append(table.moment_count)
    table.events += [replace(event, at=at[event.at]) for event in other.events if accept(event.session)]
    table.counters.add(other.counters)


def continuous(table: MetricsTable) -> MetricsTable:
    """The table without repeated steps: in each series the steps only increase.

    A session that continues from a checkpoint repeats the steps after it, and so does a training that is
    restarted within a session. The later ones count. A single step that goes back is not a restart but a
    garbled number, and is left out itself.
    """
    moments = [table.moment_at(index) for index in range(table.moment_count)]
    selected, restarts = _increasing(table, moments, Kind.STEP)
    for kind in (Kind.EPOCH, Kind.EVAL):
        found, _ = _increasing(table, moments, kind, _Undone(restarts))
        selected |= found
    undone = _Undone(restarts)
    selected |= {
        index
        for index, moment in enumerate(moments)
        if moment.step is None or (moment.kind is Kind.SYSTEM and not undone(index, moment.step))
    }
    events = [
        event
        for event in table.events
        if event.kind not in _OF_STEPS or event.step is None or not undone(event.at - 1, event.step)
    ]
    if len(selected) == len(moments) and len(events) == len(table.events):
        return table
    return _selected(table, sorted(selected), events)


class _Undone:
    """Tells whether a later restart repeats the step of a moment."""

    def __init__(self, restarts: Sequence[_Restart]) -> None:
        self._at = [restart.index for restart in restarts]
        self._lowest = [restart.step for restart in restarts]
        for place in range(len(restarts) - 2, -1, -1):
            self._lowest[place] = min(self._lowest[place], self._lowest[place + 1])

    def __call__(self, index: int, step: int) -> bool:
        place = bisect_right(self._at, index)
        return place < len(self._at) and step > self._lowest[place]


def _increasing(
    table: MetricsTable,
    moments: Sequence[Moment],
    kind: Kind,
    undone: Callable[[int, int], bool] = lambda _index, _step: False,
) -> tuple[set[int], list[_Restart]]:
    """The moments of a kind that are not repeated later, and the restarts of the training."""
    counted = [
        (index, moment.step)
        for index, moment in enumerate(moments)
        if moment.kind is kind and moment.step is not None and not undone(index, moment.step)
    ]
    selected: list[tuple[int, int]] = []
    restarts: list[_Restart] = []
    for place, (index, step) in enumerate(counted):
        if selected and step <= selected[-1][1]:
            last, highest = selected[-1]
            following = counted[place + 1][1] if place + 1 < len(counted) else None
            if step == highest and _are_halves(table, moments, last, index):
                selected.append((index, step))
                continue
            if step < highest and not _is_restart(moments[last], moments[index], highest, following):
                continue
            while selected and selected[-1][1] >= step:
                selected.pop()
            restarts.append(_Restart(index, step))
        selected.append((index, step))
    return {index for index, _ in selected}, restarts


def _is_restart(before: Moment, moment: Moment, highest: int, following: int | None) -> bool:
    """Whether a step that goes back is the first of those that are repeated."""
    if before.session is not None and moment.session is not None and before.session != moment.session:
        return moment.session > before.session
    return following is not None and following <= highest


def _are_halves(table: MetricsTable, moments: Sequence[Moment], one: int, other: int) -> bool:
    """Whether two moments belong together: the same step of the same session, but different names."""
    names, more = table.values_at(one)[0], table.values_at(other)[0]
    return moments[one].session == moments[other].session and not {*names} & {*more}


def _selected(table: MetricsTable, indices: Sequence[int], events: Sequence[Event]) -> MetricsTable:
    """A table of the moments at these indices, in their order."""
    result = MetricsTable()
    for index in indices:
        result.add(table.moment_at(index), *table.values_at(index))
    result.events = [replace(event, at=bisect_left(indices, event.at)) for event in events]
    result.counters = replace(
        table.counters, repeated=table.counters.repeated + table.moment_count - result.moment_count
    )
    return result


def fill_gaps(table: MetricsTable, other: MetricsTable) -> MetricsTable:
    """`table` with what it lacks, taken from `other`, which is about the same training.

    For example, the kernel's events leave out numbers that are not finite; the trainer's log has them.
    """
    table, other = continuous(table), continuous(other)
    known: dict[_Key, set[str]] = {}
    for moment, names, _ in table.measurements():
        for key in _keys(moment):
            known.setdefault(key, set()).update(names)
    placement = _Placement(table, other)
    added: list[tuple[Moment, tuple[str, ...], list[float]]] = []
    for moment, names, values in other.measurements():
        there: set[str] = set()
        for key in _keys(moment):
            there |= known.get(key, set())
        lacking = [pair for pair in zip(names, values, strict=True) if pair[0] not in there]
        if lacking:
            added.append(
                (placement(moment), tuple(name for name, _ in lacking), [value for _, value in lacking])
            )
    saved = {
        (event.step, event.data.get("best")) for event in table.events if event.kind == EventName.CHECKPOINT
    }
    events = [event for event in other.events if (event.step, event.data.get("best")) not in saved]
    if not added and not events:
        return table
    return _merged(table, added, [replace(event, session=placement.session(event)) for event in events])


def _keys(moment: Moment) -> list[_Key]:
    """The keys by which two moments are the same: the step, or at an epoch's end the epoch."""
    keys: list[_Key] = []
    if moment.step is not None:
        keys.append((moment.kind, moment.step, False))
    if moment.epoch is not None and moment.kind is not Kind.STEP:
        keys.append((moment.kind, moment.epoch, True))
    return keys


class _Placement:
    """Translates sessions and times of one table into those of another."""

    def __init__(self, table: MetricsTable, other: MetricsTable) -> None:
        starts = table.session_starts()
        self._begins = [start.step for start in starts]
        self._sessions = [start.session for start in starts]
        times = {
            moment.step: moment for moment, _, _ in table.measurements() if moment.kind is Kind.STEP
        }  # Each step is in it once.
        self._offsets: dict[int | None, float] = {}
        for moment, _, _ in other.measurements():
            same = times.get(moment.step) if moment.kind is Kind.STEP else None
            if same is not None and same.time is not None and moment.time is not None:
                self._offsets.setdefault(same.session, same.time - moment.time)

    def session(self, item: Moment | Event) -> int | None:
        """The session in which a step was done."""
        if not self._begins or item.step is None:
            return item.session
        # An epoch's end carries the first step of the next epoch, which may be in the next session.
        is_step = isinstance(item, Moment) and item.kind is Kind.STEP
        place = (bisect_right if is_step else bisect_left)(self._begins, item.step)
        return self._sessions[max(0, place - 1)]

    def __call__(self, moment: Moment) -> Moment:
        session = self.session(moment)
        offset = self._offsets.get(session)
        time = None if offset is None or moment.time is None else max(0.0, moment.time + offset)
        return moment._replace(session=session, time=time)


def _merged(
    table: MetricsTable,
    added: Sequence[tuple[Moment, tuple[str, ...], Sequence[float]]],
    events: Sequence[Event],
) -> MetricsTable:
    """Both in the order of steps; what has no step stays after what it followed."""
    ordered: list[tuple[int, int, int, tuple[Moment, tuple[str, ...], Sequence[float]]]] = []
    for source, measurements in enumerate((table.measurements(), added)):
        reached, kind = 0, int(Kind.EPOCH)
        for measured in measurements:
            moment = measured[0]
            if moment.step is not None and moment.kind is not Kind.SYSTEM:
                reached, kind = max(reached, moment.step), int(moment.kind)
            ordered.append((reached, kind, source, measured))
    ordered.sort(key=lambda item: item[:3])
    result = MetricsTable()
    at = [0]  # at[n]: how many moments the result has after the first n of `table`.
    for _, _, source, measured in ordered:
        result.add(*measured)
        if not source:
            at.append(result.moment_count)
    steps = [reached for reached, _, _, _ in ordered]
    result.events = [replace(event, at=at[event.at]) for event in table.events]
    result.events += [replace(event, at=bisect_left(steps, event.step or 0)) for event in events]
    result.events.sort(key=lambda event: event.at)
    result.counters = replace(table.counters)
    return result
