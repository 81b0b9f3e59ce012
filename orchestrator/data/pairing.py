"""Find the text of each recording, and give each a name in the dataset."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.data.findings import Finding, Outcome
from orchestrator.data.recordings import Folder, Names, Recording
from orchestrator.data.tables import Row, Transcript

_LONGEST_ID = 60
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])", re.IGNORECASE)  # Windows has no such files.


@dataclass(frozen=True, slots=True)
class Paired:
    """A recording and the text that is meant for it.

    Attributes:
        recording: the recording.
        id: its name in the dataset.
        row: the row of its text; None without one.
        sentences: its text, sentence by sentence.
        speaker: who speaks.
        findings: what is wrong with the pairing.
    """

    recording: Recording
    id: str
    row: Row | None
    sentences: tuple[str, ...]
    speaker: str
    findings: tuple[Finding, ...]


def letters(text: str) -> int:
    """How many letters, vowel signs and digits a text has."""
    return sum(1 for letter in text if letter.isalnum() or unicodedata.category(letter)[0] == "M")


_SENTENCE = re.compile(r"[^।॥?!]+[।॥?!]*[\"”’')\]]*\s*")


def sentences(text: str) -> tuple[str, ...]:
    """Split a text behind each sentence's end."""
    found = [part.strip() for part in _SENTENCE.findall(text)]
    return tuple(part for part in found if letters(part))


def comparable(text: str) -> str:
    """A text in which white space and Unicode form do not count."""
    return "".join(letter for letter in unicodedata.normalize("NFC", text) if not letter.isspace())


def ids(recordings: Sequence[Recording]) -> dict[str, str]:
    """Give each recording a name in the dataset: ASCII letters, digits and `_`, whatever its own name.

    A name that would lose letters, or that another recording has too, ends in a hash of its path, so that it
    stays the same when recordings come and go.
    """
    common = {item.name.split("/")[0] for item in recordings if "/" in item.name}
    nested = len(common) == 1 and all("/" in item.name for item in recordings)
    plain: dict[str, str] = {}
    for item in recordings:
        stem = item.stem.partition("/")[2] if nested else item.stem
        plain[item.name] = name = re.sub(r"[^0-9A-Za-z]+", "_", stem).strip("_")
        is_whole = letters(stem) == letters(name) and 0 < len(name) <= _LONGEST_ID
        if not is_whole or _RESERVED.fullmatch(name):
            plain[item.name] = f"{name[:_LONGEST_ID]}_{_hash(item.name)}".strip("_")
    uses = Counter(name.casefold() for name in plain.values())
    return {
        item: name if uses[name.casefold()] == 1 else f"{name}_{_hash(item)}" for item, name in plain.items()
    }


def _hash(name: str) -> str:
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


def pair(
    folder: Folder, transcripts: Sequence[Transcript], names: Names, *, by_folder: bool = False
) -> tuple[list[Paired], Outcome]:
    """Find the text of each recording. Returns the pairs, and an outcome with what was found on the way.

    Args:
        folder: the recordings.
        transcripts: their texts.
        names: the recordings' names.
        by_folder: whether the folder that a recording is in names its speaker.
    """
    outcome = Outcome(rows=[row for item in transcripts for row in item.rows])
    outcome.findings += [Finding("not_a_recording", name, what=why) for name, why in folder.skipped]
    for item in transcripts:
        if item.form:
            outcome.findings.append(Finding("form", item.file, what=", ".join(item.form)))
        outcome.findings += [
            Finding("bad_row", item.file, line, f"{why}: {whole!r}") for line, whole, why in item.bad
        ]
    meant: dict[str, list[Row]] = {}
    for row in outcome.rows:
        match = names.find(row.name)
        if not match.found:
            outcome.findings.append(Finding("no_recording", row.file, row.line, f"{row.name!r}"))
        elif len(match.found) > 1:
            fits = ", ".join(item.name for item in match.found[:3])
            outcome.findings.append(Finding("several", row.file, row.line, f"{row.name!r} fits {fits}"))
        else:
            meant.setdefault(match.found[0].name, []).append(row)
            if match.why:
                what = f"{row.name!r} means {match.found[0].name}: {match.why}"
                outcome.findings.append(Finding("name", row.file, row.line, what))
            outcome.findings += [Finding("text", row.file, row.line, what) for what in row.changes]
    known = ids(folder.recordings)
    pairs = [
        _paired(item, known[item.name], meant.get(item.name, []), outcome, by_folder=by_folder)
        for item in folder.recordings
    ]
    return pairs, outcome


def _paired(recording: Recording, name: str, rows: list[Row], outcome: Outcome, *, by_folder: bool) -> Paired:
    folder = PurePosixPath(recording.folder).name if by_folder else ""
    if not rows:
        return Paired(recording, name, None, (), folder, (Finding("no_text", recording.name),))
    first, *others = rows
    findings: list[Finding] = []
    if any(comparable(row.text) != comparable(first.text) for row in others):
        places = ", ".join(f"{row.file}:{row.line}" for row in rows)
        findings.append(Finding("texts_differ", recording.name, what=places))
        outcome.findings += [Finding("texts_differ", row.file, row.line, recording.name) for row in others]
    else:
        what = f"{recording.name} has line {first.line}"
        outcome.findings += [Finding("repeated_row", row.file, row.line, what) for row in others]
    text = first.text if first.spoken is None else first.spoken
    return Paired(recording, name, first, sentences(text), first.speaker or folder, tuple(findings))
