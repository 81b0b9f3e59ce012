"""`kgtts push`: start a run, or continue it."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click

from orchestrator.cli.commands.watch import way_back
from orchestrator.cli.context import (
    complete_run,
    duration_option,
    json_option,
    load_to_train,
    on_interrupt,
    print_json,
    repeating,
    settings_options,
    workbench,
)
from orchestrator.cli.show.console import shown
from orchestrator.cli.show.follow import Screen
from orchestrator.cli.show.passes import push_json
from orchestrator.cli.show.transfer import Silent
from orchestrator.models import KernelRef
from orchestrator.run.look import Asked
from orchestrator.run.voice import find_voice
from orchestrator.run.watch import Passes, watch, why_not_pushed


@click.command()
@click.option("--wait", is_flag=True, help="Follow the run, session after session, to its end.")
@duration_option("--timeout", help="With --wait: wait at most this long, for example 90m. The run continues.")
@click.option("--new", is_flag=True, help="Start another run, even if there is one that is not done.")
@click.option(
    "--from",
    "source",
    metavar="RUN",
    help="With --new: begin with the best model of another run, not with the base voice.",
    shell_complete=complete_run,
)
@click.option(
    "--from-here",
    is_flag=True,
    help="Go on from the session that ran outside Kaggle, though the run went on without it there.",
)
@click.option("--overwrite", is_flag=True, help="Push also over a version that kgtts did not push.")
@settings_options
@json_option
def push(
    *,
    wait: bool,
    timeout: timedelta | None,
    new: bool,
    source: str | None,
    from_here: bool,
    overwrite: bool,
    config_path: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Send the training to Kaggle and start a session of it.

    The first push starts the run that kgtts.toml describes. Each later one continues it where it stopped,
    also after a failure. `kgtts watch` and `kgtts sync` push the next sessions for you.
    """
    _check(timeout_without_wait=timeout is not None and not wait, new=new, source=source, from_here=from_here)
    settings = load_to_train(config_path, overrides).settings
    with repeating(config_path, overrides) as whole, workbench(starts=True) as bench:
        if source is not None:
            kernel = KernelRef(settings.kernel.owner or bench.kaggle.username, settings.kernel.slug)
            voice = find_voice(bench, source, default=lambda: kernel)
            overrides = (*overrides, f'inputs.voice_of="{voice}"')
            settings = load_to_train(config_path, overrides).settings
        passes = Passes(settings, bench, overrides=overrides)
        with on_interrupt(
            "Stopped while pushing; whether Kaggle took it is not known yet.",
            hint=f"`kgtts status {settings.kernel.slug}` finds out",
        ):
            done = passes.make_when_ready(
                Asked(retry=True, new=new, from_here=from_here, overwrite=overwrite, overrides=overrides),
                lambda words: click.echo(f"{shown(words)} Waiting.", err=True),
            )
        pushed = done.pushed
        for warning in done.warnings:
            click.secho(f"Warning: {shown(warning)}", fg="yellow", err=True)
        if pushed is None:
            raise why_not_pushed(done)
        if not as_json:
            click.secho(f"Pushed {pushed.target.ref}", fg="green", nl=False)
            click.echo(f"  {shown(pushed.url)}")
        try:
            if wait:
                passes = replace(passes, listener=Silent())
                screen = Screen(bench, as_json)
                with way_back():
                    watch(passes, screen, timeout=timeout, first=done)
                screen.check()
        finally:
            # A program learns which run it is, however the wait ends.
            if as_json:
                print_json(push_json(pushed, bench.ledger, done.warnings))
        if not as_json:
            click.echo("Next: kgtts report, or kgtts say TEXT" if wait else whole("Next: kgtts watch"))


def _check(*, timeout_without_wait: bool, new: bool, source: str | None, from_here: bool) -> None:
    """Refuse options that do not fit together."""
    if timeout_without_wait:
        raise click.UsageError("--timeout limits how long --wait waits; give both.")
    if source is not None and not new:
        raise click.UsageError("--from begins another run; give --new as well.")
    if from_here and new:
        raise click.UsageError("--new begins another run, and --from-here goes on with this one; give one.")
