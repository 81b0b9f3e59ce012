"""`kgtts report`: a run as a page to look at, to listen to and to send around."""

from pathlib import Path

import click

from orchestrator.cli.context import complete_run_or_path, open_option, out_option, pulled, recordings_option
from orchestrator.cli.places import brought_from, place_option
from orchestrator.cli.show.console import print_page, warn, writing
from orchestrator.formatting import counted
from orchestrator.metrics.sources import find_sessions
from orchestrator.report import read_report, write_report

_NAME = "report.html"


@click.command()
@click.argument("source", required=False, metavar="[RUN | DIR]", shell_complete=complete_run_or_path)
@place_option
@out_option(f"{_NAME} beside the run's sessions")
@open_option
@recordings_option
def report(
    source: str | None, *, place: str | None, out: Path | None, show: bool, recordings: Path | None
) -> None:
    """Write one HTML file about a downloaded run. It works offline and on a phone, and can be sent around.

    It shows a summary, warnings, how the test sentences sounded over time, curves, resource use, sessions,
    and settings with what differs from the run before. Needs the extra `report`.
    """
    if place is not None:
        source = brought_from(place, source)
    sessions, folder = find_sessions(source, *pulled())
    data = read_report(sessions, recordings=recordings)
    path = out or folder / _NAME
    with writing(out):
        write_report(data, path)
    print_page(path, show=show)
    if data.notices:
        warn(f"The page has {counted(len(data.notices), 'warning')}.")
