"""Show a session as it goes: a page on a terminal, elsewhere one plain line for each change."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.context import load, on_interrupt
from orchestrator.cli.github.outputs import in_actions
from orchestrator.cli.notifying import tell
from orchestrator.cli.show.console import shown
from orchestrator.cli.show.passes import print_pass, print_verdict
from orchestrator.cli.show.runs import colour, summary
from orchestrator.errors import LocalError, ServiceError
from orchestrator.kaggle.logs import LogLine
from orchestrator.models import SessionStatus
from orchestrator.ports import SystemClock
from orchestrator.results import Results
from orchestrator.run.context import RunContext, Target
from orchestrator.run.decide import RunState
from orchestrator.run.follow import FollowEvent
from orchestrator.run.look import Pass
from orchestrator.run.outlook import verdict_after
from orchestrator.run.plan import BackgroundReader, BackgroundSource
from orchestrator.run.progress import Progress, parse_event
from orchestrator.run.watch import SessionEnd, follow_to_end
from orchestrator.untrusted import terminal_colours, workflow_log_line

if TYPE_CHECKING:
    from orchestrator.cli.show.screen import LivePage
    from orchestrator.settings import Settings

OWN_WORDS = "kgtts"  # The stream of what kgtts says itself, among the lines of a log.
Show = Callable[[FollowEvent, Progress], None]


def follow_on_screen(
    bench: RunContext, target: Target, *, timeout: timedelta | None = None, quiet: bool = False
) -> SessionEnd:
    """Follow a session to its end with its progress on the screen, however it ends.

    Args:
        bench: reads the session.
        target: the session.
        timeout: how long to wait at most; None waits until the end.
        quiet: show nothing, as the caller prints JSON.

    Raises:
        WaitTimeoutError: the time is over; the session continues.
        Interrupted: Ctrl-C; the session continues.
    """
    around = BackgroundReader(bench, target.ref, _results)
    with _way_back(target), display(str(target.ref), around, quiet=quiet) as show:
        return follow_to_end(bench, target, show, timeout=timeout)


def print_log(bench: RunContext, target: Target) -> None:
    """Print the log's lines as they come, without the kernel's own events.

    Raises:
        RunFailedError: the session failed.
        Interrupted: Ctrl-C; the session continues.
    """

    def show(event: FollowEvent, _progress: Progress) -> None:
        if isinstance(event, LogLine):
            echo_line(event)
        elif not event.state.is_terminal:
            click.secho(f"{target.ref} is {event.state}", fg=colour(event.state), err=True)

    with _way_back(target):
        end = follow_to_end(bench, target, show)
    if not end.status.state.is_success:
        raise replace(end, tail=()).failure()  # Its log was just printed.


def echo_line(line: LogLine) -> None:
    """Print a line of a log; the kernel's events are for programs."""
    if parse_event(line.text) is None:
        text = line.text
        click.echo(
            terminal_colours(text)
            if sys.stdout.isatty()
            else workflow_log_line(text)
            if in_actions()
            else text
        )


@dataclass(frozen=True, slots=True)
class Screen:
    """Shows a watched run (a `Viewer`); with `quiet` only its warnings, as the caller prints JSON.

    With the settings in `tells`, each pass is notified as they say; by default none is.
    """

    bench: RunContext
    quiet: bool = False
    tells: "Settings | None" = None
    left_out: list[LocalError] = field(default_factory=list)

    def passed(self, done: Pass) -> None:
        """Print what the pass saw and did."""
        if done.collected is not None and (failure := done.collected.failure) is not None:
            self.left_out.append(failure)
        if not self.quiet:
            print_pass(done)
            if done.state.is_over:
                print_verdict(verdict_after(done.settings or load().settings, done))
            if done.state is RunState.DONE:
                click.echo('Next: kgtts say "আমি বাংলায় গান গাই।" to hear it; kgtts report --open for its curves')
        if self.tells is not None:
            tell(self.tells, done, verdict_after(self.tells, done), self.bench.clock.now())

    def unreachable(self, error: ServiceError) -> None:
        """Say that another pass will try."""
        click.secho(f"Warning: {shown(error.message)} The next pass tries again.", fg="yellow", err=True)

    def check(self) -> None:
        """Raise the error for files that were left out, if a pass left some out.

        Raises:
            LocalError: a pass left files out.
        """
        if self.left_out:
            raise self.left_out[0]

    def follow(self, target: Target, timeout: timedelta | None) -> SessionEnd:
        """Follow a session on the screen."""
        return follow_on_screen(self.bench, target, timeout=timeout, quiet=self.quiet)


def _way_back(target: Target) -> AbstractContextManager[None]:
    return on_interrupt(
        f"Stopped watching; {target.ref} goes on.",
        hint=f"`kgtts status {target.ref} --watch` comes back to it",
    )


@contextmanager
def display(name: str, around: BackgroundSource, *, quiet: bool = False) -> Iterator[Show]:
    """Give the function that shows each event of a session: on a page on a terminal, else line by line.

    Args:
        name: the session.
        around: gives the run around it.
        quiet: show nothing, as the caller prints JSON.
    """
    if quiet:
        yield lambda _event, _progress: None
    elif sys.stdout.isatty() and (page := _page(name, around)) is not None:
        with ExitStack() as shown:
            yield _on_page(page, shown)
    else:
        yield _lines(name)


def _lines(name: str) -> Show:
    """Print one line for each state and stage, and one for each epoch or five per cent of the way."""
    shown: set[object] = set()

    def show(event: FollowEvent, progress: Progress) -> None:
        if isinstance(event, SessionStatus):
            if not event.state.is_terminal:
                click.echo(f"{name} is {event.state}")
            return
        if event.stream == OWN_WORDS:
            click.echo(event.text, err=True)
        if parse_event(event.text) is None:
            return
        fraction = progress.fraction
        mark = (progress.stage, progress.epoch, fraction is not None and int(fraction * 20))
        if mark not in shown and progress.end_status is None:
            shown.add(mark)
            click.echo(summary(progress))

    return show


def _page(name: str, around: BackgroundSource) -> "LivePage | None":
    # rich costs a tenth of a second to import; only a watched run on a terminal pays it.
    from rich.console import Console  # noqa: PLC0415

    from orchestrator.cli.show.screen import LivePage, can_show  # noqa: PLC0415

    console = Console(highlight=False)
    if not can_show(console):
        return None
    return LivePage(name, SystemClock(), around, console)


def _results() -> Results:
    return Results(Path(load().settings.pull.to))


def _on_page(page: "LivePage", shown: ExitStack) -> Show:
    """Open the page with the first news that the session is not over; one that has ended needs none."""
    is_open = False

    def show(event: FollowEvent, _progress: Progress) -> None:
        nonlocal is_open
        if not is_open and isinstance(event, SessionStatus) and not event.state.is_terminal:
            shown.enter_context(page)
            is_open = True
            page.take(event)
            page.read_background()
        else:
            page.take(event)

    return show
