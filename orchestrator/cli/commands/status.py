"""`kgtts status`, `list`, `quota` and `open`."""

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import click

from orchestrator import formatting, untrusted
from orchestrator.cli.context import json_option, print_json, run_argument, workbench
from orchestrator.cli.show import words
from orchestrator.errors import RunFailedError

if TYPE_CHECKING:
    from orchestrator.models import KernelInfo, SessionSummary
    from orchestrator.run.campaign import Report
    from orchestrator.run.ledger import SessionRecord

_PIPE_WIDTH = 200


@click.command(short_help="Show state and progress; --watch follows")
@run_argument
@click.option("--watch", is_flag=True, help="Follow the session to its end.")
@json_option
def status(run: str | None, *, watch: bool, as_json: bool) -> None:
    """Show the state and the progress of a run: the version that was pushed here, or the one named."""
    from orchestrator.cli.show import outlook  # noqa: PLC0415  # Start-up.
    from orchestrator.cli.show.follow import follow_to_end  # noqa: PLC0415  # As above.
    from orchestrator.cli.show.live_background import Surroundings  # noqa: PLC0415  # As above.

    with workbench() as bench:
        target = bench.campaign.find(run, default=bench.default_kernel)
        try:
            if watch:
                around = Surroundings(bench.kaggle, target.ref)
                follow_to_end(bench.campaign, target, quiet=as_json, surroundings=around)
        except RunFailedError:
            if as_json:  # A program learns the end from the document too, not from the exit code alone.
                print_json({**_as_json(bench.campaign.report(target)), **outlook.as_dict(None)})
            raise
        report = bench.campaign.report(target)
        # A kernel that is none of ours has no target, and reading the settings takes a tenth of a second.
        ahead = outlook.of_kernel(bench, report.target.ref) if report.stamp is not None else None
        if as_json:
            print_json({**_as_json(report), **outlook.as_dict(ahead)})
        else:
            _print(report)
            if ahead is not None and ahead.forecast is not None:
                click.echo(f"  left       {outlook.in_words(ahead.forecast)}")
            if report.status.state.is_success and report.stamp is not None:
                _print_row("the run", outlook.what_next(ahead, report.progress))
            _print_next(report)


def _as_json(report: "Report") -> dict[str, Any]:
    # Not `asdict`, which copies deeply and cannot copy the read-only mapping of losses.
    progress = {item.name: getattr(report.progress, item.name) for item in fields(report.progress)}
    return {
        "run": report.stamp.id
        if report.stamp
        else report.target.record.run_id
        if report.target.record
        else None,
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
        "session": report.stamp.session if report.stamp else None,
        "history": [asdict(summary) for summary in report.history],
    }


def _print(report: "Report") -> None:
    from orchestrator.cli.show.follow import steps  # noqa: PLC0415  # Start-up.

    state, progress = report.status.state, report.progress
    elapsed = "" if progress.elapsed_s is None else f"  {formatting.duration(progress.elapsed_s)}"
    click.echo(f"{report.target.ref}  {click.style(state.value, fg=words.colour(state), bold=True)}{elapsed}")
    rows = {
        "run": _which(report),
        "stage": progress.stage if not state.is_terminal else None,
        "progress": steps(progress),
        "checkpoint": progress.checkpoint,
        "ended": progress.end_message or report.status.failure_message,
        "page": report.target.url,
    }
    for name, text in rows.items():
        _print_row(name, text)
    for warning in progress.warnings:
        click.secho(f"  warning    {untrusted.terminal_line(warning)}", fg="yellow")
    if report.history:
        click.echo("  sessions")
        for item in report.history:
            click.echo(f"    {words.session(item)}")
    if not report.is_latest:
        click.secho(
            f"  note       version {report.latest_version} is newer on Kaggle, and not of this run",
            fg="yellow",
        )


def _print_row(name: str, text: str | None) -> None:
    if text:
        click.echo(f"  {name:<11}{untrusted.terminal_line(text)}")


def _print_next(report: "Report") -> None:
    """The end of a failed session's log, and what to type."""
    state, ref = report.status.state, report.target.ref
    if state.is_success:
        click.echo(f"Next: kgtts pull {ref}")
    elif state.is_terminal:
        for line in report.tail:
            click.echo(f"  | {untrusted.terminal_line(line)}")
        click.echo(f"Next: kgtts logs {ref}")
    else:
        click.echo(f"Next: kgtts status {ref} --watch")


def _which(report: "Report") -> str:
    record, stamp = report.target.record, report.stamp
    if stamp is not None:
        return f"{stamp.id}, session {stamp.session}"
    return f"{record.run_id}, session {record.number}" if record else "not pushed from this machine"


@click.command("list", short_help="List the runs pushed from here")
@click.option("--all", "everything", is_flag=True, help="Ask Kaggle for all kernels of the account.")
@json_option
def list_runs(*, everything: bool, as_json: bool) -> None:
    """List the runs pushed from this machine, or all kernels of the account."""
    with workbench() as bench:
        rows = (
            [_kernel_row(item) for item in bench.kaggle.my_kernels()]
            if everything
            else [_session_row(item, bench.ledger.summary(item)) for item in bench.ledger.all()]
        )
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows)
    elif everything:
        click.echo("The account has no kernels. Next: kgtts push")
    else:
        click.echo("No run was pushed from this machine. Next: kgtts push, or kgtts list --all")


def _kernel_row(item: "KernelInfo") -> dict[str, Any]:
    return {
        "kernel": str(item.ref),
        "version": item.latest_version,
        "title": item.title,
        "last_run": item.last_run,
    }


def _session_row(item: "SessionRecord", did: "SessionSummary | None") -> dict[str, Any]:
    return {
        "run": item.run_id,
        "session": item.number,
        "kernel": str(item.ref.kernel),
        "version": item.ref.version,
        "state": item.state.value if item.state else item.outcome.value,
        "pushed": item.pushed_at,
        "steps": f"{did.from_step}-{did.to_step}" if did else None,
        "time": formatting.duration(did.seconds) if did else None,
        "ended": did.reason if did else None,
        "message": item.message,
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table with their keys as headings."""
    from rich.console import Console  # noqa: PLC0415  # Only tables need it.
    from rich.table import Table  # noqa: PLC0415  # As above.
    from rich.text import Text  # noqa: PLC0415  # As above.

    names = [name for name in rows[0] if name != "message"]  # Sentences fit no table; --json has them.
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name.replace("_", " "), no_wrap=True, overflow="ellipsis")
    for row in rows:
        # Text, not markup: names come from a server.
        table.add_row(*(Text(_cell(row[name])) for name in names))
    # Who reads a pipe wants whole lines.
    console = Console(highlight=False)
    console.print(table, width=None if console.is_terminal else _PIPE_WIDTH, crop=console.is_terminal)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:%b %d %H:%M}" if hasattr(value, "strftime") else str(value)


@click.command(short_help="Show the week's GPU hours")
@json_option
def quota(*, as_json: bool) -> None:
    """Show the week's GPU hours: used, reserved by running sessions, left, and when they refresh."""
    with workbench() as bench:
        week = bench.kaggle.quota()
    if as_json:
        print_json(
            None
            if week is None
            else {
                "used_s": week.used.total_seconds(),
                "reserved_s": week.reserved.total_seconds(),
                "left_s": week.left.total_seconds(),
                "allowed_s": week.allowed.total_seconds(),
                "refreshes_at": week.refreshes_at,
            }
        )
    elif week is None:
        click.echo("Kaggle tells no GPU quota for this account.")
    else:
        click.echo(f"GPU  {formatting.hours(week.left)} left of {formatting.hours(week.allowed)}")
        click.echo(f"  used       {formatting.hours(week.used)}")
        click.echo(f"  reserved   {formatting.hours(week.reserved)} by sessions that run now")
        if week.refreshes_at is not None:
            click.echo(f"  refreshes  {formatting.moment(week.refreshes_at)}")


@click.command("open", short_help="Open the run's page in the browser")
@run_argument
@click.option("--print", "only_print", is_flag=True, help="Only print the address.")
def open_page(run: str | None, *, only_print: bool) -> None:
    """Open the run's page on Kaggle in the browser."""
    with workbench() as bench:
        url = bench.campaign.find(run, default=bench.default_kernel).url
    click.echo(url)
    if not only_print:
        click.launch(url)
