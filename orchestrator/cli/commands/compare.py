"""`kgtts compare`: runs side by side, and blind tests of two voices."""

import secrets
from pathlib import Path

import click

from orchestrator.cli.context import (
    complete_run_or_path,
    json_option,
    open_option,
    out_option,
    print_json,
    pulled,
    recordings_option,
)
from orchestrator.cli.show.console import print_page, warn, writing
from orchestrator.cli.show.table import print_table
from orchestrator.formatting import counted
from orchestrator.metrics.sources import find_sessions
from orchestrator.report import read_report, write_comparison
from orchestrator.report.blind import MOST_SENTENCES, QUESTION, make_blind_test, write_blind_test
from orchestrator.report.comparison import compare_runs, comparison_json
from orchestrator.report.sounds import SoundBudget
from orchestrator.report.voices import BASE, SPEAKER, SpokenVoice, read_voice
from orchestrator.untrusted import one_line

_NAME, _BLIND_NAME = "compare.html", "ab.html"
_BOTH = 2


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_run_or_path)
@click.option(
    "--blind", is_flag=True, help="Write a page on which people choose between two voices unknown to them."
)
@click.option("--seed", type=click.IntRange(0), help="With --blind: draws the order. Default: by chance.")
@click.option(
    "--sentences",
    type=click.IntRange(1, MOST_SENTENCES),
    default=12,
    show_default=True,
    help="With --blind: how many sentences at most.",
)
@click.option("--ask", default=QUESTION, show_default=True, help="With --blind: the question on the page.")
@out_option(f"{_NAME} in this folder; with --blind {_BLIND_NAME}")
@open_option
@recordings_option
@json_option
def compare(  # The options of two pages.
    runs: tuple[str, ...],
    *,
    blind: bool,
    seed: int | None,
    sentences: int,
    ask: str,
    out: Path | None,
    show: bool,
    recordings: Path | None,
    as_json: bool,
) -> None:
    """Compare downloaded runs: their figures as a table, and two of them as a page with curves and sound.

    With --blind, write a page instead that asks people which of two voices sounds better. RUN@base is a run's
    base voice, RUN@speaker the speaker, RUN@1200 the voice at that step; with a single RUN, its base voice is
    A. `kgtts votes` counts the answers.

    RUN is a run's slug, its id or the beginning of it, OWNER/SLUG[/VERSION], or a folder. The page of two
    runs needs the extra `report`.
    """
    if blind:
        if as_json or recordings is not None:
            raise click.UsageError("--blind writes a page; it takes no --json and no --recordings.")
        _blind(runs, seed, sentences, ask, out, show=show)
        return
    if len(runs) < _BOTH:
        raise click.UsageError(
            "Name two runs or more; `kgtts compare --blind RUN` compares one with its base voice."
        )
    results, slug = pulled()
    found = [read_report(find_sessions(name, results, slug)[0], recordings=recordings) for name in runs]
    if as_json:
        print_json(comparison_json(found))
        return
    letters = [chr(ord("A") + number) for number in range(len(found))]
    rows = [
        {"": fact.name, **dict(zip(letters, fact.values, strict=True)), "B against A": fact.difference}
        for fact in compare_runs(found)
    ]
    more = ["B against A"] if any(row["B against A"] for row in rows) else []
    print_table(rows, dict.fromkeys(("", *letters, *more)))
    for letter, data in zip(letters, found, strict=True):
        click.echo(f"{letter}: {one_line(data.verdict.headline)}")
    if len(found) > _BOTH:
        if out is not None or show:
            warn("A page holds two runs; of more, only the table is printed.", err=True)
        return
    path = out or Path(_NAME)
    with writing(out):
        write_comparison(found[0], found[1], path)
    print_page(path, show=show)


def _blind(
    runs: tuple[str, ...], seed: int | None, sentences: int, ask: str, out: Path | None, *, show: bool
) -> None:
    """Write the page of a blind test."""
    if len(runs) > _BOTH:
        raise click.UsageError("A blind test has two voices; name one run or two.")
    names = runs if len(runs) == _BOTH else (f"{runs[0]}@{BASE}", runs[0])
    one, other = (_voice(name) for name in names)
    drawn = secrets.randbelow(2**32) if seed is None else seed
    test = make_blind_test(one, other, seed=drawn, most=sentences, question=ask)
    path = out or Path(_BLIND_NAME)
    with writing(out):
        write_blind_test(test, path)
    print_page(path, show=show)
    for letter, name in zip("AB", test.names, strict=True):
        click.echo(f"  {letter}          {one_line(name)}")
    click.echo(f"  sentences  {len(test.pairs)}; test {test.id}, seed {test.seed}")
    if test.left_out:
        left = counted(test.left_out, "sentence")
        click.echo(f"  left out   {left} that only one of them spoke")
    click.echo("Next: send the file to people, and count what they send back with `kgtts votes FILE...`")


def _voice(name: str) -> SpokenVoice:
    """Read a voice that is named as RUN or RUN@WHICH."""
    run, mark, which = name.rpartition("@")
    is_named = (
        mark
        and not Path(name).exists()
        and (which in (BASE, SPEAKER) or (which.isascii() and which.isdigit()))
    )
    results, slug = pulled()
    sessions = find_sessions(run if is_named else name, results, slug)[0]
    return read_voice(sessions, which if is_named else None, SoundBudget())
