"""`kgtts init`: write the settings file."""

from pathlib import Path

import click

from orchestrator.errors import UsageError
from orchestrator.files import write_atomically
from orchestrator.settings import FILE_NAME, default_toml


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The folder to write to. Default: this one.",
)
@click.option("--force", is_flag=True, help="Replace a kgtts.toml that exists.")
def init(folder: Path, *, force: bool) -> None:
    """Write kgtts.toml: every setting, its default and what it means."""
    path = folder / FILE_NAME
    if path.exists() and not force:
        raise UsageError(f"{path} exists already.", hint="edit it, or replace it with `kgtts init --force`")
    write_atomically(path, default_toml())
    click.echo(f"Wrote {path}. Next: put your dataset and your voice's name into it, then run kgtts doctor")
