"""`kgtts data`: from a folder of recordings to a dataset."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.context import (
    data_folder,
    json_option,
    load,
    on_interrupt,
    out_file,
    print_json,
    settings_options,
    workbench,
)
from orchestrator.cli.show.console import folded, quoted, warn
from orchestrator.cli.show.uploading import asks, choose, sending_bar
from orchestrator.errors import LocalError
from orchestrator.formatting import counted, size
from orchestrator.run.dataset_upload import LICENSES, DatasetUpload, UploadState, read_folder


@click.group()
def data() -> None:
    """Make a dataset from a folder of recordings and their transcript.

    `check` looks and changes nothing; `prepare` makes MyTTSDataset. Both need the extra `data`: in a clone of
    kgtts, pip install ".[data]". `upload` brings it to Kaggle.
    """


def _recordings_options(command: Any) -> Any:
    """Give a command the recordings, and what they become."""
    options = [
        click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path)),
        click.option(
            "--transcripts",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            multiple=True,
            metavar="FILE",
            help="The texts: CSV, TSV, |, Excel or JSON, a row for each recording. Can be repeated. Default: "
            "what is found in PATH, tables or a .txt beside each recording.",
        ),
        click.option(
            "--rate",
            type=click.IntRange(8000, 192_000),
            help="Samples a second. Default: --base's, else training.sample_rate of kgtts.toml (22050).",
        ),
        click.option(
            "--base",
            type=click.Path(exists=True, path_type=Path),
            help="The base voice's folder or config.json: its sample rate is taken.",
        ),
        click.option(
            "--speaker-folders",
            "by_folder",
            is_flag=True,
            help="The folder that a recording is in names its speaker.",
        ),
        click.option(
            "--jobs", type=click.IntRange(1, 256), help="How many recordings at a time. Default: one a core."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@data.command(short_help="Look at recordings and texts, and change nothing")
@_recordings_options
@click.option(
    "--html",
    "html",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=out_file,
    help="Also write a page with players for what is doubtful.",
)
@json_option
def check(
    path: Path,
    *,
    transcripts: tuple[Path, ...],
    rate: int | None,
    base: Path | None,
    by_folder: bool,
    jobs: int | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Look at the recordings in PATH and their texts; nothing is changed.

    Shows what is wrong with each and what `kgtts data prepare` would do about it, how much there is, and
    whether that is enough to fine-tune a voice.
    """
    with _library():
        from orchestrator.cli.show.dataset import check_recordings, read_request  # noqa: PLC0415 - the extra.

    request = read_request(path, transcripts, rate, base, by_folder=by_folder, jobs=jobs)
    if check_recordings(request, html, as_json=as_json):
        click.echo(f"Next: kgtts data prepare {quoted(path)} --to data")


@data.command(short_help="Make the dataset, or bring it up to date")
@_recordings_options
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where to make it: FOLDER/MyTTSDataset, with quarantine/ and report.html beside it.",
)
@click.option(
    "--accept",
    multiple=True,
    metavar="ID",
    help="Take this utterance out of quarantine, now and in later runs. Can be repeated.",
)
@json_option
def prepare(
    path: Path,
    *,
    transcripts: tuple[Path, ...],
    rate: int | None,
    base: Path | None,
    by_folder: bool,
    jobs: int | None,
    target: Path,
    accept: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a dataset of the recordings in PATH: FOLDER/MyTTSDataset. PATH itself is never changed.

    WAV files of one rate, mono, 16 bit; silence trimmed, loudness evened; texts as they are spoken. What
    cannot be judged goes into FOLDER/quarantine with the reason; --accept brings it back. A run that was
    interrupted goes on where it was, and a second run does only what changed.
    """
    with _library():
        from orchestrator.cli.show.dataset import make_dataset, read_request  # noqa: PLC0415 - the extra.

    request = read_request(path, transcripts, rate, base, by_folder=by_folder, jobs=jobs)
    make_dataset(request, target, accept, as_json=as_json)


@data.command(short_help="Upload the dataset to Kaggle, if it changed")
@click.argument("folder", type=click.Path(path_type=Path))
@settings_options
@click.option(
    "--license", "license_name", metavar="NAME", help=f"Its licence on Kaggle: {', '.join(LICENSES)} …"
)
@click.option(
    "--script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A training script of your own. Without one, kgtts brings one along.",
)
@click.option("--notes", default="kgtts data upload", help="What is new in this version.")
@json_option
def upload(
    folder: Path,
    config_path: Path | None,
    overrides: tuple[str, ...],
    *,
    license_name: str | None,
    script: Path | None,
    notes: str,
    as_json: bool,
) -> None:
    """Upload a prepared dataset as your private dataset on Kaggle.

    FOLDER is what `kgtts data prepare` made: MyTTSDataset, or the folder that holds it. Folders are kept. A
    new version is made only if something has changed, and the command waits until sessions get it. An upload
    that broke off goes on when the command is given again.
    """
    settings = load(config_path, overrides).settings
    found = read_folder(folder, script)
    with workbench() as bench:
        source = settings.with_owner(bench.kaggle.username).inputs.dataset
        bringing = DatasetUpload(bench.kaggle, bench.clock, source)
        if license_name is None and asks() and bringing.state(found) is UploadState.ABSENT:
            text = "A dataset on Kaggle needs a licence. Yours is private, so only you see it; `other` says "
            click.echo(folded(f"{text}nothing about what others may do with it."))
            license_name = choose(f"{source} is made now. Its licence", LICENSES, LICENSES[0])
        with (
            on_interrupt("Stopped while uploading.", hint="run the same command again to continue"),
            sending_bar(found.size, data_folder()) as sending,
        ):
            done = bringing.bring(found, license_name=license_name, notes=notes, sending=sending)
    if as_json:
        print_json(
            {
                "dataset": done.source,
                "uploaded": done.is_new,
                "private": done.is_private,
                "files": len(found.files),
                "bytes": found.size,
                "left_out": found.left_out,
            }
        )
        return
    what = f"{counted(len(found.files), 'file')}, {size(found.size)}"
    if done.is_new:
        click.secho(f"Uploaded {done.source}", fg="green", nl=False)
        click.echo(f"  {what}\n  https://www.kaggle.com/datasets/{done.source}")
    else:
        click.echo(f"Nothing has changed: {done.source} holds these {what} already.")
    if found.left_out:
        click.echo(f"Not uploaded: {', '.join(found.left_out)}")
    if not done.is_private:
        warn(f"{done.source} is public: everybody can hear the recordings. Its page on Kaggle changes that.")
    if not found.has_script:
        click.echo("It has no training script; kgtts brings one along.")
    click.echo("Next: kgtts base add bangla-female (unless it is there already), then kgtts doctor")


@contextlib.contextmanager
def _library() -> Iterator[None]:
    """Name the command that installs what is missing.

    Raises:
        LocalError: the extra `data` is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise LocalError(
            f"kgtts data needs the extra `data`, which is not installed ({error}).",
            hint='pip install "kgtts[data]", or in a clone of kgtts: pip install ".[data]"',
        ) from error
