"""`kgtts votes`: count what people chose in blind tests."""

import sys
from pathlib import Path

import click

from orchestrator import untrusted
from orchestrator.cli.context import json_option, print_json
from orchestrator.cli.show.console import warn
from orchestrator.cli.show.runs import row
from orchestrator.cli.show.table import print_table
from orchestrator.errors import UsageError
from orchestrator.formatting import counted
from orchestrator.report.votes import Tally, count_votes, read_ballots, tally_json, tally_words

_STDIN = "-"
_BIASED = 0.1  # The first one on the page was chosen so much more often than half, or less often.


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@json_option
def votes(files: tuple[str, ...], *, as_json: bool) -> None:
    """Count the answers to blind tests that `kgtts compare --blind` wrote.

    FILE holds one or more results as people copied or saved them, with any text around: a mail, a chat. A
    single - reads standard input. Answers to different tests are counted apart.
    """
    ballots = [ballot for name in files for ballot in read_ballots(name, _text(name))]
    tallies = count_votes(ballots)
    if as_json:
        print_json([tally_json(tally) for tally in tallies])
        return
    if (twice := len(ballots) - sum(tally.people for tally in tallies)) > 0:
        warn(f"{counted(twice, 'result')} came twice; of each person the last one counts.", err=True)
    for number, tally in enumerate(tallies):
        if number:
            click.echo()
        _print(tally)


def _text(name: str) -> str:
    if name == _STDIN:
        return sys.stdin.buffer.read().decode("utf-8-sig", "replace")
    data = untrusted.read_bytes(Path(name))
    if data is None:
        raise UsageError(
            f"{name} cannot be read as a file of results.", hint="name files that people sent you"
        )
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")


def _print(tally: Tally) -> None:
    click.secho(tally_words(tally), bold=True)
    row("question", tally.question)
    for letter, name in zip("AB", tally.names, strict=True):
        row(letter, name)
    rows = [
        {"person": name, **{choice: votes[choice] for choice in ("A", "same", "B")}}
        for name, votes in tally.listeners
    ]
    print_table(rows, {"person": None, "A": 6, "same": 6, "B": 6})
    if abs(tally.first - 0.5) > _BIASED:  # Half of the votes.
        more = "more" if tally.first > 0.5 else "less"  # noqa: PLR2004
        click.echo(
            f"The one that came first was chosen {more} often than the second ({tally.first:.0%}). "
            "Each voice came first in half of the sentences, so that does not change the result."
        )
