"""What commands that upload ask and show: questions at a terminal only, and a bar of what was sent."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.show.console import folded, is_dumb
from orchestrator.formatting import size
from orchestrator.models import Sending

_WORTH_A_BAR = 1 << 20


def asks() -> bool:
    """Whether somebody can answer: a question to a pipe or a job would wait for ever."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def choose(question: str, choices: Sequence[str], default: str) -> str:
    """Ask for one of a few answers; any case will do."""
    answer: str = click.prompt(
        folded(f"{question} ({', '.join(choices)})"),
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
    is_drawn = sys.stderr.isatty() and not is_dumb()
    bars = list[Any]()

    def sent(count: int) -> None:
        """Begin to show it with the first bytes: often there is nothing to send."""
        if not bars and is_drawn:
            label = f"Uploading {size(total)}"
            bars.append(stack.enter_context(click.progressbar(length=total, label=label, file=sys.stderr)))
        elif not bars:
            click.echo(f"Up to {size(total)} to upload.", err=True)
            bars.append(None)
        if bars[0] is not None:
            bars[0].update(count)

    def say(words: str) -> None:
        """Say it on a line of its own, behind the bar if there is one."""
        if bars and bars[0] is not None:
            bars[0].update(bars[0].length - bars[0].pos)  # All is sent, which was less than was to be sent.
            click.echo(f"\n{words}", err=True, nl=False)
        else:
            click.echo(words, err=True)

    with ExitStack() as stack:
        yield Sending(sent if total >= _WORTH_A_BAR else lambda _count: None, home / "uploads", say)
