"""`kgtts demo`: the whole chain on this machine, against the emulator, with a real small voice."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.context import data_folder, on_interrupt
from orchestrator.cli.show.follow import Screen
from orchestrator.cli.show.transfer import Lines
from orchestrator.errors import KgttsError
from orchestrator.formatting import size
from orchestrator.run.context import RunContext

if TYPE_CHECKING:
    from orchestrator.emulator.demo.rehearsal import Demo


class _Stage:
    """Shows the demo as it goes."""

    def step(self, name: str, text: str) -> None:
        click.echo(f"{click.style(f'{name:<10}', fg='cyan')} {text}")

    def viewer(self, bench: RunContext) -> Screen:
        return Screen(bench)

    def listener(self) -> Lines:
        return Lines()


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="The folder for everything that the demo makes.",
)
@click.option(
    "--epochs", type=click.IntRange(1, 1000), default=2, show_default=True, help="How long to train."
)
def demo(folder: Path, epochs: int) -> None:
    """Try everything on this machine: no account, no GPU, no quota.

    An emulator of Kaggle starts here. The training is pushed to it with the official client and followed, and
    it really trains a small Bangla voice, which speaks. The emulator's sessions are so short that a second
    one has to continue where the first stopped.

    Needs the extra `local` (PyTorch, Coqui and more): in a clone of kgtts, `make demo` installs it and runs
    this, or pip install ".[local]" --constraint constraints.txt.
    """
    from orchestrator.emulator import conceal_environment  # noqa: PLC0415  # Says which package is missing.
    from orchestrator.emulator.demo.rehearsal import (  # noqa: PLC0415  # Needs the extra `local`.
        package_demo,
        rehearse,
        speak_demo,
        write_demo_report,
    )

    conceal_environment()
    stage = _Stage()
    with on_interrupt(
        "Stopped; the demo's emulator and its training have ended.", hint="`kgtts demo` starts again"
    ):
        made = rehearse(folder.resolve(), data_folder(), epochs, stage)
        try:
            write_demo_report(made)
        except KgttsError as error:  # The demo has done its work without it.
            click.secho(f"{error.message} {error.hint or ''}", fg="yellow", err=True)
        try:
            stage.step("say", speak_demo(made))
            out = package_demo(made)
            stage.step(
                "package", f"{out.name}, {size(out.stat().st_size)}: for phones (sherpa-onnx), Piper, kgtts"
            )
        except KgttsError as error:  # As above.
            click.secho(f"{error.message} {error.hint or ''}", fg="yellow", err=True)
    _print_end(made)


def _print_end(made: "Demo") -> None:
    """Print where each result lies, how the losses moved, and what to type for the real Kaggle."""
    first, last = made.losses
    click.echo()
    click.secho(f"Trained to step {made.result['global_step']}.", fg="green", bold=True, nl=False)
    new = " It rises first, since the speaker is new." if last > first else ""
    click.echo(f" Mel loss: {first:.2f} in the first epoch, {last:.2f} in the last.{new}")
    click.echo(
        "The base voice speaks as a man, the recordings are a woman's. So few steps only show the way:"
    )
    click.echo("compare validation_samples/base with the newest step's.\n")
    here = Path.cwd()
    for name, path in made.places.items():
        near = path.relative_to(here) if path.is_relative_to(here) else path
        click.echo(f"  {name:<13} {near}{'' if path.exists() else '  (missing)'}")
    click.echo("\nFor the real Kaggle:")
    for command, what in (
        ("kgtts init", "asks for your dataset and base voice, and writes kgtts.toml"),
        ("export KAGGLE_API_TOKEN=…", "from https://www.kaggle.com/settings/api"),
        ("kgtts doctor", "checks login, inputs and quota"),
        ("kgtts push --wait", "trains, and downloads the results"),
        ('kgtts say "আমি বাংলায় গান গাই।"', "speaks with the voice that was trained"),
    ):
        click.echo(f"  {click.style(f'{command:<32}', bold=True)} {what}")
