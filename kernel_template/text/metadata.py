"""Reads a dataset's metadata as people write it, and writes it again as Coqui's formatters read it.

Coqui's ljspeech formatter (0.28) wants lines of `name|text|text` in UTF-8, and takes `wavs/name.wav`. A blank
line or a row of two columns ends the training; a byte order mark, `.wav` behind a name, quotes, or a name in
another case or Unicode form makes a recording that does not exist. All of that can be read without guessing
what was meant. What cannot is left out, and named with its line.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from kernel_template.text.encodings import decode
from kernel_template.text.rows import columns_of, split_rows

LJSPEECH = "ljspeech"
_COLUMNS = 3
_LISTED = 3  # Lines that a remark names.
_TEXT_LENGTH = 50
HEADERS = frozenset(
    {
        "file",
        "filename",
        "file_name",
        "audio",
        "audio_file",
        "wav",
        "wav_file",
        "path",
        "id",
        "name",
        "audio_path",
        "audio_filepath",
        "recording",
        "utterance_id",
        "ফাইল",
        "ফাইলের_নাম",
        "অডিও",
        "রেকর্ডিং",
    }
)
AUDIO = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"})
_BAR = re.compile(r"\s*[|।]*\|[|।]*\s*")
QUOTES = ('"', "'", "“", "”")


@dataclass(slots=True)
class Metadata:
    """A metadata file that was read.

    Attributes:
        text: what to give to the formatter instead; None if the file itself will do.
        remarks: what was read in another way than it is written, as sentences.
        left_out: the lines that cannot be read: number and content.
        rows: how many rows can be used.
    """

    text: str | None = None
    remarks: list[str] = field(default_factory=list)
    left_out: list[tuple[int, str]] = field(default_factory=list)
    rows: int = 0

    @property
    def left_out_words(self) -> str:
        """The first lines that cannot be read, for people."""
        return "; ".join(f"line {number}: {_short(line)!r}" for number, line in self.left_out[:_LISTED])


class _Remarks:
    """Counts what was read differently, with the first lines of each kind."""

    def __init__(self) -> None:
        self._lines: dict[str, list[int]] = {}

    def note(self, what: str, line: int) -> None:
        self._lines.setdefault(what, []).append(line)

    def sentences(self) -> list[str]:
        return [f"{what} ({_lines(lines)})" for what, lines in self._lines.items()]


def _lines(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_LISTED]))
    more = f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else ""
    return f"line{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_LENGTH else f"{text[:_TEXT_LENGTH]}…"


def _split(text: str) -> list[str]:
    """Split at line ends as a file is: not at the other characters that `splitlines` knows."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def normal(name: str) -> str:
    """Return a name in which case and Unicode form do not count."""
    return unicodedata.normalize("NFC", name).casefold().strip()


class Recordings:
    """Finds the recordings that the first column names.

    Args:
        names: the files below `wavs`, as relative paths with forward slashes; only those in `.wav` count.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = {name.removesuffix(".wav") for name in names if name.endswith(".wav")} - {""}
        self._similar: dict[str, str | None] = {}
        for stem in sorted(self._exact):
            for key in {normal(stem), normal(PurePosixPath(stem).name)}:
                self._similar[key] = None if key in self._similar else stem

    def __bool__(self) -> bool:
        return bool(self._exact)

    def find(self, written: str) -> str | None:
        """Return the name without `.wav` of the one recording that `written` means; None if there is none."""
        if written in self._exact:
            return written
        name = written.strip().strip("".join(QUOTES)).strip().replace("\\", "/")
        ending = PurePosixPath(name).suffix
        if ending.lower() in AUDIO:
            name = name.removesuffix(ending)
        tails = PurePosixPath(name).parts
        for start in range(len(tails)):
            tail = "/".join(tails[start:])
            if tail in self._exact:
                return tail
        for start in range(len(tails)):
            if (found := self._similar.get(normal("/".join(tails[start:])))) is not None:
                return found
        return None


def read_lines(data: bytes) -> Metadata:
    """Read metadata for a formatter whose columns are not known: mend the encoding, drop blank lines.

    Raises:
        UnicodeDecodeError: it is neither UTF-8 nor UTF-16.
    """
    text, encoding = decode(data)
    lines = _split(text)
    kept = [line for line in lines if line.strip()]
    found = Metadata(rows=len(kept))
    if encoding != "UTF-8":
        found.remarks.append(f"it is {encoding}")
    if len(kept) != len(lines):
        blank = [number for number, line in enumerate(lines, 1) if not line.strip()]
        found.remarks.append(f"blank lines are skipped ({_lines(blank)})")
    if found.remarks:
        found.text = "".join(f"{line}\n" for line in kept)
    return found


def read_ljspeech(data: bytes, recordings: Recordings) -> Metadata:
    """Read metadata for the ljspeech formatter.

    Args:
        data: the file's content.
        recordings: those in `wavs`.

    Raises:
        UnicodeDecodeError: it is neither UTF-8 nor UTF-16.
    """
    text, encoding = decode(data)
    remarks, found = _Remarks(), Metadata()
    rows = _rows(text, recordings, remarks)
    written: list[str] = []
    plain = encoding == "UTF-8"
    for index, (number, columns) in enumerate(rows):
        row = _row(number, columns, recordings, remarks)
        if row is not None and not (index == 0 and _is_header(columns, recordings)):
            written.append(row)
            plain = plain and row == "|".join(columns)
        elif index == 0 and _is_header(columns, recordings):
            remarks.note("a line of headings is skipped", number)
            plain = False
        else:
            found.left_out.append((number, "|".join(columns)))
            plain = False
    found.rows = len(written)
    found.remarks = [*([] if encoding == "UTF-8" else [f"it is {encoding}"]), *remarks.sentences()]
    if not plain or found.remarks:
        # A column more, since the formatter would take the line's end for part of the text.
        found.text = "".join(f"{row}|\n" if row.count("|") == _COLUMNS - 1 else f"{row}\n" for row in written)
    return found


def without_bars(text: str) -> str:
    """Write a `|` in a text as the danda that people mean by it; no column may hold one."""
    return _BAR.sub("। ", text)


def _rows(text: str, recordings: Recordings, remarks: _Remarks) -> list[tuple[int, list[str]]]:
    """Return each row that is not blank: the number of its line, and its columns."""
    lines = _split(text)
    delimiter = _delimiter(lines, recordings)
    if delimiter == "|":
        rows = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                remarks.note("blank lines are skipped", number)
            else:
                rows.append((number, line.split("|")))
        return rows
    is_name = (lambda cell: recordings.find(cell) is not None) if recordings else None
    rows = [
        (number, [" ".join(without_bars(column).split()) for column in columns])
        for number, columns in split_rows(lines, delimiter, is_name)
    ]
    if rows:
        name = "TAB" if delimiter == "\t" else {",": "commas", ";": "semicolons"}[delimiter]
        remarks.note(f"its columns are separated by {name}", rows[0][0])
    return rows


def _delimiter(lines: Sequence[str], recordings: Recordings) -> str:
    """Return what separates the columns: what gives the most rows whose first column is a recording."""
    sample = [line for line in lines if line.strip()][:200]

    def fits(delimiter: str) -> int:
        rows = (line.split("|") if delimiter == "|" else columns_of(line, delimiter) for line in sample)
        usable = (row for row in rows if len(row) > 1 and row[1].strip())
        return sum(1 for row in usable if not recordings or recordings.find(row[0]) is not None)

    return max(("|", "\t", ",", ";"), key=fits)


def _is_header(columns: Sequence[str], recordings: Recordings) -> bool:
    first = normal(columns[0].strip().strip("".join(QUOTES)))
    return first in HEADERS and recordings.find(columns[0]) is None


def _row(number: int, columns: list[str], recordings: Recordings, remarks: _Remarks) -> str | None:
    """Return a row as the formatter reads it; None if it has no text."""
    if len(columns) < 2 or not columns[1].strip():  # A name and a text.
        return None
    name = columns[0]
    found = recordings.find(name)
    if found is not None and found != name:
        remarks.note("names are written otherwise than the recordings are called", number)
        name = found
    texts = columns[1:]
    half, rest = divmod(len(texts), 2)
    if len(columns) == _COLUMNS - 1:
        remarks.note("rows have two columns; the second is the text", number)
        texts = [texts[0], texts[0]]
    elif len(columns) > _COLUMNS and not rest and _stripped(texts[:half]) == _stripped(texts[half:]):
        remarks.note("a | within a text is read as ।", number)
        whole = without_bars("|".join(texts[:half])).strip()
        texts = [whole, whole]
    elif not texts[1].strip():
        remarks.note("rows have no third column; the second is the text", number)
        texts[1] = texts[0]
    return "|".join([name, *(_unquoted(item, number, remarks) for item in texts)])


def _stripped(parts: Sequence[str]) -> list[str]:
    return [part.strip() for part in parts]


def _unquoted(text: str, number: int, remarks: _Remarks) -> str:
    """Remove quotes that a spreadsheet put around a whole text."""
    inner = text.strip()
    if len(inner) > 1 and inner[0] == inner[-1] == '"' and inner.count('"') % 2 == 0:
        remarks.note("quotes around texts are removed", number)
        return inner[1:-1].replace('""', '"')
    return text
