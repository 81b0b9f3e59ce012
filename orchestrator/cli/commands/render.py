"""`kgtts render`: write the kernel, or a task for SkyPilot, to a folder and send nothing."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kernel_template.contract import LOCAL, SKYPILOT
from orchestrator.cli.context import data_folder, load, settings_options
from orchestrator.cli.show.console import quoted
from orchestrator.cli.show.transfer import Lines
from orchestrator.files import home_folder
from orchestrator.kaggle.auth import known_username
from orchestrator.render.kernel import write_rendered
from orchestrator.results import Results
from orchestrator.run.push import preview

if TYPE_CHECKING:
    from orchestrator.settings import Settings

_NO_OWNER = "your-name"
_FOLDERS = {"kaggle": Path("kernel"), SKYPILOT: Path("skypilot")}


@click.command()
@click.option(
    "--for",
    "place",
    type=click.Choice(list(_FOLDERS)),
    default="kaggle",
    show_default=True,
    help="Where it will run: on Kaggle, or as a managed job of SkyPilot.",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write to. Default: kernel, or skypilot.",
)
@click.option(
    "--run", "run_id", metavar="ID", help="SkyPilot: the run to continue, if not the settings' own."
)
@click.option("--owner", help="Your Kaggle user name, if neither kgtts.toml nor your login gives it.")
@settings_options
def render(
    place: str,
    *,
    folder: Path | None,
    run_id: str | None,
    owner: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Write the kernel and its metadata, or a task for SkyPilot, to a folder, and send nothing.

    You can read them there. `kaggle kernels push -p DIR` pushes a kernel with the official client;
    `sky jobs launch DIR/task.yaml` starts a task, see [skypilot] in kgtts.toml.
    """
    settings = load(config_path, overrides).settings
    name = settings.kernel.owner or owner or known_username(os.environ, home_folder())
    if name is None:
        name = LOCAL if place == SKYPILOT else _NO_OWNER  # As `kgtts train` names it: it is the same run.
        more = "; another name is another run, so set kernel.owner if you have one" if name == LOCAL else ""
        click.echo(
            f"Note: your Kaggle user name is not known here, so it is written as {name}{more}.", err=True
        )
    folder, settings = folder or _FOLDERS[place], settings.with_owner(name)
    if place == SKYPILOT:
        _render_task(settings, folder, run_id)
        return
    if run_id is not None:
        raise click.UsageError("--run is for --for skypilot: a push to Kaggle finds its run itself.")
    for path in write_rendered(preview(settings), folder):
        click.echo(path)


def _render_task(settings: "Settings", folder: Path, run_id: str | None) -> None:
    # PyYAML, jinja2, and what reads a base voice.
    from orchestrator.places.downloads import KaggleInputs  # noqa: PLC0415
    from orchestrator.places.inputs import InputFinder  # noqa: PLC0415
    from orchestrator.places.skypilot import render_task, write_task  # noqa: PLC0415

    home, results, lines = data_folder(), Results(Path(settings.pull.to)), Lines()
    cache = KaggleInputs(None, home / "inputs", lines, click.echo)
    finder = InputFinder(settings, cache, results, home, lines, click.echo)
    task = render_task(settings, folder, run_id=run_id, find_voice=finder.voice_folder)
    paths = write_task(task, folder)
    for path in paths:
        click.echo(path)
    if paths[2:]:
        click.echo("Note: with .skyignore, SkyPilot uploads also what git ignores in that folder.")
    sky = settings.skypilot
    limit = f"{sky.hours:g} hours of sessions"
    if (price := task.resources.get("max_hourly_cost")) is not None:
        limit += f", on machines of at most ${price:g} an hour each"
    click.echo(f"Run {task.run_id}: at most {limit}.")
    click.echo(f"Start it: sky jobs launch {quoted(str(paths[0]))}")
    click.echo(f"See it:   sky jobs queue, or sky jobs logs --name {task.name}")
    click.echo(f"Stop it:  sky jobs cancel --name {task.name}")
    if task.series is not None:
        click.echo(f"Results:  kgtts pull --from {task.series}")
