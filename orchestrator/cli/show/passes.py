"""A run's passes and its forecast: as lines for people, and as JSON for programs."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.show.console import folded, shown
from orchestrator.cli.show.runs import row
from orchestrator.formatting import counted, duration, hours, moment, size
from orchestrator.run.context import Target
from orchestrator.run.decide import RunState
from orchestrator.run.forecast import Forecast
from orchestrator.run.ledger import Ledger, PushOutcome
from orchestrator.run.look import Pass
from orchestrator.run.outlook import Outlook
from orchestrator.run.plan import Ends, goes_on
from orchestrator.run.progress import Progress
from orchestrator.run.push import PushedSession
from orchestrator.run.view import SessionView

if TYPE_CHECKING:
    from orchestrator.metrics import Verdict


def push_json(pushed: PushedSession, ledger: Ledger, warnings: Sequence[str]) -> dict[str, Any]:
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
        "url": pushed.url if ref == first.ref else Target(ref, newest).page(ledger.service),
        "state": newest.state.value if newest is not None and newest.state else "queued",
        "warnings": list(warnings),
    }


def print_pass(done: Pass) -> None:
    """Print what a pass saw and did, on a few lines."""
    reason = folded(shown(done.decision.reason), start=len(done.state.value) + 2, indent=2)
    click.echo(f"{click.style(done.state.value, bold=True)}  {reason}")
    if done.pushed is not None:
        click.echo(f"  pushed     {done.pushed.target.ref}  {shown(done.pushed.url)}")
    for warning in done.warnings:
        click.secho(f"  warning    {folded(shown(warning), start=13, indent=13)}", fg="yellow")
    if done.collected is not None:
        transfer = done.collected.transfer
        total = size(sum(file.size for file in transfer.files))
        click.echo(f"  pulled     {total} to {done.collected.folder}{os.sep}")
        for item in transfer.refused:
            click.secho(f"  warning    {item.name!r} was left out: its name is not safe here", fg="yellow")
    if done.view is not None and done.view.history:
        spent = duration(sum(item.seconds for item in done.view.history))
        sessions = counted(len(done.view.history), "session")
        click.echo(f"  so far     step {done.view.step_to_continue_from} in {sessions}, {spent}")


def pass_json(done: Pass) -> dict[str, Any]:
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
        "refused": [item.name for item in done.collected.transfer.refused] if done.collected else [],
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


def elsewhere_line(session: SessionView) -> str:
    """Write what is known of a session that ran outside Kaggle, without a full stop."""
    number, place = session.stamp.session, session.ref.place
    if not session.status.state.is_terminal:
        saved = f", step {session.step} is saved" if session.step else ""
        return f"session {number} trains on {place}{saved}"
    how = f"  ({session.reason})" if session.reason else ""
    return f"session {number} ran on {place}, up to step {session.step}{how}"


def print_verdict(verdict: "Verdict | None") -> None:
    """Print what the measurements say about the voice; nothing if they say nothing."""
    if verdict is not None:
        row("verdict", verdict.headline)
        row("", verdict.what_to_do)


def what_next(outlook: Outlook | None, progress: Progress) -> str | None:
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
        does = "follows it" if outlook is None or outlook.elsewhere is None else "waits for its end"
        return f"continues already: {decision.reason} `kgtts watch` {does}."
    return f"{decision.state}: {decision.reason}"


def outlook_json(outlook: Outlook | None) -> dict[str, Any]:
    """Give the outlook for programs; times are in seconds."""
    quota, ahead = (None, None) if outlook is None else (outlook.quota, outlook.forecast)
    newest = None if outlook is None else outlook.elsewhere
    return {
        "elsewhere": None
        if newest is None
        else {
            "session": newest.stamp.session,
            "place": newest.ref.place,
            "state": newest.status.state.value,
            "global_step": newest.step,
            "folder": None if newest.folder is None else str(newest.folder),
        },
        "quota": None
        if quota is None
        else {
            "left_s": quota.left.total_seconds(),
            "allowed_s": quota.allowed.total_seconds(),
            "refreshes_at": quota.refreshes_at,
        },
        "verdict": None if outlook is None or outlook.verdict is None else outlook.verdict.to_json(),
        "forecast": None
        if ahead is None
        else {
            "epochs": ahead.epochs,
            "sessions": ahead.sessions,
            "gpu_s": ahead.gpu_time.total_seconds(),
            "done_at": ahead.done_at,
        },
    }
