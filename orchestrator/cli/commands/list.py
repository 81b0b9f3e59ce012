"""`kgtts list`: the runs that were started from this machine."""

from typing import Any

import click

from orchestrator.cli.context import json_option, print_json, workbench
from orchestrator.cli.show.table import print_table
from orchestrator.formatting import duration
from orchestrator.models import KernelInfo, SessionSummary
from orchestrator.run.ledger import SessionRecord


@click.command("list")
@click.option("--all", "everything", is_flag=True, help="Ask Kaggle for all kernels of your account.")
@json_option
def list_runs(*, everything: bool, as_json: bool) -> None:
    """List the sessions of the runs that were started from this machine, newest first."""
    with workbench() as bench:
        rows = (
            [_kernel_row(item) for item in bench.kaggle.my_kernels()]
            if everything
            else [_session_row(item, bench.ledger.summary(item)) for item in bench.ledger.all()]
        )
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows, without=("message",))  # Sentences do not fit a table; --json has them.
    elif everything:
        click.echo("Your account has no kernels. Next: kgtts push")
    else:
        click.echo("No run was started from this machine. Next: kgtts push, or kgtts list --all")


def _kernel_row(item: KernelInfo) -> dict[str, Any]:
    return {
        "kernel": str(item.ref),
        "version": item.latest_version,
        "title": item.title,
        "last_run": item.last_run,
    }


def _session_row(item: SessionRecord, did: SessionSummary | None) -> dict[str, Any]:
    return {
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
