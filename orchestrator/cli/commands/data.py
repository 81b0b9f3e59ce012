"""`kgtts data`: from a folder of recordings to a dataset."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from orchestrator.cli.show.console import print_page, quoted, warn
from orchestrator.cli.show.uploading import asks, choose, sending_bar
from orchestrator.errors import LocalError, UsageError
from orchestrator.formatting import counted, size
from orchestrator.run.dataset_upload import LICENSES, DatasetUpload, State, read_folder
from orchestrator.untrusted import terminal_line

if TYPE_CHECKING:
    from orchestrator.data.findings import Outcome
    from orchestrator.data.study import Listener, Request
    from orchestrator.data.summary import Summary
    from orchestrator.data.work import AudioSettings

_LISTED = 5  # Findings of a kind on the terminal.


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
        from orchestrator.data import report, study, summary  # noqa: PLC0415  # The extra.

        request = _request(path, transcripts, rate, base, by_folder=by_folder, jobs=jobs)
        with _progress("checking", quiet=as_json) as listener:
            found, outcome = study.check(request, listener)
        numbers = summary.summarize(outcome)
        if html is not None:
            from orchestrator.files import write_atomically  # noqa: PLC0415  # As above.

            write_atomically(html, report.page(found, outcome, numbers, request.settings))
    if as_json:
        print_json(report.as_json(found, outcome, numbers, request.settings))
        return
    click.echo(f"Texts: {', '.join(found.transcripts)}")
    _print_findings(outcome)
    _print_summary(numbers, request.settings)
    if html is not None:
        print_page(html, show=False)
    if numbers.utterances:
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
        from orchestrator.data import prepare as preparing  # noqa: PLC0415  # The extra.
        from orchestrator.data import report  # noqa: PLC0415  # As above.
        from orchestrator.data.store import METADATA  # noqa: PLC0415  # As above.
        from orchestrator.places.inputs import USUAL_DATA  # noqa: PLC0415  # As above.

        request = _request(path, transcripts, rate, base, by_folder=by_folder, jobs=jobs)
        with (
            on_interrupt("Interrupted; what was done is kept.", hint="the same command goes on where it was"),
            _progress("preparing", quiet=as_json) as listener,
        ):
            done = preparing.prepare(request, target, listener, accept)
    if as_json:
        place = {"dataset": str(done.layout.dataset), "worked_on": done.worked, "changed": done.changed}
        findings = report.findings_json(done.outcome)
        print_json({**place, "summary": done.summary.to_json(), "findings": findings})
        return
    _print_findings(done.outcome)
    _print_summary(done.summary, request.settings)
    if done.strangers:
        warn(
            f"{counted(len(done.strangers), 'file')} in {done.layout.wavs} not made by kgtts and not in "
            f"{METADATA}: {', '.join(done.strangers[:3])}"
        )
    work = counted(done.worked, "recording")
    click.echo(f"{work} worked on, {done.summary.recordings - done.worked:,} unchanged.")
    state = "" if done.changed else " (unchanged)"
    click.echo(f"{done.layout.dataset}: {counted(done.summary.utterances, 'utterance')}{state}")
    if done.summary.quarantined:
        listed = done.layout.quarantine / "quarantine.csv"
        click.echo(f"{listed}: {done.summary.quarantined:,} with the reason; --accept ID takes one back")
    click.echo(f"{done.layout.page}: everything that was changed, with players")
    if not done.summary.utterances:
        raise UsageError(
            f"{done.layout.dataset} is empty: nothing can be trained on.",
            hint="quarantine/quarantine.csv says what is wrong with each recording",
        )
    here = "kgtts train" if target == Path(USUAL_DATA) else f"kgtts train --data {quoted(target)}"
    click.echo(f"Next: kgtts data upload {quoted(target)}; to train on this machine instead: {here}")


@data.command(short_help="Upload the dataset to Kaggle, if it changed")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
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
    """Upload a prepared data set as your private dataset on Kaggle.

    FOLDER is what `kgtts data prepare` made: MyTTSDataset, or the folder that holds it. Folders are kept. A
    new version is made only if something has changed, and the command waits until sessions get it. An upload
    that broke off goes on when the command is given again.
    """
    settings = load(config_path, overrides).settings
    found = read_folder(folder, script)
    with workbench() as bench:
        source = settings.with_owner(bench.kaggle.username).inputs.dataset
        bringing = DatasetUpload(bench.kaggle, bench.clock, source)
        if license_name is None and asks() and bringing.state(found) is State.ABSENT:
            click.echo(
                "A dataset on Kaggle needs a licence. Yours is private, so only you see it; `other` says "
                "nothing about what others may do with it."
            )
            license_name = choose(f"{source} is made now. Its licence", LICENSES, LICENSES[0])
        with (
            on_interrupt("Stopped while uploading.", hint="give the same command again; it goes on"),
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
        click.echo(f"  {what}  https://www.kaggle.com/datasets/{done.source}")
    else:
        click.echo(f"Nothing has changed: {done.source} holds these {what} already.")
    if found.left_out:
        click.echo(f"Not uploaded: {', '.join(found.left_out)}")
    if not done.is_private:
        warn(f"{done.source} is public: everybody can hear the recordings. Its page on Kaggle changes that.")
    if not found.has_script:
        click.echo("It has no training script; kgtts brings one along.")
    click.echo("Next: kgtts base add bangla-female, if no base voice is on Kaggle yet; then kgtts doctor")


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


def _request(
    path: Path,
    transcripts: tuple[Path, ...],
    rate: int | None,
    base: Path | None,
    *,
    by_folder: bool,
    jobs: int | None,
) -> "Request":
    from kernel_template.text import spoken  # noqa: PLC0415  # Only these commands need the tables.
    from orchestrator.data.study import Request  # noqa: PLC0415  # The extra.
    from orchestrator.data.work import AudioSettings  # noqa: PLC0415  # As above.

    wanted = rate or (_rate_of(base) if base is not None else load().settings.training.sample_rate)
    return Request(path, transcripts, AudioSettings(rate=wanted), spoken, by_folder=by_folder, processes=jobs)


def _rate_of(base: Path) -> int:
    """The sample rate of a base voice.

    Raises:
        UsageError: its config.json has none.
    """
    from orchestrator import untrusted  # noqa: PLC0415  # As above.

    place = base / "config.json" if base.is_dir() else base
    config = untrusted.as_object(untrusted.read_json_object(place))
    rate = untrusted.count(untrusted.as_object(config.get("audio")).get("sample_rate"), 192_000)
    if not rate:
        raise UsageError(
            f"{place} has no audio.sample_rate.",
            hint="name the base voice's config.json, or give the rate with --rate",
        )
    return rate


def _print_findings(outcome: "Outcome") -> None:
    from orchestrator.data.report import groups  # noqa: PLC0415  # The extra.

    found = groups(outcome, _LISTED)
    for group in found:
        # What is only changed needs one example; what costs data or is doubtful needs its place.
        is_changed = group.weight == "changed"
        shown = group.findings[: 1 if is_changed else _LISTED]
        click.secho(f"{group.title} ({group.count:,}) - {group.done}", bold=not is_changed or None)
        for finding in shown:
            place = finding.file if finding.line is None else f"{finding.file}:{finding.line}"
            click.echo(f"  {terminal_line(f'{place}: {finding.what}' if finding.what else place)}")
        if group.count > len(shown) and not is_changed:
            click.echo(f"  and {group.count - len(shown):,} more; --json lists all")
    if found:
        click.echo()


def _print_summary(summary: "Summary", settings: "AudioSettings") -> None:
    from orchestrator.data.report import facts  # noqa: PLC0415  # The extra.
    from orchestrator.data.summary import verdict  # noqa: PLC0415  # As above.

    for name, value in facts(summary, settings):
        click.echo(f"{click.style(f'{name:<14}', fg='cyan')} {value}")
    click.echo()
    for number, sentence in enumerate(verdict(summary)):
        click.secho(sentence, bold=True if number == 0 else None)
    click.echo()


class _Quiet:
    """Shows nothing."""

    def started(self, total: int) -> None:
        """Nothing to show."""

    def advanced(self, name: str) -> None:
        """Nothing to show."""


@contextlib.contextmanager
def _progress(what: str, *, quiet: bool) -> "Iterator[Listener]":
    """Draw a bar on a terminal; elsewhere, and for JSON, nothing."""
    if quiet or not sys.stderr.isatty():
        yield _Quiet()
        return
    from rich.console import Console  # noqa: PLC0415  # Only a terminal needs rich.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn(what), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)

        class _Bar(_Quiet):
            def started(self, total: int) -> None:
                shown.update(task, total=total)

            def advanced(self, name: str) -> None:  # noqa: ARG002  # The bar counts.
                shown.advance(task)

        yield _Bar()
