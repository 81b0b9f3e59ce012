"""`kgtts init`: write the settings file, by a few questions at a terminal or by flags."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
from pydantic import ValidationError

from orchestrator.base.sources import KNOWN_VOICES
from orchestrator.base.voice import read_config
from orchestrator.cli.show.console import folded, quoted
from orchestrator.cli.show.uploading import asks
from orchestrator.errors import CredentialsError, KgttsError, UsageError
from orchestrator.files import expanded, home_folder, write_atomically
from orchestrator.kaggle.auth import find_credentials
from orchestrator.models import MAX_RUN_LENGTH, MIN_SLUG_LENGTH
from orchestrator.settings import FILE_NAME, Settings, default_toml, slugify
from orchestrator.settings.template import short_toml

_DEFAULTS = Settings()
_ON_KAGGLE = "kaggle"  # The answer that nothing is to be uploaded.
_DATA = "data"  # The folder that the commands shown afterwards prepare.


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The folder to write to. Default: this one.",
)
@click.option("--user", metavar="NAME", help="Your Kaggle user name. Default: the user of the login.")
@click.option("--name", "voice", metavar="TEXT", help="The voice's name; the run is called after it.")
@click.option(
    "--recordings",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder with your recordings and their transcript.",
)
@click.option("--dataset", metavar="SLUG", help="The dataset on Kaggle. Default: called after the voice.")
@click.option(
    "--base",
    metavar="NAME|FOLDER|ZIP|URL",
    help=f"The base voice to upload: {', '.join(voice.name for voice in KNOWN_VOICES)}, or one of your own.",
)
@click.option("--all", "with_all", is_flag=True, help="Write every setting, its default and what it means.")
@click.option("--force", is_flag=True, help="Replace a kgtts.toml that exists.")
def init(
    folder: Path,
    *,
    user: str | None,
    voice: str | None,
    recordings: Path | None,
    dataset: str | None,
    base: str | None,
    with_all: bool,
    force: bool,
) -> None:
    """Write kgtts.toml, with only what differs from the defaults, and say what to do next.

    At a terminal it asks for what no option tells: your Kaggle user, the voice's name, the recordings and the
    base voice. Elsewhere it asks nothing.
    """
    path = folder / FILE_NAME
    if path.exists() and not force:
        raise UsageError(f"{path} exists already.", hint="edit it, or replace it with `kgtts init --force`")
    own = _own_user()
    if asks() and not with_all:
        click.echo("Enter takes what stands in brackets.")
        if user is None:
            empty = "" if own else " (empty: none, to train on this machine)"
            user = click.prompt(
                f"Your Kaggle user name{empty}", default=own or "", show_default=bool(own), value_proc=_user
            )
        voice = voice or click.prompt("The voice's name", default=_DEFAULTS.kernel.slug, value_proc=_named)
        if recordings is None and dataset is None:
            recordings = click.prompt(
                "The folder with your recordings (empty: the dataset is on Kaggle)",
                default="",
                show_default=False,
                value_proc=_folder,
            )
            if recordings is None:
                dataset = click.prompt("The dataset on Kaggle", default=_DEFAULTS.inputs.dataset)
        if base is None:
            known = ", ".join(each.name for each in KNOWN_VOICES)
            base = click.prompt(
                folded(
                    f"The base voice to begin with: {known}, or a folder, ZIP archive or https address; "
                    f"{_ON_KAGGLE} if it is there already"
                ),
                default=KNOWN_VOICES[0].name,
                value_proc=_base,
            )
    slug = _slug(voice) if voice else None
    if dataset is None and recordings is not None and slug is not None:
        dataset = f"{slug[:45]}-data".replace("--", "-")
    values: dict[str, object] = {
        "kernel.owner": user if user and user != own else None,
        "kernel.slug": slug,
        "inputs.dataset": dataset,
        "training.sample_rate": _rate(base),
    }
    changed = {key: value for key, value in values.items() if value is not None and value != _default(key)}
    _check(changed)
    write_atomically(path, default_toml(changed) if with_all else short_toml(changed))
    click.echo(f"Wrote {path}.")
    _print_next(recordings, base or None, here=user == "")


def _print_next(recordings: Path | None, base: str | None, *, here: bool) -> None:
    """Show the commands that lead from here to a training, on this machine or on Kaggle."""
    prepare = [] if recordings is None else [f"kgtts data prepare {quoted(recordings)} --to {_DATA}"]
    train = "kgtts train" + (f" --voice {quoted(base)}" if base is not None else "")
    if here:
        click.echo("Next, one after the other:")
        for command in [*prepare, train]:
            click.echo(f"  {command}")
        return
    commands = [*prepare, f"kgtts data upload {_DATA}"] if prepare else []
    if base is not None:
        commands.append(f"kgtts base add {quoted(base)}")
    if not commands:
        click.echo("Next: kgtts doctor, then kgtts push")
        return
    click.echo("Next, one after the other:")
    for command in [*commands, "kgtts doctor", "kgtts push"]:
        click.echo(f"  {command}")
    if prepare:
        click.echo(f"On this machine instead of Kaggle: {prepare[0]}, then {train}")


def _own_user() -> str | None:
    """The user of the login, if it tells it without a call."""
    try:
        return find_credentials(os.environ, home_folder()).username
    except CredentialsError:
        return None


def _named(text: str) -> str:
    """Read a voice's name at the prompt; another is asked for if no run can be called so."""
    with _asking_again():
        _slug(text)
    return text


def _user(text: str) -> str:
    """Read a user name at the prompt; it is part of the address of a Kaggle profile."""
    if text.strip():
        with _asking_again():
            _check({"kernel.owner": text.strip()})
    return text.strip()


def _base(text: str) -> str:
    """Read a base voice at the prompt: a known one, what is here, an address, or nothing."""
    text = text.strip().strip("'\"")
    if text == _ON_KAGGLE:
        return ""
    if "://" in text or expanded(text).exists() or text in {voice.name for voice in KNOWN_VOICES}:
        return text
    raise click.BadParameter(f"{text} is no base voice that kgtts knows, and no folder or file.")


@contextmanager
def _asking_again() -> Iterator[None]:
    """Let the prompt ask again for what cannot be."""
    try:
        yield
    except KgttsError as error:
        hint = f" {error.hint[0].upper()}{error.hint[1:]}." if error.hint else ""
        raise click.BadParameter(f"{error.message}{hint}") from None


def _slug(name: str) -> str:
    """Return the run's name of a voice's.

    Raises:
        UsageError: too little of it is left in Kaggle's letters.
    """
    slug = slugify(name)[:MAX_RUN_LENGTH].strip("-")
    if len(slug) < MIN_SLUG_LENGTH:
        raise UsageError(
            f"{name!r} cannot be a run's name: Kaggle wants {MIN_SLUG_LENGTH} or more of a-z, 0-9 and -.",
            hint='write it in Latin letters, such as "asha bangla"',
        )
    return slug


def _folder(text: str) -> Path | None:
    """Read a folder at the prompt, as it is typed or dragged into the terminal."""
    text = text.strip().strip("'\"")
    if text and not expanded(text).is_dir():
        raise click.BadParameter(f"{text} is not a folder.")
    return expanded(text) if text else None


def _rate(base: str | None) -> int | None:
    """The sample rate of a base voice that is here."""
    place = Path(base) if base else None
    if place is None or not place.is_dir():
        return None
    found = next(iter(sorted(place.rglob("config.json"))), None)
    audio = None if found is None else read_config(found).get("audio")
    rate = audio.get("sample_rate") if isinstance(audio, dict) else None
    return rate if isinstance(rate, int) else None


def _default(key: str) -> object:
    section, name = key.split(".")
    return getattr(getattr(_DEFAULTS, section), name)


def _check(values: Mapping[str, object]) -> None:
    """See that the settings are valid before they are written.

    Raises:
        UsageError: one is not.
    """
    tables: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        section, name = key.split(".")
        tables.setdefault(section, {})[name] = value
    try:
        Settings.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        key, why = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{key} = {values.get(key)!r}: {why}") from error
