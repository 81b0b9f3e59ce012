"""`kgtts config`: show the settings, or their JSON schema."""

from pathlib import Path

import click

from orchestrator.cli.context import load, print_json, settings_options
from orchestrator.settings import json_schema, to_toml

_HIDDEN = ("***",)


@click.group()
def config() -> None:
    """Print the settings in force, or their JSON schema for editors."""


@config.command(short_help="Print the JSON schema of kgtts.toml")
def schema() -> None:
    """Print the JSON schema of kgtts.toml, so that an editor can complete and check the file."""
    print_json(json_schema())


@config.command(short_help="Print the settings in force")
@settings_options
def show(config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Print the settings in force as TOML: the file's, the defaults, and what --set changes."""
    loaded = load(config_path, overrides)
    click.echo(f"# from {loaded.path or 'the defaults: there is no kgtts.toml in this folder or above'}")
    for name, section in loaded.settings:
        click.echo(f"\n[{name}]")
        for key, value in section:
            click.echo(f"{key} = {to_toml(_HIDDEN if (name, key) == ('notify', 'to') and value else value)}")
