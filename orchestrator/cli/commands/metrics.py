"""`kgtts metrics`: the measurements of a run or a log."""

import math
import sys

import click

from orchestrator.cli.context import complete_run_or_path, pulled
from orchestrator.cli.places import brought_from, place_option
from orchestrator.cli.show.console import fit, warn
from orchestrator.formatting import counted
from orchestrator.metrics import MetricsTable, Series, find_warnings
from orchestrator.metrics.export import csv_text, json_text
from orchestrator.metrics.sources import read_source
from orchestrator.untrusted import one_line


@click.command()
@click.argument(
    "source", required=False, metavar="[RUN | FILE | DIR | -]", shell_complete=complete_run_or_path
)
@place_option
@click.option("--csv", "as_csv", is_flag=True, help="Print every value as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print every value as JSON for programs.")
def metrics(source: str | None, *, place: str | None, as_csv: bool, as_json: bool) -> None:
    """Print the losses, learning rates and times of a downloaded run, or of any log of Coqui's trainer.

    All sessions of a run are joined into one series. FILE is a metrics.jsonl, a trainer_0_log.txt, Kaggle's
    JSON log, or a log that somebody saved from a notebook: text, Markdown, HTML, .ipynb or .docx. A single -
    reads one from standard input. Kaggle is not contacted.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two formats; give one of them.")
    if place is not None:
        source = brought_from(place, source)
    name, table = read_source(source, *pulled(), sys.stdin.buffer)
    if as_csv or as_json:
        for text in csv_text(table) if as_csv else json_text(table, {"source": name}):
            click.echo(text, nl=False)
    else:
        _summarise(name, table)


def _summarise(name: str, table: MetricsTable) -> None:
    all_series = table.series()
    reached = max(step for series in all_series.values() for step in series.steps)
    sessions = len(table.session_starts())
    click.secho(one_line(name), bold=True)
    click.echo(
        f"{counted(len(table), 'value')} up to step {max(0, reached):,}"
        + (f", in {counted(sessions, 'session')}" if sessions else "")
        + (f"; best model at step {table.best_steps()[-1]:,}" if table.best_steps() else "")
    )
    click.echo(
        f"\n{'name':<22} {'split':<5} {'values':>7} {'first':>10} {'last':>10} {'lowest':>10}  at step"
    )
    for (_, split), series in sorted(all_series.items(), key=lambda item: (item[0][1] != "eval", item[0])):
        click.echo(f"{fit(series.name, 22):<22} {split:<5} {len(series):>7} {_figures(series)}".rstrip())
    click.echo()
    for finding in find_warnings(table):
        warn(one_line(finding.message))
    counters = table.counters
    if counters.repeated:
        click.echo(f"Left out: {counters.repeated:,} measurements that a later session made again.")
    if counters.lost_lines:
        click.echo(f"Lost: {counters.lost_lines:,} of {counters.lines:,} lines, which could not be read.")


def _figures(series: Series) -> str:
    finite = [index for index, value in enumerate(series.values) if math.isfinite(value)]
    ends = f"{series.values[0]:>10.5g} {series.values[-1]:>10.5g}"
    if not finite:
        return ends
    lowest = min(finite, key=lambda index: series.values[index])
    where = f"{series.steps[lowest]:,}" if series.steps[lowest] >= 0 else ""
    return f"{ends} {series.values[lowest]:>10.5g}  {where}"
