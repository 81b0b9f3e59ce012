"""`kgtts status`: how far a run is."""

import click

from orchestrator.cli.context import find, json_option, load, print_json, run_argument, workbench
from orchestrator.cli.show.runs import (
    forecast_line,
    outlook_json,
    print_next,
    print_report,
    report_json,
    row,
    what_next,
)
from orchestrator.run.status import report_session


@click.command()
@run_argument
@click.option("--watch", is_flag=True, help="Follow the session live until it ends.")
@json_option
def status(run: str | None, *, watch: bool, as_json: bool) -> None:
    """Show how far a run is: its state, progress, sessions, and when it will be done."""
    with workbench() as bench:
        snapshot = bench.snapshot()
        target = find(bench, run, snapshot)
        end = None
        if watch:
            from orchestrator.cli.show.follow import follow_on_screen  # noqa: PLC0415 - as below.

            end = follow_on_screen(bench, target, quiet=as_json)
        if end is not None and not end.status.state.is_success:
            if as_json:  # A program learns how it ended from the document too, not from the exit code alone.
                print_json({**report_json(report_session(bench, target)), **outlook_json(None)})
            raise end.failure()
        seen = bench.snapshot() if watch else snapshot
        report = report_session(bench, target, snapshot=seen)
        ahead = None
        if report.stamp is not None:
            # It takes as long to import as the rest of this command, and other kernels have none.
            from orchestrator.run.outlook import outlook_of  # noqa: PLC0415

            ahead = outlook_of(bench, report, lambda: load().settings, seen)
        if as_json:
            print_json({**report_json(report), **outlook_json(ahead)})
            return
        print_report(report)
        if ahead is not None and ahead.forecast is not None:
            row("left", forecast_line(ahead.forecast))
        if report.status.state.is_success and report.stamp is not None:
            row("the run", what_next(ahead, report.progress))
        print_next(report)
