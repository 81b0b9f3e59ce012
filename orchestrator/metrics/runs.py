"""One series of measurements from all pulled sessions of a run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.metrics.join import append, continuous, fill_gaps
from orchestrator.metrics.reading import read_metrics
from orchestrator.metrics.table import Kind, MetricsTable
from orchestrator.results import PulledSession, newest_run, pulled_sessions


def read_run(source: Path | Sequence[PulledSession], *, logs: bool = True) -> MetricsTable:
    """Everything that a run's sessions measured as one series, without gaps and repeated steps.

    Each session's `metrics.jsonl` repeats that of the session before. So the newest is read first, and an
    older one only for a session that the newer ones lack. Gaps are filled from the trainer's logs.

    Args:
        source: a folder with pulled sessions, of which the newest run is read; or the sessions of one run.
        logs: whether logs are read too.

    Raises:
        LocalError: a file cannot be read.
    """
    sessions = newest_run(pulled_sessions(source)) if isinstance(source, Path) else list(source)
    table = _from_events(sessions)
    return _with_logs(table, sessions) if logs else table


def _from_events(sessions: Sequence[PulledSession]) -> MetricsTable:
    """The measurements in the sessions' events; of each session from the newest file that has it."""
    known: set[int | None] = set()
    read: list[tuple[MetricsTable, set[int | None]]] = []
    for item in reversed(sessions):
        place = item.files.metrics
        if item.number in known or not place.is_file():
            continue
        table = read_metrics(place, kind="events", session=item.number)
        found = {moment.session for moment, _, _ in table.measurements()}
        found |= {event.session for event in table.events}
        read.append((table, found - known))
        known |= found
    result = MetricsTable()
    for table, fresh in reversed(read):
        append(result, table, fresh.__contains__)
    return continuous(result)


def _with_logs(table: MetricsTable, sessions: Sequence[PulledSession]) -> MetricsTable:
    """The table with what only the logs have; the newest log may reach back to the run's first session."""
    first = min((start.step for start in table.session_starts()), default=None)
    for item in reversed(sessions):
        reached = None
        for place in item.files.trainer_logs:
            log = _of_session(read_metrics(place, kind="log"), item.number)
            counted = log.counters
            begins = next(
                (moment.step for moment, _, _ in log.measurements() if moment.kind is Kind.STEP), None
            )
            table = fill_gaps(table, log) if table.moment_count else _with_events(continuous(log), table)
            table.counters.add(counted)
            if begins is not None:
                reached = begins if reached is None else min(reached, begins)
        if reached is not None and (reached == 0 or (first is not None and reached <= first)):
            break
    return table


def _with_events(log: MetricsTable, table: MetricsTable) -> MetricsTable:
    """A log's measurements with the events of a table that has no measurements."""
    log.counters = replace(table.counters, repeated=log.counters.repeated)
    log.events = [*table.events, *log.events]
    return log


def _of_session(log: MetricsTable, number: int | None) -> MetricsTable:
    """Number the sessions of a log whose last one is `number`; a trainer's log continues over sessions."""
    last = max((start.session for start in log.session_starts()), default=None)
    if number is not None:
        log.renumber(lambda old: number if old is None or last is None else max(1, number - last + old))
    return log
