"""`kgtts doctor`: check everything that a push needs."""

import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from orchestrator.cli.context import json_option, load, print_json, settings_options, workbench
from orchestrator.cli.show.console import folded, shown, signs
from orchestrator.files import home_folder
from orchestrator.run.checked import Checked, Level
from orchestrator.run.checks import check_all

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "red"}


@click.command()
@settings_options
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Check the prepared dataset in this folder. Default: the one on Kaggle, by a few small reads.",
)
@json_option
def doctor(config_path: Path | None, overrides: tuple[str, ...], *, data: Path | None, as_json: bool) -> int:
    """Check everything that a push needs, before it costs GPU hours.

    One line for each: settings, the Kaggle client, your login, the week's GPU quota, the dataset and the base
    voice, then what is in the dataset (texts, recordings, letters), and an estimate of how long the training
    takes. The exit code is that of the first check that failed.
    """
    lines = []
    now = datetime.now(UTC)
    load_it = partial(load, config_path, overrides)
    for line in check_all(load_it, workbench, os.environ, home_folder(), now=now, data=data):
        lines.append(line)
        if not as_json:
            _print(line)
    if as_json:
        print_json(
            [{"subject": v.subject, "level": v.level.value, "text": v.text, "hint": v.hint} for v in lines]
        )
    return next((int(line.exit_code) for line in lines if line.exit_code), 0)


def _print(line: Checked) -> None:
    can_show = signs()
    marks = {Level.OK: can_show.done, Level.WARNING: can_show.warning, Level.FAILED: can_show.failed}
    mark = click.style(f"{marks[line.level]:<{len(can_show.done)}}", fg=_COLOURS[line.level])
    start = len(can_show.done) + 13
    click.echo(f"{mark} {line.subject:<12}{folded(shown(line.text), start=start, indent=start)}")
    if line.hint:
        click.echo(folded(f"  Next: {shown(line.hint)}", indent=2))
