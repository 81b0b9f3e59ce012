"""The HTML file that a command has written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from orchestrator.errors import LocalError
from orchestrator.formatting import size


@contextmanager
def writing(out: Path | None) -> Iterator[None]:
    """Point to `--out` if the file that kgtts chose itself cannot be written."""
    try:
        yield
    except LocalError as error:
        if out is None and error.hint is None:
            raise LocalError(error.message, hint="write it somewhere else with --out FILE") from error
        raise


def print_page(path: Path, *, show: bool) -> None:
    """Print where the page is and how large, and open it in the browser if that is wanted.

    Raises:
        LocalError: no browser could be started.
    """
    click.echo(f"{path}  ({size(path.stat().st_size)})")
    if show and click.launch(str(path)) != 0:
        raise LocalError(f"No browser could be started for {path}.", hint="open the file yourself")
