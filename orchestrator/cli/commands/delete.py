"""`kgtts delete`: delete a kernel with everything that it holds."""

import click

from orchestrator.cli.context import find, workbench
from orchestrator.cli.show.console import folded
from orchestrator.models import KernelInfo
from orchestrator.run.context import RunContext, Target
from orchestrator.run.follow import session_status
from orchestrator.run.snapshot import NotThere
from orchestrator.run.target import delete as delete_kernel


@click.command()
@click.argument("run", metavar="RUN | OWNER/SLUG", required=False)
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
def delete(run: str | None, *, yes: bool) -> None:
    """Delete a kernel on Kaggle, with every version, all logs and all outputs.

    RUN is a run's id or its beginning, as `kgtts list` shows it, or OWNER/SLUG. It must be given: nothing is
    deleted that was not named. A session at work is killed by it; `kgtts stop` ends one and keeps everything.
    """
    if run is None:
        raise click.UsageError(
            "Name what to delete: `kgtts delete OWNER/SLUG`; `kgtts list` shows your runs. To end a session "
            "and keep everything: kgtts stop"
        )
    with workbench() as bench:
        delete_named(bench, find(bench, run), yes=yes)


def delete_named(bench: RunContext, target: Target, *, yes: bool) -> None:
    """Say what is lost, ask unless `yes`, and delete the kernel."""
    kernel = target.ref.kernel
    seen = bench.snapshot().kernel(kernel)
    if isinstance(seen, NotThere) and seen.is_half_made:
        click.echo(f"Kaggle has no version of {kernel}: this deletes what is left of a push that it refused.")
    else:
        _say_what_is_lost(bench.kaggle.kernel(kernel), asks=not yes)
    if not yes:
        click.confirm("Delete it?", abort=True)
    delete_kernel(bench, target)
    click.echo(f"Deleted {kernel}.")


def _say_what_is_lost(info: KernelInfo, *, asks: bool) -> None:
    count = info.latest_version
    versions = "all its versions" if count is None else f"{count} version{'' if count == 1 else 's'}"
    name = info.ref.kernel
    text = f"This deletes {name} on Kaggle: {versions}, every log and all outputs, checkpoints included."
    click.echo(folded(text))
    if asks:
        click.echo(
            folded(
                "Results that were not pulled are lost. To end a session and keep everything: `kgtts stop`"
            )
        )


@click.command()
@click.argument("run", metavar="RUN | OWNER/SLUG", required=False)
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
def cancel(run: str | None, *, yes: bool) -> None:
    """Do what `kgtts delete` does, to a kernel whose session is at work: its old name.

    `kgtts stop` ends a session and keeps the kernel and all that it holds.
    """
    if run is None:
        raise click.UsageError(
            "`kgtts cancel` deletes a kernel and is now called `kgtts delete`, which needs a name: `kgtts "
            "delete OWNER/SLUG`. To end a session and keep everything: kgtts stop"
        )
    with workbench() as bench:
        target = find(bench, run)
        state = session_status(bench, target).state
        if state.is_terminal:
            raise click.UsageError(
                f"{target.ref} is not running (Kaggle says {state}), so there is nothing to cancel. `kgtts "
                f"delete {target.ref.kernel}` deletes the kernel with all that it holds."
            )
        click.echo("`kgtts cancel` is now `kgtts delete`; `kgtts stop` keeps the kernel.", err=True)
        delete_named(bench, target, yes=yes)
