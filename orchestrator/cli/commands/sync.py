"""`kgtts sync`: look at a run once and do what it needs next."""

from pathlib import Path

import click

from orchestrator.cli.context import (
    json_option,
    load_to_train,
    print_json,
    repeating,
    settings_options,
    workbench,
)
from orchestrator.cli.github.summary import report_failure, report_pass
from orchestrator.cli.show.passes import forecast_line, outlook_json, pass_json, print_pass
from orchestrator.cli.show.runs import row
from orchestrator.cli.show.transfer import Silent
from orchestrator.errors import KgttsError
from orchestrator.run.outlook import look_ahead
from orchestrator.run.watch import Passes, failure_of


@click.command()
@click.option("--no-pull", is_flag=True, help="Do not download results.")
@click.option(
    "--summary",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="GITHUB_STEP_SUMMARY",
    help="Append a Markdown summary to this file. Default: GitHub's summary, in an Action.",
)
@click.option(
    "--outputs",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="GITHUB_OUTPUT",
    help="Append the step's outputs to this file. Default: GitHub's file for them, in an Action.",
)
@settings_options
@json_option
def sync(
    *,
    no_pull: bool,
    summary: Path | None,
    outputs: Path | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Look once at the run that kgtts.toml describes, and do what it needs next. Takes seconds.

    That is one of these: start the first session, report on a running one, download an ended one's results
    and push the next. Made for cron and GitHub Actions: it needs no memory of earlier calls, and two at once
    do no harm.
    """
    try:
        settings = load_to_train(config_path, overrides).settings
        with repeating(config_path, overrides), workbench() as bench:
            listener = None if no_pull else Silent()
            done = Passes(settings, bench, listener, overrides).make()
            ahead = look_ahead(settings, done, bench.clock.now())
    except KgttsError as error:
        report_failure(error, summary)
        raise
    report_pass(done, ahead, summary=summary, outputs=outputs)
    if as_json:
        print_json({**pass_json(done), **outlook_json(ahead)})
    else:
        print_pass(done)
        row("left", forecast_line(ahead.forecast) if ahead.forecast is not None else None)
    if (failure := failure_of(done)) is not None:
        with repeating(config_path, overrides):
            raise failure
