"""`kgtts render`, `push` and `cancel`."""

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.context import (
    Interrupted,
    duration_option,
    json_option,
    load,
    print_json,
    run_argument,
    settings_options,
    workbench,
)

if TYPE_CHECKING:
    from orchestrator.run.ledger import Ledger
    from orchestrator.run.push import Launch

_NO_OWNER = "your-name"


@click.command(short_help="Write the kernel to a folder and send nothing")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kernel"),
    show_default=True,
    help="The folder to write to.",
)
@click.option("--owner", help="The kernel's owner, where kgtts.toml names none.")
@settings_options
def render(folder: Path, owner: str | None, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Write the kernel and its metadata to a folder, and send nothing.

    The folder is what the official client pushes: `kaggle kernels push -p DIR`.
    """
    from orchestrator.kaggle.credentials import known_username  # noqa: PLC0415  # Start-up.
    from orchestrator.render import write_rendered  # noqa: PLC0415  # As above.
    from orchestrator.run.push import preview  # noqa: PLC0415  # Slow to import.

    settings = load(config_path, overrides).settings
    name = settings.kernel.owner or owner or known_username(os.environ, Path.home())
    if name is None:
        name = _NO_OWNER
        click.echo(f"Note: your Kaggle user name is not known here; {name} stands for it.", err=True)
    settings = settings.with_owner(name)
    for path in write_rendered(preview(settings), folder):
        click.echo(path)


@click.command(short_help="Start a run, or go on with it; --wait sees it through")
@click.option("--wait", is_flag=True, help="Follow the run, session after session, to its end.")
@duration_option("--timeout", help="With --wait: how long, such as 90m. The run goes on after it.")
@click.option("--new", is_flag=True, help="Begin another run although there is one that is not done.")
@settings_options
@json_option
def push(
    *,
    wait: bool,
    timeout: timedelta | None,
    new: bool,
    config_path: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Render the training kernel, push it to Kaggle and start its session.

    The first push begins the run that kgtts.toml describes. Further ones go on with it where it stopped, also
    after a failure; with `kgtts watch` or `kgtts sync` it goes on by itself.
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout says how long --wait waits; give both.")
    settings = load(config_path, overrides).settings
    from orchestrator.cli.commands import sync  # noqa: PLC0415  # Start-up.

    with workbench() as bench:
        try:
            done = sync.one_pass(bench, settings, pull=False, retry=True, new=new)
        except KeyboardInterrupt:
            raise Interrupted(
                "Stopped while pushing; whether Kaggle took it is not known yet.",
                hint="`kgtts status` finds out",
            ) from None
        launched = done.launched
        for warning in done.warnings:
            click.secho(f"Warning: {warning}", fg="yellow", err=True)
        if launched is None:
            raise sync.not_pushed(done)
        if not as_json:
            click.secho(f"Pushed {launched.target.ref}", fg="green", nl=False)
            click.echo(f"  {launched.url}")
        try:
            if wait:
                with sync.way_back():
                    sync.watch_run(bench, settings, timeout=timeout, pull=True, first=done, quiet=as_json)
        finally:
            # A program learns which run it is however the wait ends.
            if as_json:
                print_json(_as_json(launched, bench.ledger, done.warnings))
        if not as_json:
            click.echo("Next: kgtts report, or kgtts say TEXT" if wait else "Next: kgtts watch")


def _as_json(launched: "Launch", ledger: "Ledger", warnings: Sequence[str]) -> dict[str, Any]:
    """The push for programs; after a wait, of the run's newest session."""
    from orchestrator.run.campaign import Target  # noqa: PLC0415  # Start-up.
    from orchestrator.run.ledger import PushOutcome  # noqa: PLC0415  # As above.

    first = launched.target
    known = () if first.record is None else ledger.of_run(first.record.run_id)
    # A push that was refused while the run was waited for is no session.
    newest = next((record for record in known if record.outcome is PushOutcome.PUSHED), first.record)
    ref = newest.ref if newest is not None else first.ref
    return {
        "run": newest.run_id if newest is not None else None,
        "session": newest.number if newest is not None else None,
        "kernel": str(ref.kernel),
        "version": ref.version,
        "url": launched.url if ref == first.ref else Target(ref, newest).url,
        "state": newest.state.value if newest is not None and newest.state else "queued",
        "warnings": list(warnings),
    }


@click.command(short_help="Stop a run by deleting its kernel")
@run_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
def cancel(run: str | None, *, yes: bool) -> None:
    """Stop a run by deleting its kernel, with all versions and outputs.

    Kaggle's public interface has no other way: its cancel call wants a session id that no call gives. The web
    page can stop a session and keep the kernel: `kgtts open` goes there.
    """
    with workbench() as bench:
        target = bench.campaign.find(run, default=bench.default_kernel)
        if not yes:
            click.echo(
                f"This deletes {target.ref.kernel} on Kaggle: every version, its logs and its outputs."
            )
            click.echo("To stop the session and keep the kernel, use the page: kgtts open")
            click.confirm("Delete it?", abort=True)
        bench.campaign.cancel(target)
    click.echo(f"Deleted {target.ref.kernel}.")
