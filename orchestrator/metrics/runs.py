"""One series of measurements from all pulled sessions of a run."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.metrics.join import append, continuous, fill
from orchestrator.metrics.reading import read_metrics
from orchestrator.metrics.table import Kind, MetricsTable
from orchestrator.results import PulledSession, newest_run, pulled_sessions


def read_run(source: Path | Sequence[PulledSession], *, logs: bool = True) -> MetricsTable:
    """One series of all that a run's sessions measured, without gaps or steps back.

    Each session's `metrics.jsonl` repeats what came before it, so only files are read that tell of a session
    which newer ones do not. What they lack is taken from the trainer's logs.

    Args:
        source: a folder with pulled sessions, whose newest run is taken; or sessions of one run.
        logs: whether logs are read too.

    Raises:
        LocalError: a file cannot be read.
    """
    sessions = newest_run(pulled_sessions(source)) if isinstance(source, Path) else list(source)
    table = _from_events(sessions)
    return _with_logs(table, sessions) if logs else table


def _from_events(sessions: Sequence[PulledSession]) -> MetricsTable:
    """What the sessions' events tell, each session's by the newest file that knows it."""
    told: set[int | None] = set()
    read: list[tuple[MetricsTable, set[int | None]]] = []
    for item in reversed(sessions):
        place = item.files.metrics
        if item.number in told or not place.is_file():
            continue
        table = read_metrics(place, kind="events", session=item.number)
        knows = {moment.session for moment, _, _ in table.measurements()}
        knows |= {event.session for event in table.events}
        read.append((table, knows - told))
        told |= knows
    result = MetricsTable()
    for table, fresh in reversed(read):
        append(result, table, fresh.__contains__)
    return continuous(result)


def _with_logs(table: MetricsTable, sessions: Sequence[PulledSession]) -> MetricsTable:
    """The table with what logs tell besides; the newest log of a chain begins where the run did."""
    first = min((border.step for border in table.borders()), default=None)
    for item in reversed(sessions):
        reached = None
        for place in item.files.trainer_logs:
            log = _of_session(read_metrics(place, kind="log"), item.number)
            lines, lost = log.counters.lines, log.counters.lost_lines
            begins = next(
                (moment.step for moment, _, _ in log.measurements() if moment.kind is Kind.STEP), None
            )
            table = fill(table, log) if table.moments else _keeping(continuous(log), table)
            table.counters.lines += lines
            table.counters.lost_lines += lost
            if begins is not None:
                reached = begins if reached is None else min(reached, begins)
        if reached is not None and (reached == 0 or (first is not None and reached <= first)):
            break
    return table


def _keeping(log: MetricsTable, table: MetricsTable) -> MetricsTable:
    """A log's measurements, where a run's events hold none; what happened is theirs to tell too."""
    log.counters.lines, log.counters.lost_lines = table.counters.lines, table.counters.lost_lines
    log.events = [*table.events, *log.events]
    return log


def _of_session(log: MetricsTable, number: int | None) -> MetricsTable:
    """A log whose last part is session `number`: the trainer's log goes on from session to session."""
    last = max((border.session for border in log.borders()), default=None)
    if number is not None:
        log.renumber(lambda old: number if old is None or last is None else max(1, number - last + old))
    return log
