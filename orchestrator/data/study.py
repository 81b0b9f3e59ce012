"""Look at a folder of recordings and their texts as a whole: what `check` and `prepare` share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orchestrator.data.checks import Rules, Speak, judge
from orchestrator.data.findings import Finding, Outcome
from orchestrator.data.pairing import Paired, letters, pair
from orchestrator.data.pool import cores, work_all
from orchestrator.data.recordings import ENDINGS, Folder, Names, scan
from orchestrator.data.tables import Transcript, TranscriptError, read_table
from orchestrator.data.transcripts import find_transcripts
from orchestrator.data.work import AudioSettings, Job, Worked
from orchestrator.errors import LocalError, UsageError
from orchestrator.formatting import counted


class Listener(Protocol):
    """Hears how far the work is."""

    def started(self, total: int) -> None:
        """So many recordings are to be worked on."""

    def advanced(self, name: str) -> None:
        """One more is done."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to look at.

    Attributes:
        folder: the recordings.
        transcripts: the files with the texts; empty to look for them in the folder.
        settings: what the recordings become.
        speak: makes the spoken form of a text.
        by_folder: whether the folder that a recording is in names its speaker.
        processes: how many work at the same time; None for one a core.
    """

    folder: Path
    transcripts: tuple[Path, ...]
    settings: AudioSettings
    speak: Speak
    by_folder: bool = False
    processes: int | None = None


@dataclass(slots=True)
class Found:
    """Recordings and texts, before anything is decoded."""

    folder: Folder
    pairs: list[Paired]
    outcome: Outcome
    transcripts: list[str] = field(default_factory=list)


def find(request: Request, leave_out: Path | None = None) -> Found:
    """Find the recordings of a folder and their texts.

    Raises:
        UsageError: there are no recordings, no texts, or a transcript cannot be read.
        LocalError: the folder cannot be read.
    """
    try:
        folder = scan(request.folder, leave_out)
    except OSError as error:
        raise LocalError(
            f"Could not read {error.filename or request.folder}: {error.strerror or error}."
        ) from error
    if not folder.recordings:
        raise UsageError(
            f"There are no recordings in {request.folder}, only {counted(len(folder.files), 'other file')}.",
            hint=f"name the folder that has them; kgtts reads {', '.join(sorted(ENDINGS))}",
        )
    names = Names(folder.recordings)
    unread: list[tuple[str, str]] = []
    if request.transcripts:
        transcripts = [_read(path, request.folder, names) for path in request.transcripts]
    else:
        transcripts, unread = find_transcripts(folder, names)
    if not any(item.rows for item in transcripts):
        raise UsageError(_no_texts(request, transcripts, unread), hint=_TRANSCRIPTS_HINT)
    pairs, outcome = pair(folder, transcripts, names, by_folder=request.by_folder)
    outcome.findings += [Finding("transcript", name, what=why) for name, why in unread]
    return Found(folder, pairs, outcome, [item.file for item in transcripts])


_TRANSCRIPTS_HINT = (
    "a transcript has a row for each recording, its name and its text: CSV, TSV, |, Excel or JSON; "
    "name it with --transcripts FILE"
)


def _read(path: Path, folder: Path, names: Names) -> Transcript:
    label = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    try:
        return read_table(path, names, label)
    except TranscriptError as error:
        raise UsageError(f"{path} {error}.", hint=_TRANSCRIPTS_HINT) from error


def _no_texts(request: Request, transcripts: Sequence[Transcript], unread: list[tuple[str, str]]) -> str:
    if transcripts:
        return f"{transcripts[0].file} has no row with a name and a text."
    text = f"There is no text for the recordings in {request.folder}"
    return f"{text}: {unread[0][0]} {unread[0][1]}." if unread else f"{text}."


def jobs_for(found: Found, request: Request) -> list[Job]:
    """What to do with each recording, if nothing is to be written."""
    return [
        Job(
            item.recording.name,
            item.recording.path,
            tuple(letters(request.speak(part).text) for part in item.sentences),
            None,
        )
        for item in found.pairs
    ]


def check(request: Request, listener: Listener) -> tuple[Found, Outcome]:
    """Look at recordings and texts; nothing is written.

    Raises:
        UsageError, LocalError: as `find`.
    """
    found = find(request)
    jobs = jobs_for(found, request)
    listener.started(len(jobs))
    worked: dict[str, Worked] = {}
    for item in work_all(jobs, request.settings, request.processes or cores()):
        worked[item.name] = item
        listener.advanced(item.name)
    outcome = judge(found.pairs, worked, found.outcome, Rules(request.settings, request.speak))
    ensure_nothing_is_lost(outcome, found.folder)
    return found, outcome


def ensure_nothing_is_lost(outcome: Outcome, folder: Folder) -> None:
    """Refuse to go on if a row or a recording would vanish without a word.

    Raises:
        RuntimeError: one would: a fault in kgtts.
    """
    lost = outcome.unaccounted(folder)
    if lost:
        raise RuntimeError(f"{len(lost)} rows or recordings are not accounted for, the first is {lost[0]}")
