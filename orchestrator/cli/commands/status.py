"""`kgtts status`: how far a run is."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.context import find, json_option, load, print_json, run_argument, workbench
from orchestrator.cli.places import here_alone, place_option, status_from
from orchestrator.cli.show.runs import print_next, print_report, report_json, row
from orchestrator.results import Results
from orchestrator.run.status import SessionReport, report_session

if TYPE_CHECKING:
    from orchestrator.run.outlook import Outlook


@click.command()
@run_argument
@click.option("--watch", is_flag=True, help="Follow the session live until it ends.")
@place_option
@json_option
def status(run: str | None, *, watch: bool, place: str | None, as_json: bool) -> None:
    """Show how far a run is: its state, progress, sessions, and when it will be done."""
    if place is None and not watch:
        place = here_alone()
    if place is not None:
        if watch:
            raise click.UsageError(
                "--watch follows a session on Kaggle; of another place there is --from alone."
            )
        status_from(place, run, as_json=as_json)
        return
    with workbench() as bench:
        snapshot = bench.snapshot()
        target = find(bench, run, snapshot, only_shows=True)
        failed = None
        if watch:
            from orchestrator.cli.show.follow import follow_on_screen  # noqa: PLC0415 - as below.

            end = follow_on_screen(bench, target, quiet=as_json)
            failed = None if end.status.state.is_success else end.failure()
            snapshot = bench.snapshot()
        if failed is not None and not as_json:
            raise failed
        report = report_session(bench, target, snapshot=snapshot)
        if not as_json and report.stamp is None:
            print_report(report)
            print_next(report)
            return
        # What looks ahead takes as long to import as all the rest; a kernel that is not of kgtts has none.
        from orchestrator.cli.show.passes import outlook_json  # noqa: PLC0415
        from orchestrator.run.outlook import outlook_of  # noqa: PLC0415

        ahead = None if failed is not None else outlook_of(bench, report, lambda: load().settings, snapshot)
        if ahead is not None and ahead.elsewhere is not None:
            report = replace(report, history=ahead.history)
        if as_json:  # A program learns how it ended from the document too, not from the exit code alone.
            print_json({**report_json(report), **outlook_json(ahead)})
            if failed is not None:
                raise failed
            return
        _print(report, ahead)


def _print(report: SessionReport, ahead: "Outlook | None") -> None:
    """Print a session of kgtts and what is ahead of its run."""
    from orchestrator.cli.show.passes import elsewhere_line, forecast_line, print_verdict, what_next  # noqa: PLC0415

    print_report(report)
    if ahead is not None and ahead.forecast is not None:
        row("left", forecast_line(ahead.forecast))
    print_verdict(None if ahead is None else ahead.verdict)
    newest = None if ahead is None else ahead.elsewhere
    if newest is not None:
        row("newest", elsewhere_line(newest))
    if report.status.state.is_success or newest is not None:
        row("the run", what_next(ahead, report.progress))
    is_over = ahead is None or ahead.decision is None or ahead.decision.state.is_over
    print_next(report, pulled=_is_pulled(report), is_over=is_over)


def _is_pulled(report: SessionReport) -> bool:
    """Whether the results of a session are in their folder."""
    stamp, ref = report.stamp, report.target.ref
    if stamp is None:
        return False
    folder = Results(Path(load().settings.pull.to)).of_session(ref.slug, stamp.id, stamp.session)
    return folder.version == str(ref)
