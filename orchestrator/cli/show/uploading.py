"""What commands that upload ask and show: questions at a terminal only, and a bar of what was sent."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from orchestrator.cli.show.console import is_dumb
from orchestrator.formatting import size
from orchestrator.models import Sending

_WORTH_A_BAR = 1 << 20


def asks() -> bool:
    """Whether somebody can answer: a question to a pipe or a job would wait for ever."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def choose(question: str, choices: Sequence[str], default: str) -> str:
    """Ask for one of a few answers; any case will do."""
    answer: str = click.prompt(
        f"{question} ({', '.join(choices)})",
        default=default,
        show_choices=False,
        type=click.Choice(choices, case_sensitive=False),
    )
    return answer


@contextmanager
def sending_bar(total: int, home: Path) -> Iterator[Sending]:
    """Show at a terminal how much was sent; an upload that breaks off is remembered in `home`.

    Args:
        total: bytes to send, about: an archive is smaller than its files.
        home: kgtts's own folder on this machine.
    """
    unfinished = home / "uploads"
    if total < _WORTH_A_BAR or not sys.stderr.isatty() or is_dumb():
        if total >= _WORTH_A_BAR:
            click.echo(f"Up to {size(total)} to upload.", err=True)
        yield Sending(unfinished=unfinished, say=lambda words: click.echo(words, err=True))
        return
    with click.progressbar(length=total, label=f"Uploading {size(total)}", file=sys.stderr) as bar:
        # A line of its own for what is said meanwhile, behind the bar.
        yield Sending(bar.update, unfinished, lambda words: click.echo(f"\n{words}", err=True, nl=False))
