"""`kgtts tensorboard`."""

import signal
import tempfile
from pathlib import Path

import click

from orchestrator import formatting
from orchestrator.cli.context import Interrupted, load, run_argument

_PORT = 6006  # TensorBoard's own.


@click.command(short_help="TensorBoard on a run's pulled event files")
@run_argument
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=_PORT,
    show_default=True,
    help="Where on this machine it listens; 0 for any free port.",
)
def tensorboard(run: str | None, port: int) -> None:
    """Start TensorBoard on the pulled event files of all sessions of a run, until Ctrl-C.

    It must be installed (pip install tensorboard) and listens on 127.0.0.1 only. Nothing is asked of Kaggle.
    """
    from orchestrator.report.tensorboard import command_of, event_files, gather, serve  # noqa: PLC0415  # Start-up.
    from orchestrator.results import Results  # noqa: PLC0415  # As above.

    settings = load(None, ()).settings
    sessions = Results(Path(settings.pull.to)).find(run, settings.kernel.slug)
    files = event_files(sessions)
    command = command_of()
    with tempfile.TemporaryDirectory(prefix="kgtts-tensorboard-") as folder:
        gather(files, Path(folder), sessions[-1].run or settings.kernel.slug)
        click.echo(f"{formatting.counted(len(files), 'event file')}; Ctrl-C ends TensorBoard.")
        # A SIGTERM ends TensorBoard too, and the links.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            serve(command, Path(folder), port)
        except KeyboardInterrupt:
            raise Interrupted("Stopped; TensorBoard has ended.") from None
