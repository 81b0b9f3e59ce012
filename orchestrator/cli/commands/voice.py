"""`kgtts voice`: a voice to give away."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.context import json_option, load, on_interrupt, out_file, print_json, run_argument
from orchestrator.cli.show.console import signs, warn
from orchestrator.formatting import counted, size
from orchestrator.models import KernelRef
from orchestrator.results import PulledSession, Results
from orchestrator.voice.card import find_card, load_card
from orchestrator.voice.facts import read_facts
from orchestrator.voice.finding import pulled_voice
from orchestrator.voice.licences import NAMES
from orchestrator.voice.package import is_package, open_package, write_package
from orchestrator.voice.packaging import Contents, VoiceDetails, package_contents


@click.group()
def voice() -> None:
    """Make a package of a voice that phones and other programs take."""


def about_options(command: Any) -> Any:
    """Give a command what people say of a voice that they give away."""
    for option in (
        click.option("--author", metavar="NAME", help="Who gives it, as it is to be named."),
        click.option(
            "--base-license", metavar="NAME", help="The licence of the voice that the training began with."
        ),
        click.option(
            "--license",
            "license_name",
            metavar="NAME",
            help=f"The voice's licence: {', '.join(NAMES)}. See that data and base voice allow it.",
        ),
        click.option("--title", metavar="TEXT", help="What the voice is called. Default: the run's slug."),
        click.option(
            "--voice",
            "place",
            type=click.Path(exists=True, path_type=Path),
            help="Instead of a run's voice, this one: a voice.json, or a folder that contains one.",
        ),
    ):
        command = option(command)
    return command


@voice.command("package", short_help="Write a voice as a ZIP archive for phones")
@run_argument
@about_options
@click.option(
    "--out",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=out_file,
    default=Path("voice.zip"),
    show_default=True,
    help="The archive to write.",
)
@json_option
def package(run: str | None, out: Path, *, as_json: bool, **about: Any) -> None:
    """Write a run's voice as a package: a ZIP archive for sherpa-onnx (phones), Piper and kgtts.

    It has the model, its vocabulary, text rules, samples, a README with the run's own figures, the licence
    and a list of hashes. The same voice gives the same archive. Needs the extra `speak`.
    """
    if out.suffix.lower() != ".zip":
        raise click.UsageError(f"--out {out} does not end with .zip: no program would take it for a package.")
    with on_interrupt("Stopped; no archive was written."):
        contents = contents_of(run, **about)
        identity = write_package(out, contents.files)
        with open_package(out) as made:  # What was written is whole.
            assert made.identity == identity
    total = out.stat().st_size
    if as_json:
        files = {name: len(data) for name, data in sorted(contents.files.items())}
        print_json(
            {"file": str(out), "size": total, "identity": identity, "files": files, "notes": contents.notes}
        )
        return
    tell(contents)
    click.echo(
        f"{click.style(signs().done, fg='green')} {out}: {size(total)}, "
        f"{counted(len(contents.files), 'file')}, identity {identity[:12]}"
    )
    click.echo("Next: unpack it for sherpa-onnx or Piper as its README.md says, or kgtts publish --help")


def contents_of(
    run: str | None,
    *,
    place: Path | None,
    title: str | None,
    license_name: str | None,
    base_license: str | None,
    author: str | None,
) -> Contents:
    """Make the contents of a package of the voice that a person means."""
    if run is not None and place is not None:
        raise click.UsageError("RUN and --voice each name a voice; give one of them.")
    if place is not None and place.is_file() and is_package(place):
        raise click.UsageError(
            f"{place} is a package already. Publish it with --package, or unpack it to make another of it."
        )
    loaded = load()
    settings, slug = loaded.settings, loaded.settings.kernel.slug if loaded.path else None
    sessions: list[PulledSession] = []
    if place is None:
        sessions = Results(Path(settings.pull.to)).find(run, slug)
    card_place = find_card(place) if place is not None else pulled_voice(sessions)
    is_ours = loaded.path is not None and place is None and run is None
    inputs = {"Data": settings.inputs.dataset, "Base voice": settings.inputs.model} if is_ours else {}
    card = load_card(card_place)
    facts = read_facts(sessions, card.global_step, inputs)
    kernel = (card.run.kernel or "").rpartition("/")[2]
    name = title or (KernelRef("", kernel).base.slug if kernel else "voice")
    return package_contents(card_place, facts, VoiceDetails(name, license_name, base_license, author))


def tell(contents: Contents) -> None:
    """Say what is to be known of a package."""
    for note in contents.notes:
        warn(note)
