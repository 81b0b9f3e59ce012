"""A run, its passes and its sessions: as lines for people, and as JSON for programs."""

from dataclasses import asdict, fields
from typing import Any

import click

from kernel_template.contract import Stage
from orchestrator.cli.show.console import folded
from orchestrator.formatting import duration, hours, losses, weekday
from orchestrator.models import Quota, SessionState, SessionSummary
from orchestrator.run.progress import Progress
from orchestrator.run.status import SessionReport
from orchestrator.untrusted import terminal_line

_COLOURS = {
    SessionState.QUEUED: "yellow",
    SessionState.RUNNING: "cyan",
    SessionState.COMPLETE: "green",
    SessionState.ERROR: "red",
}


def colour(state: SessionState) -> str:
    """Give the colour of a state."""
    return _COLOURS.get(state, "magenta")


def row(name: str, text: str | None) -> None:
    """Print one fact with its name; nothing if it is not known."""
    if text:
        click.echo(f"  {name:<11}{folded(terminal_line(text), start=13, indent=13)}")


def position(progress: Progress) -> list[str]:
    """Write where a training stands: epoch, step and global step, as far as they are known."""
    epochs = f" of {progress.epochs}" if progress.epochs else ""
    parts = [f"epoch {progress.epoch}{epochs}"]
    if progress.step and progress.steps_per_epoch:
        parts.append(f"step {progress.step} of {progress.steps_per_epoch}")
    if progress.global_step is not None:
        parts.append(f"global step {progress.global_step}")
    return parts


def steps(progress: Progress) -> str:
    """Write epoch, step, losses and time left on one line; empty before the first step."""
    if progress.epoch is None:
        return ""
    parts = position(progress)
    if progress.losses:
        parts.append(losses(progress.losses))
    if progress.eta_s is not None:
        parts.append(f"{duration(progress.eta_s)} left")
    return ", ".join(parts)


def summary(progress: Progress) -> str:
    """Write the stage and, while it trains, the steps."""
    elapsed = "" if progress.elapsed_s is None else f"[{duration(progress.elapsed_s)}] "
    detail = steps(progress) if progress.stage == Stage.TRAIN else ""
    # The names of losses come from the log, too.
    stage = progress.stage or "starting"
    return elapsed + terminal_line(f"{stage}: {detail}" if detail else stage)


def session_line(item: SessionSummary) -> str:
    """Write one session of a run on one line."""
    span = f"step {item.from_step} to {item.to_step}"
    return f"{item.session:>2}  {span:<26} {duration(item.seconds):>14}  {item.place}  {item.reason}"


def print_report(report: SessionReport) -> None:
    """Print one look at a session."""
    state, progress = report.status.state, report.progress
    elapsed = "" if progress.elapsed_s is None else f"  {duration(progress.elapsed_s)}"
    click.echo(f"{report.target.ref}  {click.style(state.value, fg=colour(state), bold=True)}{elapsed}")
    row("run", _which(report))
    row("stage", progress.stage if not state.is_terminal else None)
    row("progress", steps(progress))
    row("checkpoint", progress.checkpoint)
    row("ended", progress.end_message or report.status.failure_message)
    row("page", report.page)
    if report.stamp is not None and report.stamp.overrides:
        row("set", f"{', '.join(report.stamp.overrides)}  (by --set at a push)")
    for warning in progress.warnings:
        click.secho(f"  warning    {folded(terminal_line(warning), start=13, indent=13)}", fg="yellow")
    if report.history:
        click.echo("  sessions")
        for item in report.history:
            click.echo(f"    {terminal_line(session_line(item))}")
    if not report.is_latest:
        click.secho(
            f"  note       Kaggle has a newer version, {report.latest_version}, which is not of this run",
            fg="yellow",
        )


def print_next(report: SessionReport, *, pulled: bool = False, is_over: bool = True) -> None:
    """Print the end of a failed session's log, and the next command.

    Args:
        report: the session.
        pulled: whether its results are here.
        is_over: whether its run needs no further session.
    """
    state, ref = report.status.state, report.target.ref
    if state.is_success and pulled:
        click.echo(f"Next: {'kgtts report, or kgtts say TEXT' if is_over else 'kgtts watch'}")
    elif state.is_success:
        click.echo(f"Next: kgtts pull {ref}")
    elif state.is_terminal:
        for line in report.tail:
            click.echo(f"  | {terminal_line(line)}")
        click.echo(f"Next: kgtts logs {ref}")
    else:
        click.echo(f"Next: kgtts status {ref} --watch")


def _which(report: SessionReport) -> str:
    record, stamp = report.target.record, report.stamp
    if stamp is not None:
        return f"{stamp.id}, session {stamp.session}"
    return f"{record.run_id}, session {record.number}" if record else "not pushed from this machine"


def report_json(report: SessionReport) -> dict[str, Any]:
    """Give one look at a session, for programs."""
    # Not `asdict`, which copies deeply and cannot copy the read-only mapping of losses.
    progress = {item.name: getattr(report.progress, item.name) for item in fields(report.progress)}
    record, stamp = report.target.record, report.stamp
    return {
        "run": stamp.id if stamp else record.run_id if record else None,
        "kernel": str(report.target.ref.kernel),
        "version": report.target.ref.version,
        "state": report.status.state.value,
        "failure_message": report.status.failure_message,
        "latest_version": report.latest_version,
        "is_latest": report.is_latest,
        "progress": {
            **progress,
            "losses": dict(report.progress.losses),
            "fraction": report.progress.fraction,
        },
        "url": report.page,
        "session": stamp.session if stamp else None,
        "history": [asdict(item) for item in report.history],
    }


def quota_line(week: Quota) -> str:
    """Write the week's GPU hours: what is left, and when they refresh."""
    refresh = f", refreshes {weekday(week.refreshes_at)}" if week.refreshes_at is not None else ""
    return f"{hours(week.left)} of {hours(week.allowed)} left{refresh}"
