"""`kgtts stop`: end a run's session, and keep what it saved."""

import click

from orchestrator.cli.context import find, load, on_interrupt, run_argument, workbench
from orchestrator.errors import KgttsError
from orchestrator.run.stop import Stopped, session_at_work, stop_session


@click.command()
@run_argument
def stop(run: str | None) -> None:
    """Stop a run's session, and keep its kernel, versions and outputs.

    What was trained since the last checkpoint is lost. No pass starts the next session by itself: `kgtts
    push` continues the run. Kaggle wants an access token or an OAuth login for this.
    """
    with workbench() as bench:
        target = session_at_work(bench, find(bench, run), run)
        with on_interrupt(
            f"No longer waiting; whether {target.ref} was stopped is not known.",
            hint=f"`kgtts status {target.ref}` shows it, `kgtts stop {target.ref}` again is safe",
        ):
            stopped = stop_session(bench, target, rescue=_rescue(), tell=_tell)
    done = "Was stopped before:" if stopped.already else "Stopped"
    click.secho(f"{done} {target.ref}", fg="green", nl=False)
    click.echo(f"  {stopped.outputs} file{'' if stopped.outputs == 1 else 's'} kept")
    click.echo(f"Next: {_way_on(stopped)}")


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _rescue() -> bool:
    """Whether the run continues from what a stopped session saved, by the settings at hand."""
    try:
        return load().settings.run.rescue
    except KgttsError:
        return True  # A faulty kgtts.toml is no reason to let a session run on.


def _way_on(stopped: Stopped) -> str:
    if stopped.step is None:
        return f"kgtts status {stopped.target.ref} shows what was saved; kgtts push continues the run"
    if not stopped.step:
        return "kgtts push starts again from the base voice, since no checkpoint was saved"
    return f"kgtts push continues from step {stopped.step}; until then no pass starts a session"
