"""`kgtts cancel`: stop a run by deleting its kernel."""

import click

from orchestrator.cli.context import find, run_argument, workbench
from orchestrator.run.target import delete


@click.command()
@run_argument
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
def cancel(run: str | None, *, yes: bool) -> None:
    """Stop a run by deleting its kernel on Kaggle, with every version and all outputs.

    Kaggle offers programs no other way to stop a session. To stop it and keep the kernel, use the web page:
    `kgtts open` takes you there.
    """
    with workbench() as bench:
        target = find(bench, run)
        if not yes:
            click.echo(
                f"This deletes {target.ref.kernel} on Kaggle: every version, its logs and its outputs."
            )
            click.echo("To stop the session and keep the kernel, use the web page: kgtts open")
            click.confirm("Delete it?", abort=True)
        delete(bench, target)
    click.echo(f"Deleted {target.ref.kernel}.")
