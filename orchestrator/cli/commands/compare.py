"""`kgtts compare`: two runs on one page."""

from pathlib import Path

import click

from orchestrator.cli.context import complete_run_or_path, open_option, out_option, pulled, recordings_option
from orchestrator.cli.show.console import print_page, writing
from orchestrator.metrics.sources import find_sessions
from orchestrator.report import read_report, write_comparison

_NAME = "compare.html"


@click.command()
@click.argument("first", metavar="RUN", shell_complete=complete_run_or_path)
@click.argument("second", metavar="RUN", shell_complete=complete_run_or_path)
@out_option(f"{_NAME} in this folder")
@open_option
@recordings_option
def compare(first: str, second: str, *, out: Path | None, show: bool, recordings: Path | None) -> None:
    """Write one HTML file with two downloaded runs: curves on the same axes, and their sound side by side.

    RUN is a run's slug, its id or the beginning of it, OWNER/SLUG[/VERSION], or a folder. Needs the extra
    `report`.
    """
    results, slug = pulled()
    one, other = (
        read_report(find_sessions(name, results, slug)[0], recordings=recordings) for name in (first, second)
    )
    path = out or Path(_NAME)
    with writing(out):
        write_comparison(one, other, path)
    print_page(path, show=show)
