"""What `kgtts data check` and `kgtts data prepare` do and print; it needs the extra `data`."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kernel_template.text.speaking import spoken
from orchestrator import untrusted
from orchestrator.cli.context import load, on_interrupt, print_json
from orchestrator.cli.show.console import folded, print_page, quoted, warn
from orchestrator.data import report, study
from orchestrator.data.findings import Outcome
from orchestrator.data.prepare import prepare
from orchestrator.data.store import METADATA
from orchestrator.data.study import Listener, Request
from orchestrator.data.summary import Summary, summarize, verdict
from orchestrator.data.work import AudioSettings
from orchestrator.errors import UsageError
from orchestrator.files import write_atomically
from orchestrator.formatting import counted
from orchestrator.places.inputs import USUAL_DATA
from orchestrator.untrusted import terminal_line

_LISTED = 5  # Findings of a kind on the terminal.


def check_recordings(request: Request, html: Path | None, *, as_json: bool) -> bool:
    """Check recordings and print what is found, as a page too if that is wanted.

    Returns:
        Whether there is anything to make a dataset of.
    """
    with _progress("checking", quiet=as_json) as listener:
        found, outcome = study.check(request, listener)
    numbers = summarize(outcome)
    if html is not None:
        write_atomically(html, report.page(found, outcome, numbers, request.settings))
    if as_json:
        print_json(report.as_json(found, outcome, numbers, request.settings))
        return False
    click.echo(f"Texts: {', '.join(found.transcripts)}")
    _print_findings(outcome)
    _print_summary(numbers, request.settings)
    if html is not None:
        print_page(html, show=False)
    return bool(numbers.utterances)


def make_dataset(request: Request, target: Path, accept: tuple[str, ...], *, as_json: bool) -> None:
    """Make the dataset, or bring it up to date, and print what became of the recordings.

    Raises:
        UsageError: nothing is left to train on.
        KgttsError: as `orchestrator.data.prepare.prepare`.
    """
    with (
        on_interrupt("Interrupted; what was done is kept.", hint="the same command goes on where it was"),
        _progress("preparing", quiet=as_json) as listener,
    ):
        done = prepare(request, target, listener, accept)
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


def read_request(
    path: Path,
    transcripts: tuple[Path, ...],
    rate: int | None,
    base: Path | None,
    *,
    by_folder: bool,
    jobs: int | None,
) -> Request:
    """What the options of both commands say.

    Raises:
        UsageError: the base voice has no sample rate.
    """
    wanted = rate or (_rate_of(base) if base is not None else load().settings.training.sample_rate)
    return Request(path, transcripts, AudioSettings(rate=wanted), spoken, by_folder=by_folder, processes=jobs)


def _rate_of(base: Path) -> int:
    """The sample rate of a base voice.

    Raises:
        UsageError: its config.json has none.
    """
    place = base / "config.json" if base.is_dir() else base
    config = untrusted.as_object(untrusted.read_json_object(place))
    rate = untrusted.count(untrusted.as_object(config.get("audio")).get("sample_rate"), 192_000)
    if not rate:
        raise UsageError(
            f"{place} has no audio.sample_rate.",
            hint="name the base voice's config.json, or give the rate with --rate",
        )
    return rate


def _print_findings(outcome: Outcome) -> None:
    found = report.groups(outcome, _LISTED)
    for group in found:
        # What is only changed needs one example; what costs data or is doubtful needs its place.
        is_changed = group.weight == "changed"
        shown = group.findings[: 1 if is_changed else _LISTED]
        click.secho(f"{group.title} ({group.count:,}) - {group.done}", bold=not is_changed or None)
        for finding in shown:
            place = finding.file if finding.line is None else f"{finding.file}:{finding.line}"
            text = terminal_line(f"{place}: {finding.what}" if finding.what else place)
            click.echo(folded(f"  {text}", indent=4))
        if group.count > len(shown) and not is_changed:
            click.echo(f"  and {group.count - len(shown):,} more; --json lists all")
    if found:
        click.echo()


def _print_summary(summary: Summary, settings: AudioSettings) -> None:
    for name, value in report.facts(summary, settings):
        click.echo(f"{click.style(f'{name:<14}', fg='cyan')} {value}")
    click.echo()
    for number, sentence in enumerate(verdict(summary)):
        click.secho(folded(sentence), bold=True if number == 0 else None)
    click.echo()


class _Quiet:
    """Shows nothing."""

    def started(self, total: int) -> None:
        """Nothing to show."""

    def advanced(self, name: str) -> None:
        """Nothing to show."""


@contextlib.contextmanager
def _progress(what: str, *, quiet: bool) -> Iterator[Listener]:
    """Draw a bar on a terminal; elsewhere, and for JSON, nothing."""
    if quiet or not sys.stderr.isatty():
        yield _Quiet()
        return
    columns = (TextColumn(what), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)

        class _Bar(_Quiet):
            def started(self, total: int) -> None:
                shown.update(task, total=total)

            def advanced(self, name: str) -> None:  # noqa: ARG002  # The bar counts.
                shown.advance(task)

        yield _Bar()
