"""`kgtts compare`: two runs on one page."""

from pathlib import Path

import click

from orchestrator.cli.context import load, open_option, out_option, recordings_option
from orchestrator.cli.show.console import print_page, writing
from orchestrator.metrics.sources import find_sessions
from orchestrator.report import read_report, write_comparison
from orchestrator.results import Results

_NAME = "compare.html"


@click.command()
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@out_option(f"{_NAME} in this folder")
@open_option
@recordings_option
def compare(first: str, second: str, *, out: Path | None, show: bool, recordings: Path | None) -> None:
    """Write one HTML file with two downloaded runs: curves on the same axes, and their sound side by side.

    RUN is a run's id or its beginning, OWNER/SLUG[/VERSION], or a folder. Needs the extra `report`.
    """
    settings = load().settings
    one, other = (
        read_report(
            find_sessions(name, Results(Path(settings.pull.to)), settings.kernel.slug)[0],
            recordings=recordings,
        )
        for name in (first, second)
    )
    path = out or Path(_NAME)
    with writing(out):
        write_comparison(one, other, path)
    print_page(path, show=show)
