"""`kgtts sync`: look at a run once and do what it needs next."""

from pathlib import Path

import click

from orchestrator import untrusted
from orchestrator.cli.context import (
    json_option,
    load_to_train,
    print_json,
    repeating,
    settings_options,
    workbench,
)
from orchestrator.cli.github.summary import report_failure, report_pass
from orchestrator.cli.notifying import tell
from orchestrator.cli.show.console import shown
from orchestrator.cli.show.passes import forecast_line, outlook_json, pass_json, print_pass, print_verdict
from orchestrator.cli.show.runs import row
from orchestrator.cli.show.transfer import Silent
from orchestrator.errors import KgttsError
from orchestrator.files import write_atomically
from orchestrator.run.look import Pass
from orchestrator.run.outlook import look_ahead
from orchestrator.run.watch import Passes, failure_of


@click.command()
@click.option("--no-pull", is_flag=True, help="Do not download results.")
@click.option("--no-checkpoints", is_flag=True, help="Download results, but no checkpoints (*.pth).")
@click.option(
    "--alerted",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that remembers which end of a run was reported: the same failure is no error twice.",
)
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
    no_checkpoints: bool,
    alerted: Path | None,
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
        if no_checkpoints:
            exclude = (*settings.pull.exclude, "*.pth")
            pull = settings.pull.model_copy(update={"exclude": exclude})
            settings = settings.model_copy(update={"pull": pull})
        with repeating(config_path, overrides), workbench(starts=True) as bench:
            listener = None if no_pull else Silent()
            done = Passes(settings, bench, listener, overrides).make()
            ahead = look_ahead(settings, done, bench.clock.now())
    except KgttsError as error:
        report_failure(error, summary)
        raise
    is_news = _is_news(done, alerted)
    has_told = tell(settings, done, ahead.verdict, bench.clock.now())
    report_pass(done, ahead, summary=summary, outputs=outputs, is_news=is_news, has_told=has_told)
    if as_json:
        print_json({**pass_json(done), **outlook_json(ahead)})
    else:
        print_pass(done)
        row("left", forecast_line(ahead.forecast) if ahead.forecast is not None else None)
        print_verdict(ahead.verdict)
    if (failure := failure_of(done)) is not None and not is_news and alerted is not None:
        click.echo(f"Reported before: {shown(failure.message)}", err=True)
    elif failure is not None:
        with repeating(config_path, overrides):
            raise failure
    if done.collected is not None and (left_out := done.collected.failure) is not None:
        raise left_out


def _is_news(done: Pass, alerted: Path | None) -> bool:
    """Whether the pass found an end that was not reported before; the file remembers it from now on."""
    if done.view is None or not (done.state.is_over or failure_of(done) is not None):
        return False
    text = f"{done.view.run_id} {done.view.newest.stamp.session} {done.state}\n"
    if alerted is None:
        return True
    if (untrusted.read_bytes(alerted) or b"").decode(errors="replace") == text:
        return False
    write_atomically(alerted, text)
    return True
