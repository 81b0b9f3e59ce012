"""`kgtts base`: the voices that a training can begin from."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from orchestrator.base.sources import KNOWN_VOICES, Download, KnownVoice, found
from orchestrator.base.voice import BaseVoice, read_voice
from orchestrator.cli.context import (
    data_folder,
    json_option,
    load,
    on_interrupt,
    print_json,
    settings_options,
    workbench,
)
from orchestrator.cli.show.console import warn
from orchestrator.cli.show.transfer import Bar
from orchestrator.cli.show.uploading import asks, choose, sending_bar
from orchestrator.download import TransferListener
from orchestrator.formatting import size
from orchestrator.run.voice_upload import LICENSES, UploadedVoice, VoiceUpload
from orchestrator.settings import LoadedSettings
from orchestrator.settings.edit import set_in_file
from orchestrator.settings.template import to_toml

_BYTES = 4  # Of a parameter.


@click.group()
def base() -> None:
    """Find a base voice, check it and put it on Kaggle: what a training begins from."""


@base.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the base voices that are known to work: language, licence, size and source."""
    if as_json:
        print_json([asdict(voice) for voice in KNOWN_VOICES])
        return
    for voice in KNOWN_VOICES:
        click.echo(f"{click.style(voice.name, bold=True)}  {voice.language}: {voice.about}")
        click.echo(f"  licence  {voice.license}{_use(voice)}")
        click.echo(f"  size     {_size_of(voice)}")
        click.echo(f"  from     {voice.source}")
        click.echo(f"           {voice.url}")
    click.echo("Next: kgtts base add NAME, or a folder, ZIP archive or https address of your own")


@base.command("add")
@click.argument("voice", metavar="NAME|FOLDER|ZIP|URL")
@settings_options
@click.option("--license", "license_name", metavar="NAME", help=f"One of {', '.join(LICENSES)} or another.")
@click.option("--dry-run", is_flag=True, help="Check and convert it, and upload nothing.")
@json_option
def add(
    voice: str,
    config_path: Path | None,
    overrides: tuple[str, ...],
    *,
    license_name: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Check a base voice and upload it as your private model on Kaggle, version by version.

    Looks at config.json and the checkpoint without running what is in them: architecture, letters, sample
    rate. What an older Coqui wrote is converted, and said. Optimizers are left out, so that a third is
    uploaded. The model is that of inputs.model (ttsbnng/transformers/default); if the version or the sample
    rate differs from kgtts.toml, that file is changed.
    """
    loaded = load(config_path, overrides)
    listener = TransferListener() if as_json else Bar()
    known = next((item for item in KNOWN_VOICES if item.name == voice), None)
    with (
        on_interrupt("Stopped.", hint="run the same command again to continue"),
        tempfile.TemporaryDirectory(prefix="kgtts-") as made,
        found(voice, data_folder(), listener, _announce) as (config, checkpoint),
    ):
        read = read_voice(config, checkpoint)
        if not as_json:
            _print_voice(read, known)
        uploaded = None
        if not dry_run:
            files = read.write(Path(made))
            wanted = license_name or (known.kaggle_license if known else None)
            uploaded = _upload(loaded, files, wanted)
    changed = {} if uploaded is None else _update(loaded, read, uploaded)
    if as_json:
        print_json(_as_json(read, uploaded, changed))
        return
    if uploaded is None:
        click.echo("Nothing was uploaded. Next: the same command without --dry-run")
        return
    if uploaded.is_new:
        click.secho(f"Uploaded {uploaded.source}", fg="green", nl=False)
        click.echo(f"  https://www.kaggle.com/models/{uploaded.source}")
    else:
        click.echo(f"Nothing has changed: {uploaded.source} holds this voice already.")
    for key, value in changed.items():
        where = "Set in kgtts.toml" if loaded.path is None else f"Set in {loaded.path} for you"
        click.echo(f"{where}: {key} = {to_toml(value)}")
    click.echo("Next: kgtts push")


def _use(voice: KnownVoice) -> str:
    return "" if voice.is_commercial else " (NON-COMMERCIAL: neither the voice nor its speech may be sold)"


def _size_of(voice: KnownVoice) -> str:
    if voice.parameters is None:
        return "shown before the download"
    return f"{voice.parameters / 1e6:.1f} million parameters, {size(voice.parameters * _BYTES)} of weights"


def _announce(download: Download) -> None:
    how = size(download.size) if download.size is not None else "of unknown size"
    click.echo(f"Downloading {download.url} ({how})", err=True)


def _print_voice(voice: BaseVoice, known: KnownVoice | None) -> None:
    checkpoint = voice.checkpoint
    step = checkpoint.other.get("step")
    trained = f", trained to step {step:,}" if isinstance(step, int) and step > 0 else ""
    click.echo(
        f"VITS of {checkpoint.parameters / 1e6:.1f} million parameters, {voice.letters} letters, "
        f"{voice.sample_rate:,} Hz{trained}"
    )
    if known is not None:
        click.echo(f"Licence: {known.license}{_use(known)}")
    for sentence in voice.changed:
        click.echo(f"Changed: {sentence}")
    for sentence in voice.warnings:
        warn(sentence)


def _upload(loaded: LoadedSettings, files: dict[str, Path], license_name: str | None) -> UploadedVoice:
    total = sum(path.stat().st_size for path in files.values())
    with workbench() as bench:
        source = loaded.settings.with_owner(bench.kaggle.username).inputs.model
        variation = source.rpartition("/")[0]
        upload = VoiceUpload(bench.kaggle, bench.clock, variation)
        if license_name is None and asks() and upload.newest() is None:
            license_name = choose(f"{variation} is made now. The voice's licence", LICENSES, LICENSES[-1])
        with sending_bar(total, data_folder()) as sending:
            return upload.bring(files, license_name=license_name, notes="kgtts base add", sending=sending)


def _update(loaded: LoadedSettings, voice: BaseVoice, uploaded: UploadedVoice) -> dict[str, object]:
    """Let kgtts.toml name the version and the voice's rate; return what had to be set."""
    settings = loaded.settings
    number = uploaded.source.rpartition("/")[2]
    model = f"{settings.inputs.model.rpartition('/')[0]}/{number}"
    wanted: dict[str, object] = {"inputs.model": model, "training.sample_rate": voice.sample_rate}
    have = {"inputs.model": settings.inputs.model, "training.sample_rate": settings.training.sample_rate}
    changed = {key: value for key, value in wanted.items() if have[key] != value}
    if changed and loaded.path is not None:
        set_in_file(loaded.path, changed)
    return changed


def _as_json(
    voice: BaseVoice, uploaded: UploadedVoice | None, changed: dict[str, object]
) -> dict[str, object]:
    return {
        "parameters": voice.checkpoint.parameters,
        "letters": voice.letters,
        "sample_rate": voice.sample_rate,
        "changed": voice.changed,
        "warnings": voice.warnings,
        "model": None if uploaded is None else uploaded.source,
        "uploaded": uploaded is not None and uploaded.is_new,
        "settings": changed,
    }
