"""Find and read what a person names: a run, a folder of it, a log file, or standard input."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import UsageError
from orchestrator.files import is_there
from orchestrator.metrics.findings import quoted_lines
from orchestrator.metrics.join import continuous
from orchestrator.metrics.reading import read_metrics
from orchestrator.metrics.runs import read_run
from orchestrator.metrics.table import MetricsTable
from orchestrator.results import PulledSession, Results, newest_run, pulled_sessions

STDIN = "-"


def find_sessions(
    source: str | None, results: Results, slug: str | None
) -> tuple[Sequence[PulledSession], Path]:
    """Find the downloaded sessions of a run, oldest first, and the folder that holds them.

    Args:
        source: a folder, a run's slug, its id or its beginning, or OWNER/SLUG[/VERSION]; None is the run of
            `slug`.
        results: all results on this machine.
        slug: what the settings call the run; None if there are none, and the newest run is meant.

    Raises:
        UsageError: nothing of it was downloaded, or `source` is a file.
    """
    place = _path(source)
    if place is not None and place.is_dir():
        sessions = newest_run(pulled_sessions(place))
        if not sessions:
            raise UsageError(
                f"{source} contains no session of a run.", hint="download one: kgtts pull --to DIR"
            )
        return sessions, place
    if place is not None and place.is_file():
        raise UsageError(
            f"{source} is a file, not a run.",
            hint=f"name the folder that holds it; `kgtts metrics {source}` reads a single log file",
        )
    sessions = results.find(source, slug)
    return sessions, sessions[-1].folder.parent


def read_source(
    source: str | None, results: Results, slug: str | None, stdin: BinaryIO
) -> tuple[str, MetricsTable]:
    """Read the measurements of a run, a folder, a log file, or of `stdin` if `source` is `-`.

    Args:
        source: as `find_sessions`, or a file or `-`.
        results: as `find_sessions`.
        slug: as `find_sessions`.
        stdin: standard input.

    Returns:
        What to call it, and the table.

    Raises:
        UsageError: nothing of it was downloaded, or it holds no measurements.
    """
    if source == STDIN:
        name, table = "standard input", continuous(read_metrics(stdin))
    elif source is None or (place := _path(source)) is None:
        sessions = results.find(source, slug)
        name, table = sessions[-1].run or str(sessions[-1].folder), read_run(sessions)
    elif place.is_dir():
        name, table = source, read_run(place)
    else:  # A file, or a pipe such as a shell's <(zcat log.gz).
        name, table = source, continuous(read_metrics(place))
    if not len(table):
        lost, lines = table.counters.lost_lines, table.counters.lines
        why = (
            f": {lost:,} of its {lines:,} lines could not be read: {quoted_lines(table.counters)}"
            if lost
            else ""
        )
        raise UsageError(
            f"{name} contains no measurements{why}.", hint="a run has measurements after its first steps"
        )
    return name, table


def _path(source: str | None) -> Path | None:
    """The file or folder that `source` names, or None."""
    return None if source is None or not is_there(place := Path(source)) else place
