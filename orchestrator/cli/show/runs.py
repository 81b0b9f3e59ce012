"""A run, its passes and its sessions: as lines for people, and as JSON for programs."""

import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import click

from kernel_template.contract import Stage
from orchestrator.formatting import counted, duration, hours, losses, moment, size, weekday
from orchestrator.models import Quota, SessionState, SessionSummary
from orchestrator.run.context import Target
from orchestrator.run.decide import RunState
from orchestrator.run.forecast import Forecast
from orchestrator.run.ledger import Ledger, PushOutcome
from orchestrator.run.plan import Ends, goes_on
from orchestrator.run.progress import Progress
from orchestrator.run.status import SessionReport
from orchestrator.untrusted import terminal_line

if TYPE_CHECKING:
    # They bring the whole machinery of a pass along, which `kgtts status` of a plain kernel does not need.
    from orchestrator.run.outlook import Outlook
    from orchestrator.run.passes import Pass
    from orchestrator.run.push import PushedSession

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
        click.echo(f"  {name:<11}{terminal_line(text)}")


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
    return f"{item.session:>2}  {span:<26} {duration(item.seconds):>14}  {item.kernel}  {item.reason}"


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
    row("page", report.target.url)
    for warning in progress.warnings:
        click.secho(f"  warning    {terminal_line(warning)}", fg="yellow")
    if report.history:
        click.echo("  sessions")
        for item in report.history:
            click.echo(f"    {session_line(item)}")
    if not report.is_latest:
        click.secho(
            f"  note       Kaggle has a newer version, {report.latest_version}, which is not of this run",
            fg="yellow",
        )


def print_next(report: SessionReport) -> None:
    """Print the end of a failed session's log, and the next command."""
    state, ref = report.status.state, report.target.ref
    if state.is_success:
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
        "url": report.target.url,
        "session": stamp.session if stamp else None,
        "history": [asdict(item) for item in report.history],
    }


def push_json(pushed: "PushedSession", ledger: Ledger, warnings: Sequence[str]) -> dict[str, Any]:
    """Give a push for programs; after `--wait`, the run's newest session."""
    first = pushed.target
    known = () if first.record is None else ledger.of_run(first.record.run_id)
    # A push that was refused while the run was waited for is no session.
    newest = next((record for record in known if record.outcome is PushOutcome.PUSHED), first.record)
    ref = newest.ref if newest is not None else first.ref
    return {
        "run": newest.run_id if newest is not None else None,
        "session": newest.number if newest is not None else None,
        "kernel": str(ref.kernel),
        "version": ref.version,
        "url": pushed.url if ref == first.ref else Target(ref, newest).url,
        "state": newest.state.value if newest is not None and newest.state else "queued",
        "warnings": list(warnings),
    }


def print_pass(done: "Pass") -> None:
    """Print what a pass saw and did, on a few lines."""
    click.echo(f"{click.style(done.state.value, bold=True)}  {done.decision.reason}")
    if done.pushed is not None:
        click.echo(f"  pushed     {done.pushed.target.ref}  {done.pushed.url}")
    for warning in done.warnings:
        click.secho(f"  warning    {warning}", fg="yellow")
    if done.collected is not None:
        transfer = done.collected.transfer
        total = size(sum(file.size for file in transfer.files))
        click.echo(f"  pulled     {total} to {done.collected.folder}{os.sep}")
        for item in transfer.refused:
            click.secho(f"  warning    {item.name!r} was left out: its name is not safe here", fg="yellow")
    if done.view is not None and done.view.history:
        spent = duration(sum(item.seconds for item in done.view.history))
        sessions = counted(len(done.view.history), "session")
        click.echo(f"  so far     step {done.view.global_step} in {sessions}, {spent}")


def pass_json(done: "Pass") -> dict[str, Any]:
    """Give a pass for programs; `done` and `over` say that no pass will push another session."""
    view = done.view
    run, session, kernel = None, None, None
    if view is not None:
        run, session, kernel = view.newest.stamp.id, view.newest.stamp.session, str(view.newest.ref)
    if done.pushed is not None and done.pushed.target.record is not None:
        record = done.pushed.target.record
        run, session, kernel = record.run_id, record.number, str(record.ref)
    return {
        "run": run,
        "state": done.state.value,
        "reason": done.decision.reason,
        "done": done.state.value == "done",
        "over": done.state.is_over,
        "session": session,
        "kernel": kernel,
        "global_step": view.global_step if view is not None else 0,
        "pushed": done.pushed is not None,
        "warnings": list(done.warnings),
        "pulled": str(done.collected.folder) if done.collected is not None else None,
        "history": [
            {
                "session": item.session,
                "kernel": item.kernel,
                "from_step": item.from_step,
                "to_step": item.to_step,
                "reason": item.reason,
                "seconds": item.seconds,
            }
            for item in (view.history if view is not None else ())
        ],
    }


def quota_line(week: Quota) -> str:
    """Write the week's GPU hours: what is left, and when they refresh."""
    refresh = f", refreshes {weekday(week.refreshes_at)}" if week.refreshes_at is not None else ""
    return f"{hours(week.left)} of {hours(week.allowed)} left{refresh}"


def forecast_line(ahead: Forecast) -> str:
    """Write what is left of a run, without a full stop: epochs, sessions, GPU hours, and when it is done."""
    epochs = f"{ahead.epochs:,.5g} epoch{'' if ahead.epochs == 1 else 's'}"
    sessions = counted(ahead.sessions, "session")
    when = (
        f"done about {moment(ahead.done_at)} at this pace and quota"
        if ahead.done_at is not None
        else "with this quota it cannot be said when it will be done"
    )
    return f"{epochs} in {sessions}, {hours(ahead.gpu_time)}; {when}"


def ends_in_words(found: Ends) -> tuple[str | None, str | None]:
    """Write when the target is reached and when the session ends; None for what is not known."""
    session = None if found.session_s is None else f"ends in at most {duration(found.session_s)}"
    if found.target_s is not None and found.target_s < 1:
        return "reached", session
    if found.target_s is not None:
        return f"in about {duration(found.target_s)}, within this session", session
    if found.sessions is None:
        return None, session
    more = counted(found.sessions, "more session")
    if found.later is None:
        return f"needs {more}; with this quota it cannot be said when", session
    return f"about {found.later:%a %d %b %H:%M} UTC, {more}", session


def what_next(outlook: "Outlook | None", progress: Progress) -> str | None:
    """Write what happens to the run after a session that ended well; None if nothing does.

    Args:
        outlook: the run's; None if kgtts.toml is about another run.
        progress: the session's, whose own last word then has to do.
    """
    decision = None if outlook is None else outlook.decision
    if decision is None:
        return "continues: `kgtts watch` starts its next session" if goes_on(progress) else None
    if decision.state is RunState.READY:
        return f"continues: {decision.reason} `kgtts watch` or `kgtts sync` starts it."
    if decision.state is RunState.RUNNING:
        return f"continues already: {decision.reason} `kgtts watch` follows it."
    return f"{decision.state}: {decision.reason}"


def outlook_json(outlook: "Outlook | None") -> dict[str, Any]:
    """Give the outlook for programs; times are in seconds."""
    quota, ahead = (None, None) if outlook is None else (outlook.quota, outlook.forecast)
    return {
        "quota": None
        if quota is None
        else {
            "left_s": quota.left.total_seconds(),
            "allowed_s": quota.allowed.total_seconds(),
            "refreshes_at": quota.refreshes_at,
        },
        "forecast": None
        if ahead is None
        else {
            "epochs": ahead.epochs,
            "sessions": ahead.sessions,
            "gpu_s": ahead.gpu_time.total_seconds(),
            "done_at": ahead.done_at,
        },
    }
