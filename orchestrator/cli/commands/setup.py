"""`kgtts init` and `kgtts config`."""

from pathlib import Path

import click

from orchestrator.cli.context import load, print_json, settings_options
from orchestrator.errors import UsageError


@click.command(short_help="Write kgtts.toml with every setting explained")
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(folder: Path, *, force: bool) -> None:
    """Write kgtts.toml with every setting, its default and what it means."""
    from orchestrator.files import write_atomically  # noqa: PLC0415  # Start-up.
    from orchestrator.settings import FILE_NAME, default_toml  # noqa: PLC0415  # pydantic is slow to import.

    path = folder / FILE_NAME
    if path.exists() and not force:
        raise UsageError(f"{path} is there already.", hint="edit it, or `kgtts init --force` replaces it")
    write_atomically(path, default_toml())
    click.echo(f"Wrote {path}. Next: look through it, then kgtts doctor")


@click.group(short_help="Show the settings or their JSON schema")
def config() -> None:
    """Show the settings, or their JSON schema for editors."""


@config.command()
def schema() -> None:
    """Print the JSON schema of kgtts.toml, so that editors complete and check it."""
    from orchestrator.settings import json_schema  # noqa: PLC0415  # pydantic is slow to import.

    print_json(json_schema())


@config.command()
@settings_options
def show(config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Print the settings that are in force, as TOML."""
    from orchestrator.settings import to_toml  # noqa: PLC0415  # pydantic is slow to import.

    loaded = load(config_path, overrides)
    click.echo(f"# from {loaded.path or 'the defaults; there is no kgtts.toml here or above'}")
    for name, section in loaded.settings:
        click.echo(f"\n[{name}]")
        for key, value in section:
            click.echo(f"{key} = {to_toml(value)}")
