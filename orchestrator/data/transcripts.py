"""Find the transcripts in a folder of recordings: tables, or a text file beside each recording."""

from collections import Counter
from pathlib import Path, PurePosixPath

from kernel_template.text.encodings import decode
from kernel_template.text.metadata import normal
from orchestrator.data.recordings import Folder, Names, Recording
from orchestrator.data.tables import (
    FOREIGN_ENDINGS,
    TABLE_ENDINGS,
    Row,
    Transcript,
    TranscriptError,
    read_table,
    tidy,
    unread_words,
)

Unread = tuple[str, str]  # A file that looks like a transcript, and why it is not read.


def find_transcripts(folder: Folder, names: Names) -> tuple[list[Transcript], list[Unread]]:
    """Find and read the transcripts in a folder.

    A table is read if it names recordings that no better one names; text files count for recordings that no
    table names. Returns the transcripts, and the files that look like transcripts but are not read, with why.
    """
    beside = _beside(folder)
    tables, unread = _tables(folder, names, set(beside.values()))
    found: list[Transcript] = []
    named: set[str] = set()
    # Of tables that name the same recordings, the one of the usual name goes first.
    for read, known in sorted(tables, key=lambda item: (-len(item[1]), _rank(item[0].file))):
        if known <= named:
            unread.append((read.file, "names only recordings that another transcript names"))
            continue
        found.append(read)
        named |= known
    texts = Transcript("text files beside the recordings")
    for recording, name in beside.items():
        if recording.name not in named:
            _read_text(folder.path / name, name, recording, texts)
    return [*found, *([texts] if texts.rows or texts.bad else [])], unread


def _tables(
    folder: Folder, names: Names, taken: set[str]
) -> tuple[list[tuple[Transcript, set[str]]], list[Unread]]:
    """Read all tables. Returns each with the recordings that it names, and those that are not read."""
    found, unread = [], []
    for name in folder.files:
        path = PurePosixPath(name)
        ending = path.suffix.lower()
        if (
            name in taken
            or path.name.startswith((".", "~$"))
            or ending not in TABLE_ENDINGS | {*FOREIGN_ENDINGS}
        ):
            continue
        try:
            read = read_table(folder.path / name, names, name)
        except TranscriptError as error:
            unread.append((name, str(error)))
            continue
        known = {match.name for row in read.rows for match in names.find(row.name).found}
        if known:
            found.append((read, known))
        elif ending not in (".txt", ".json", ".data"):  # A readme is no transcript, nor is config.json.
            unread.append((name, "names none of the recordings"))
    return found, unread


def _rank(name: str) -> tuple[bool, int, str]:
    path = PurePosixPath(name)
    return path.stem.lower() not in ("metadata", "transcript", "transcripts"), len(path.parts), name


def _beside(folder: Folder) -> dict[Recording, str]:
    """The text file of each recording that has one: beside it, or the only one of its name anywhere."""
    by_stem: dict[str, list[str]] = {}
    for name in folder.files:
        if name.lower().endswith((".txt", ".lab")):
            by_stem.setdefault(normal(name[:-4]), []).append(name)
            if "/" in name:
                by_stem.setdefault(normal(PurePosixPath(name).stem), []).append(name)
    found = {}
    stems = Counter(normal(PurePosixPath(item.stem).name) for item in folder.recordings)
    for item in folder.recordings:
        short = normal(PurePosixPath(item.stem).name)
        for key in (normal(item.stem), short if stems[short] == 1 else ""):
            if len(names := by_stem.get(key, [])) == 1:
                found[item] = names[0]
                break
    return found


def _read_text(path: Path, name: str, recording: Recording, into: Transcript) -> None:
    try:
        content, _ = decode(path.read_bytes())
    except (UnicodeDecodeError, OSError) as error:
        into.bad.append((1, name, unread_words(error)))
        return
    text, changes = tidy(content)
    into.rows.append(Row(name, 1, recording.name, text, changes=tuple(changes)))
