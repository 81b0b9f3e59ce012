"""`kgtts tensorboard`: TensorBoard on a run's event files."""

import signal
import tempfile
from pathlib import Path

import click

from orchestrator.cli.context import complete_run, on_interrupt, pulled
from orchestrator.formatting import counted
from orchestrator.report.tensorboard import command_of, event_files, gather, serve

_PORT = 6006  # TensorBoard's own.


@click.command()
@click.argument("run", required=False, metavar="[RUN]", shell_complete=complete_run)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=_PORT,
    show_default=True,
    help="The port on this machine; 0 takes any free one.",
)
def tensorboard(run: str | None, port: int) -> None:
    """Start TensorBoard on the downloaded event files of all sessions of a run, until Ctrl-C.

    TensorBoard must be installed (pip install tensorboard). Only this machine can reach it; Kaggle is not
    contacted.
    """
    results, slug = pulled()
    sessions = results.find(run, slug)
    files = event_files(sessions)
    command = command_of()
    with tempfile.TemporaryDirectory(prefix="kgtts-tensorboard-") as folder:
        gather(files, Path(folder), sessions[-1].run or slug or "run")
        click.echo(f"{counted(len(files), 'event file')}; Ctrl-C ends TensorBoard.")
        # SIGTERM ends TensorBoard too, and removes the links.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with on_interrupt("Stopped; TensorBoard has ended."):
            serve(command, Path(folder), port)
