"""`kgtts metrics`."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator import formatting, untrusted
from orchestrator.cli.context import load
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.metrics import MetricsTable, Series

_STDIN = "-"


@click.command(short_help="Losses, rates and times of a run or a log, as a table")
@click.argument("source", required=False, metavar="[RUN | OWNER/SLUG[/VERSION] | FILE | DIR | -]")
@click.option("--csv", "as_csv", is_flag=True, help="Print every value as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print every value as JSON for programs.")
def metrics(source: str | None, *, as_csv: bool, as_json: bool) -> None:
    """Read the measurements of a pulled run, or of any log of Coqui's trainer.

    A run's sessions make one series. FILE is a metrics.jsonl, a trainer_0_log.txt, Kaggle's JSON log, or
    what was saved from a notebook; - reads one from standard input. Nothing is asked of Kaggle.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two formats; give one of them.")
    from orchestrator.metrics.export import csv_text, json_text  # noqa: PLC0415  # Start-up.

    name, table = _read(source)
    if not len(table):
        lost, lines = table.counters.lost_lines, table.counters.lines
        why = f": {lost:,} of its {lines:,} lines are torn, or no UTF-8 text" if lost else ""
        raise UsageError(f"{name} holds no measurements{why}.", hint="a run has some from its first steps on")
    if as_csv:
        for text in csv_text(table):
            click.echo(text, nl=False)
    elif as_json:
        for text in json_text(table, {"source": name}):
            click.echo(text, nl=False)
    else:
        _summarise(name, table)


def _read(source: str | None) -> "tuple[str, MetricsTable]":
    """The table of what was named, and how to call it."""
    from orchestrator.metrics import continuous, read_metrics, read_run  # noqa: PLC0415  # Start-up.
    from orchestrator.results import Results  # noqa: PLC0415  # As above.

    if source == _STDIN:
        return "standard input", continuous(read_metrics(sys.stdin.buffer))
    place = None if source is None else Path(source)
    if place is not None and place.is_dir():
        return str(place), read_run(place)
    if place is not None and place.exists():  # A shell's <(zcat log.gz) is a pipe.
        return str(place), continuous(read_metrics(place))
    settings = load(None, ()).settings
    sessions = Results(Path(settings.pull.to)).find(source, settings.kernel.slug)
    return sessions[-1].run or str(sessions[-1].folder), read_run(sessions)


def _summarise(name: str, table: "MetricsTable") -> None:
    from orchestrator.metrics import find_warnings  # noqa: PLC0415  # As above.

    all_series = table.series()
    reached = max(step for series in all_series.values() for step in series.steps)
    sessions = len(table.session_starts())
    click.secho(untrusted.one_line(name), bold=True)
    click.echo(
        f"{len(table):,} values up to step {max(0, reached):,}"
        + (f", in {formatting.counted(sessions, 'session')}" if sessions else "")
        + (f"; best model at step {table.best_steps()[-1]:,}" if table.best_steps() else "")
    )
    click.echo(
        f"\n{'name':<28} {'split':<6} {'values':>7} {'first':>11} {'last':>11} {'lowest':>11}  at step"
    )
    for (_, split), series in sorted(all_series.items(), key=lambda item: (item[0][1] != "eval", item[0])):
        click.echo(f"{series.name[:28]:<28} {split:<6} {len(series):>7} {_figures(series)}".rstrip())
    click.echo()
    for finding in find_warnings(table):
        click.secho(f"⚠ {untrusted.one_line(finding.message)}", fg="yellow")
    counters = table.counters
    if counters.repeated:
        click.echo(f"{counters.repeated:,} measurements were made again by a later session and are left out.")
    if counters.lost_lines:
        click.echo(f"{counters.lost_lines:,} of {counters.lines:,} lines are torn or garbled and were lost.")


def _figures(series: "Series") -> str:
    finite = [index for index, value in enumerate(series.values) if math.isfinite(value)]
    ends = f"{series.values[0]:>11.5g} {series.values[-1]:>11.5g}"
    if not finite:
        return ends
    lowest = min(finite, key=lambda index: series.values[index])
    where = f"{series.steps[lowest]:,}" if series.steps[lowest] >= 0 else ""
    return f"{ends} {series.values[lowest]:>11.5g}  {where}"
