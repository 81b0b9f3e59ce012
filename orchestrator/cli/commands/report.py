"""`kgtts report` and `kgtts compare`: runs as pages to look at, to listen to and to send around."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator import formatting
from orchestrator.cli.context import F, load
from orchestrator.errors import LocalError

if TYPE_CHECKING:
    from orchestrator.results import PulledSession

_NAME = "report.html"
_COMPARISON = "compare.html"
_RUN = "[RUN | OWNER/SLUG[/VERSION] | DIR]"


def out_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse what no file can take the place of: for root, that would replace /dev/null itself."""
    with suppress(OSError):  # A name that is too long is said where it is written.
        if value is not None and value.exists() and not value.is_file():
            raise click.BadParameter(f"{value} is a device or a pipe; a file is written.", ctx, param)
    return value


def _out_option(default: str) -> Callable[[F], F]:
    return click.option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=out_file,
        help=f"The file to write; default: {default}.",
    )


_open_option = click.option("--open", "show", is_flag=True, help="Show it in the browser.")
_recordings_option = click.option(
    "--recordings",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The data set's folder (metadata.csv and wavs/), to hear its recordings beside the voice.",
)


@click.command(short_help="A run as a page: curves, sound, settings, warnings")
@click.argument("source", required=False, metavar=_RUN)
@_out_option("report.html beside the run's sessions")
@_open_option
@_recordings_option
def report(source: str | None, *, out: Path | None, show: bool, recordings: Path | None) -> None:
    """Write one HTML file about a pulled run: it works offline and on a phone, and asks nothing of anybody.

    It holds the summary, warnings, the test sentences over time, curves, resource use, sessions, and settings
    with what differs from the run before. Needs the extra `report`.
    """
    from orchestrator.report import read_report, write_report  # noqa: PLC0415  # Start-up.

    sessions, folder = _sessions(source)
    data = read_report(sessions, recordings=recordings)
    path = out or folder / _NAME
    with _elsewhere(out):
        write_report(data, path)
    _say(path, show=show)
    if data.notices:
        count = len(data.notices)
        click.secho(f"{formatting.counted(count, 'warning')} in it.", fg="yellow")


@click.command(short_help="Two runs on the same axes")
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@_out_option("compare.html here")
@_open_option
@_recordings_option
def compare(first: str, second: str, *, out: Path | None, show: bool, recordings: Path | None) -> None:
    """Write one HTML file with two pulled runs, A and B: the same axes, and what they say side by side.

    RUN is a run's id or its beginning, OWNER/SLUG[/VERSION], or a folder. Needs the extra `report`.
    """
    from orchestrator.report import read_report, write_comparison  # noqa: PLC0415  # Start-up.

    one, other = (read_report(_sessions(name)[0], recordings=recordings) for name in (first, second))
    path = out or Path(_COMPARISON)
    with _elsewhere(out):
        write_comparison(one, other, path)
    _say(path, show=show)


@contextmanager
def _elsewhere(out: Path | None) -> Iterator[None]:
    """Tells of --out where the place that was chosen for a person cannot be written to."""
    try:
        yield
    except LocalError as error:
        if out is None and error.hint is None:
            raise LocalError(error.message, hint="--out FILE writes it to another place") from error
        raise


def _sessions(source: str | None) -> "tuple[list[PulledSession], Path]":
    """The sessions of what was named, and the folder that they lie in.

    Raises:
        UsageError: nothing was pulled of it.
    """
    from orchestrator.errors import UsageError  # noqa: PLC0415  # With what follows.
    from orchestrator.results import Results, newest_run, pulled_sessions  # noqa: PLC0415  # Start-up.

    if source is not None and Path(source).is_dir():
        sessions = newest_run(pulled_sessions(Path(source)))
        if not sessions:
            raise UsageError(f"{source} holds no session of a run.", hint="kgtts pull --to DIR brings one")
        return sessions, Path(source)
    if source is not None and Path(source).is_file():
        raise UsageError(
            f"{source} is a file, not a run.",
            hint=f"name the folder that it lies in; `kgtts metrics {source}` reads a log by itself",
        )
    settings = load(None, ()).settings
    sessions = Results(Path(settings.pull.to)).find(source, settings.kernel.slug)
    return sessions, sessions[-1].folder.parent


def _say(path: Path, *, show: bool) -> None:
    click.echo(f"{path}  ({formatting.size(path.stat().st_size)})")
    if show and click.launch(str(path)) != 0:
        raise LocalError(f"No browser could be started for {path}.", hint="open the file yourself")
