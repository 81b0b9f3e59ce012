"""`kgtts list`: the runs that were started from this machine."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.context import data_folder, json_option, ledger, load, print_json, workbench
from orchestrator.cli.show.console import warn
from orchestrator.cli.show.table import print_table
from orchestrator.errors import KgttsError
from orchestrator.formatting import counted, duration
from orchestrator.models import KernelInfo, SessionSummary
from orchestrator.results import Results
from orchestrator.run.ledger import SessionRecord
from orchestrator.run.listing import refreshed
from orchestrator.run.repair import repair as repair_ledger

if TYPE_CHECKING:
    from orchestrator.run.view import SessionView

# What fits 80 columns, and how wide each may be; None takes what the others leave. --json has the rest.
_SESSION_COLUMNS = {"slug": None, "run": 8, "session": 7, "state": 12, "pushed": 12, "steps": 15}
_KERNEL_COLUMNS = {"kernel": None, "version": 7, "title": 20, "last_run": 12}


@click.command("list")
@click.option("--all", "everything", is_flag=True, help="Ask Kaggle for all kernels of your account.")
@click.option("--repair", is_flag=True, help="Make a new ledger if it is damaged; the old file is kept.")
@json_option
def list_runs(*, everything: bool, repair: bool, as_json: bool) -> None:
    """List the sessions of the runs that were started from this machine, or trained on it, newest first.

    Sessions that had not ended when they were last seen are looked at again. Without a connection or a login
    the list shows what this machine remembers, and says so.
    """
    if repair:
        _repair()
    if everything:
        with workbench() as bench:
            rows = [_kernel_row(item) for item in bench.kaggle.my_kernels()]
    else:
        with ledger() as known:
            records, stale = refreshed(known.all(), workbench())
            rows = [_session_row(item, known.summary(item)) for item in records]
        if here := _here():
            rows = sorted([*rows, *map(_row_here, here)], key=_when, reverse=True)
        if stale is not None:
            warn(f"The states shown are the last known ones: {stale.message}", err=True)
    if as_json:
        print_json(rows)
    elif rows and everything:
        print_table(rows, _KERNEL_COLUMNS)
    elif rows:
        whole = {name: None for name in rows[0] if name != "message"}  # A sentence does not fit a table.
        print_table(rows, _SESSION_COLUMNS if sys.stdout.isatty() else whole)
    elif everything:
        click.echo("Your account has no kernels. Next: kgtts push")
    else:
        click.echo("No run was started from this machine. Next: kgtts push, or kgtts list --all")


def _here() -> "list[SessionView]":
    """Give the sessions on this machine that ran outside Kaggle; none if the settings cannot be read."""
    try:
        results = Results(Path(load().settings.pull.to))
    except KgttsError:
        return []
    if not results.slugs:
        return []
    from orchestrator.run.elsewhere import all_here  # noqa: PLC0415 - slow, and most folders have no results.

    return all_here(results)


def _when(row: dict[str, Any]) -> float:
    pushed = row["pushed"]
    return pushed.timestamp() if isinstance(pushed, datetime) else 0.0


def _row_here(item: "SessionView") -> dict[str, Any]:
    history = () if item.result is None else item.result.history
    did = next((summary for summary in history if summary.session == item.stamp.session), None)
    return {
        "slug": item.ref.slug,
        "run": item.stamp.id,
        "session": item.stamp.session,
        "kernel": str(item.ref.kernel),
        "version": item.ref.version,
        "state": item.status.state.value,
        "pushed": item.started,
        "steps": f"{did.from_step}-{did.to_step}" if did else None,
        "time": duration(did.seconds) if did else None,
        "ended": item.reason,
        "message": item.cause,
    }


def _repair() -> None:
    place = data_folder() / "ledger.db"
    with workbench() as bench:
        done = repair_ledger(place, bench.kaggle, bench.clock)
    if done is None:
        click.echo(f"{place} is in order.", err=True)
        return
    click.echo(
        f"Made a new {place}: {counted(done.kept, 'session')} from the old one, {done.found} more from "
        f"Kaggle. The old one is {done.aside}.",
        err=True,
    )


def _kernel_row(item: KernelInfo) -> dict[str, Any]:
    return {
        "kernel": str(item.ref),
        "version": item.latest_version,
        "title": item.title,
        "last_run": item.last_run,
    }


def _session_row(item: SessionRecord, did: SessionSummary | None) -> dict[str, Any]:
    return {
        "slug": item.ref.base.slug,
        "run": item.run_id,
        "session": item.number,
        "kernel": str(item.ref.kernel),
        "version": item.ref.version,
        "state": item.state.value if item.state else item.outcome.value,
        "pushed": item.pushed_at,
        "steps": f"{did.from_step}-{did.to_step}" if did else None,
        "time": duration(did.seconds) if did else None,
        "ended": did.reason if did else None,
        "message": item.message,
    }
