"""What a pass saw and did, for people on a few lines and for programs as JSON."""

import os
from typing import TYPE_CHECKING, Any

import click

from orchestrator import formatting

if TYPE_CHECKING:
    from orchestrator.run.passes import Pass


def print_pass(done: "Pass") -> None:
    """Say what a pass saw and did, on a few lines."""
    click.echo(f"{click.style(done.state.value, bold=True)}  {done.decision.reason}")
    if done.launched is not None:
        click.echo(f"  pushed     {done.launched.target.ref}  {done.launched.url}")
    for warning in done.warnings:
        click.secho(f"  warning    {warning}", fg="yellow")
    if done.collected is not None:
        size = formatting.size(sum(file.size for file in done.collected.transfer.files))
        click.echo(f"  pulled     {size} to {done.collected.folder}{os.sep}")
        for name in done.collected.transfer.refused:
            click.secho(f"  warning    {name!r} is not safe to write here and was left out", fg="yellow")
    if done.view is not None and done.view.history:
        spent = formatting.duration(sum(summary.seconds for summary in done.view.history))
        count = len(done.view.history)
        sessions = formatting.counted(count, "session")
        click.echo(f"  so far     step {done.view.global_step} in {sessions}, {spent}")


def as_dict(done: "Pass") -> dict[str, Any]:
    """A pass for programs; `done` says that no pass will push another session."""
    view = done.view
    stamp = view.newest.stamp if view is not None else None
    run, session, kernel = (
        (stamp.id, stamp.session, str(view.newest.ref)) if stamp and view else (None, None, None)
    )
    if done.launched is not None and done.launched.target.record is not None:
        record = done.launched.target.record
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
        "pushed": done.launched is not None,
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
