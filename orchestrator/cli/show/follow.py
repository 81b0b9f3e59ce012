"""Showing a session as it goes: a page on a terminal, one plain line per change elsewhere."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from kernel_template.contract import Stage
from orchestrator import formatting, untrusted
from orchestrator.cli.context import Interrupted
from orchestrator.cli.github.outputs import in_actions
from orchestrator.cli.show import words
from orchestrator.errors import RunFailedError, WaitTimeoutError
from orchestrator.kaggle.logs import LogLine
from orchestrator.models import SessionState, SessionStatus
from orchestrator.run.follow import FollowEvent
from orchestrator.run.progress import Progress, advance, follow, parse_event

if TYPE_CHECKING:
    from orchestrator.cli.show.live import LivePage
    from orchestrator.cli.show.live_background import Surroundings
    from orchestrator.ports import Clock
    from orchestrator.run.campaign import Campaign, Target

_TAIL = 12


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a followed session ended: its last state, its progress and the end of its log."""

    target: "Target"
    status: SessionStatus
    progress: Progress
    tail: Sequence[str]

    def failure(self) -> RunFailedError:
        """The error for a session that ended badly: cause first, then the end of its log."""
        cause = self.progress.end_message or self.status.failure_message or "it gave no reason"
        end = "".join(f"\n  | {line}" for line in map(untrusted.terminal_line, self.tail) if line.strip())
        return RunFailedError(
            f"{self.target.ref} ended with {self.status.state}: {untrusted.terminal_line(cause)}{end}",
            hint=f"kgtts logs {self.target.ref}",
        )


def follow_to_end(
    campaign: "Campaign",
    target: "Target",
    *,
    timeout: timedelta | None = None,
    quiet: bool = False,
    surroundings: "Surroundings | None" = None,
) -> SessionEnd:
    """Follow a session to its end with its progress on the screen; one that failed is an error.

    Raises:
        RunFailedError: the session failed; its cause and the end of its log are said.
        WaitTimeoutError, Interrupted: as `follow_session`.
    """
    end = follow_session(campaign, target, timeout=timeout, quiet=quiet, surroundings=surroundings)
    if not end.status.state.is_success:
        raise end.failure()
    return end


def follow_session(
    campaign: "Campaign",
    target: "Target",
    *,
    timeout: timedelta | None = None,
    quiet: bool = False,
    surroundings: "Surroundings | None" = None,
) -> SessionEnd:
    """Follow a session to its end with its progress on the screen, however it ends.

    Args:
        campaign: what follows.
        target: the session.
        timeout: how long to wait; None waits until the end.
        quiet: show nothing (the caller prints JSON).
        surroundings: reads what a terminal's page shows of the run around the session.

    Raises:
        WaitTimeoutError: the time is over; the session goes on.
        Interrupted: Ctrl-C; the session goes on.
    """
    progress, tail, status = Progress(), list[str](), SessionStatus(SessionState.QUEUED)
    try:
        with _display(target, surroundings, quiet=quiet) as show:
            for event in campaign.follow(target, timeout=timeout):
                if isinstance(event, SessionStatus):
                    status = event
                elif (told := parse_event(event.text)) is None:
                    tail = [*tail[-_TAIL:], event.text]
                else:
                    progress = advance(progress, told)
                show(event, progress)
    except KeyboardInterrupt:
        raise _goes_on(target) from None
    return SessionEnd(target, status, progress, tail)


def print_log(campaign: "Campaign", target: "Target", *, timeout: timedelta | None = None) -> None:
    """Print the log's lines as they come, without the kernel's own events.

    Raises:
        RunFailedError, WaitTimeoutError, Interrupted: as `follow_to_end`.
    """
    progress, status = Progress(), SessionStatus(SessionState.QUEUED)
    try:
        for event in campaign.follow(target, timeout=timeout):
            if isinstance(event, SessionStatus):
                status = event
                if not event.state.is_terminal:
                    click.secho(f"{target.ref} is {event.state}", fg=words.colour(event.state), err=True)
            else:
                progress = follow(progress, event.text)
                echo_line(event)
    except KeyboardInterrupt:
        raise _goes_on(target) from None
    if not status.state.is_success:
        raise SessionEnd(target, status, progress, []).failure()


def echo_line(line: LogLine) -> None:
    """Print a line of a log; the kernel's events are for programs."""
    if parse_event(line.text) is None:
        if sys.stdout.isatty():
            click.echo(untrusted.terminal_colours(line.text))
        else:
            click.echo(untrusted.workflow_log_line(line.text) if in_actions() else line.text)


def pause(span: timedelta, left: timedelta | None, clock: "Clock") -> None:
    """Let `span` pass while nothing runs, or what is `left` of the person's patience.

    Raises:
        WaitTimeoutError: the patience is over.
        Interrupted: Ctrl-C.
    """
    try:
        clock.sleep(min(span, left).total_seconds() if left is not None else span.total_seconds())
    except KeyboardInterrupt:
        raise Interrupted("Stopped waiting.", hint="kgtts watch comes back to it") from None
    if left is not None and left <= span:
        raise WaitTimeoutError(
            "The time to wait is over before another session could start.", hint="kgtts watch"
        )


def _goes_on(target: "Target") -> Interrupted:
    return Interrupted(
        f"Stopped watching; {target.ref} goes on.", hint=f"kgtts status {target.ref} --watch comes back to it"
    )


@contextmanager
def _display(
    target: "Target", surroundings: "Surroundings | None", *, quiet: bool
) -> Iterator[Callable[[FollowEvent, Progress], None]]:
    """Gives what shows each event of a session, with the progress after it."""
    if quiet:
        yield lambda _event, _progress: None
    elif sys.stdout.isatty() and (page := _page(target, surroundings)) is not None:
        with ExitStack() as shown:
            yield _on_page(page, shown)
    else:
        yield _lines(target)


def _lines(target: "Target") -> Callable[[FollowEvent, Progress], None]:
    """One line for each state and stage, and one for each epoch or five per cent of the way."""
    shown: set[object] = set()

    def show(event: FollowEvent, progress: Progress) -> None:
        if isinstance(event, SessionStatus):
            if not event.state.is_terminal:
                click.echo(f"{target.ref} is {event.state}")
            return
        if parse_event(event.text) is None:
            return
        fraction = progress.fraction
        mark = (progress.stage, progress.epoch, fraction is not None and int(fraction * 20))
        if mark not in shown and progress.end_status is None:
            shown.add(mark)
            click.echo(summary(progress))

    return show


def _page(target: "Target", surroundings: "Surroundings | None") -> "LivePage | None":
    # rich costs a tenth of a second to import; only a watched run pays it.
    from rich.console import Console  # noqa: PLC0415

    from orchestrator.cli.show.live import LivePage, can_show  # noqa: PLC0415
    from orchestrator.ports import SystemClock  # noqa: PLC0415

    console = Console(highlight=False)
    return LivePage(str(target.ref), SystemClock(), surroundings, console) if can_show(console) else None


def _on_page(page: "LivePage", shown: ExitStack) -> Callable[[FollowEvent, Progress], None]:
    """Opens the page with the first news that the session is not over; one that has ended needs none."""
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


def steps(progress: Progress) -> str:
    """Epoch, step, losses and time left on one line; empty before the first step."""
    if progress.epoch is None:
        return ""
    parts = words.position(progress)
    if progress.losses:
        parts.append(formatting.losses(progress.losses))
    if progress.eta_s is not None:
        parts.append(f"{formatting.duration(progress.eta_s)} left")
    return ", ".join(parts)


def summary(progress: Progress) -> str:
    """The stage and, while training, the steps."""
    elapsed = "" if progress.elapsed_s is None else f"[{formatting.duration(progress.elapsed_s)}] "
    detail = steps(progress) if progress.stage == Stage.TRAIN else ""
    # Names of losses come from the log, too.
    stage = progress.stage or "starting"
    return elapsed + untrusted.terminal_line(f"{stage}: {detail}" if detail else stage)
