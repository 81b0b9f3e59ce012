"""`kgtts render`: write the kernel to a folder and send nothing."""

import os
from pathlib import Path

import click

from orchestrator.cli.context import load, settings_options
from orchestrator.kaggle.auth import known_username
from orchestrator.render.kernel import write_rendered
from orchestrator.run.push import preview

_NO_OWNER = "your-name"


@click.command()
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kernel"),
    show_default=True,
    help="The folder to write to.",
)
@click.option("--owner", help="Your Kaggle user name, if neither kgtts.toml nor your login gives it.")
@settings_options
def render(folder: Path, owner: str | None, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Write the kernel and its metadata to a folder, and send nothing.

    You can read them there, or push the folder with the official client: `kaggle kernels push -p DIR`.
    """
    settings = load(config_path, overrides).settings
    name = settings.kernel.owner or owner or known_username(os.environ, Path.home())
    if name is None:
        name = _NO_OWNER
        click.echo(f"Note: your Kaggle user name is not known here, so it is written as {name}.", err=True)
    for path in write_rendered(preview(settings.with_owner(name)), folder):
        click.echo(path)
