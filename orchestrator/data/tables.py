"""Read a table of names and texts as people save it: CSV, TSV, `|`, or an Excel workbook."""

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import openpyxl

from kernel_template.text.encodings import decode, unmangled
from kernel_template.text.metadata import HEADERS, QUOTES, normal, without_bars
from kernel_template.text.rows import NAMING_COLUMNS, columns_of, split_rows
from orchestrator.data.recordings import Names
from orchestrator.data.records import Cells, festival_rows, json_rows
from orchestrator.formatting import size

TABLE_ENDINGS = frozenset({".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".psv", ".data", ".json", ".jsonl"})
FOREIGN_ENDINGS = {
    ".xls": "Excel's old format",
    ".ods": "LibreOffice's format",
    ".numbers": "Numbers' format",
}
_DELIMITERS = {"|": "|", "\t": "TAB", ",": "commas", ";": "semicolons"}
_TEXTS = frozenset(
    {
        *("text", "sentence", "transcript", "transcription", "raw_text", "raw", "raw_transcription"),
        *("utterance", "বাক্য", "লেখা", "টেক্সট", "কথা", "পাঠ"),
    }
)
_SPOKEN = frozenset({"normalized", "normalised", "normalized_text", "norm_text", "normalized_transcription"})
_SPEAKERS = frozenset({"speaker", "speaker_id", "speaker_name", "spk", "client_id", "voice", "বক্তা", "স্পিকার"})
_SAMPLE = 300  # Rows by which the columns are found.
_LONGEST_SPEAKER = 40
_BANGLA = re.compile(r"[\u0980-\u09ff]")
_TITLES = 10  # Rows that may stand above the headings.
_LARGEST_WORKBOOK = 1 << 29  # Bytes unpacked; a million rows of sentences have a quarter of it.


class TranscriptError(Exception):
    """A transcript cannot be read; the text completes "NAME …"."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a transcript.

    Attributes:
        file: the transcript's name.
        line: the number of its first line; in a workbook, of the row.
        name: the recording's name as it is written.
        text: the text, in one line.
        spoken: the text of a third column as in LJSpeech, where it differs; None without one.
        speaker: who speaks; empty if the transcript does not say.
        changes: what was read otherwise than it is written, in words.
    """

    file: str
    line: int
    name: str
    text: str
    spoken: str | None = None
    speaker: str = ""
    changes: tuple[str, ...] = ()


@dataclass(slots=True)
class Transcript:
    """A transcript that was read.

    Attributes:
        file: its name.
        rows: its rows in order.
        bad: lines that are no rows: number, content and why.
        form: how the file is written, in words; empty if there is nothing to say.
    """

    file: str
    rows: list[Row] = field(default_factory=list)
    bad: list[tuple[int, str, str]] = field(default_factory=list)
    form: list[str] = field(default_factory=list)


def read_table(path: Path, names: Names, name: str | None = None) -> Transcript:
    """Read a transcript with a row for each recording.

    Args:
        path: the file.
        names: the recordings, by which columns, headings and delimiter are found.
        name: the file's name in messages; its path by default.

    Raises:
        TranscriptError: it cannot be read.
    """
    found = Transcript(name or path.name)
    ending = path.suffix.lower()
    if ending in FOREIGN_ENDINGS:
        raise TranscriptError(f"is in {FOREIGN_ENDINGS[ending]}: save it as .xlsx or .csv")
    if ending in (".xlsx", ".xlsm"):
        rows, delimiter = list(_workbook(path, found)), None
    else:
        try:
            text, encoding = decode(path.read_bytes())
        except (UnicodeDecodeError, OSError) as error:
            raise TranscriptError(unread_words(error)) from error
        if encoding != "UTF-8":
            found.form.append(encoding)
        rows, delimiter = _lines(text, names, found)
    _read_rows(rows, delimiter, names, found)
    return found


def unread_words(error: Exception) -> str:
    """Say why a file cannot be read; completes "NAME …"."""
    if isinstance(error, UnicodeDecodeError):
        return "is neither UTF-8 nor UTF-16: save it as UTF-8"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _workbook(path: Path, found: Transcript) -> Iterator[Cells]:
    """Give the rows of the first sheet that has any."""
    try:
        _ensure_size(path)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            for sheet in book.worksheets:
                # What the file says of its size is often a million rows, each of which would get that width.
                sheet.reset_dimensions()
                rows = [(number, [_cell(value) for value in row]) for number, row in _numbered(sheet)]
                rows = [(number, cells) for number, cells in rows if any(cell.strip() for cell in cells)]
                if rows:
                    found.form.append(f"sheet {sheet.title!r}")
                    yield from rows
                    return
        finally:
            book.close()
    except OSError as error:
        raise TranscriptError(unread_words(error)) from error
    except (TranscriptError, MemoryError):
        raise
    except Exception as error:  # openpyxl fails in many ways at what it does not expect.
        raise TranscriptError(
            "is not an Excel workbook that can be read: save it again as .xlsx or .csv"
        ) from error


def _ensure_size(path: Path) -> None:
    """Refuse a workbook that is made to fill the memory.

    Raises:
        TranscriptError: it is one.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(item.file_size for item in archive.infolist())
    if unpacked > _LARGEST_WORKBOOK:
        raise TranscriptError(f"would have {size(unpacked)} unpacked: save only its texts, as .csv")


def _numbered(sheet: openpyxl.worksheet.worksheet.Worksheet) -> Iterator[tuple[int, Sequence[object]]]:
    return enumerate(sheet.iter_rows(values_only=True), 1)


def _cell(value: object) -> str:
    """A cell as it was typed: Excel stores the name 12 as 12.0, and may have mangled what it read."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else unmangled(str(value))


def _lines(text: str, names: Names, found: Transcript) -> tuple[list[Cells], str | None]:
    """Split a text file at the delimiter that gives the most rows whose name is a recording's.

    Returns:
        The rows, and the delimiter; None if it is clear where each cell ends.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    lines = text.split("\n")
    for form, special in (("Festival's form", festival_rows(lines)), ("JSON", json_rows(text))):
        if special is not None:
            found.form.append(form)
            return special, None
    sample = [line for line in lines if line.strip()][:_SAMPLE]

    def fits(delimiter: str) -> tuple[int, int]:
        rows = [columns_of(line, delimiter) for line in sample]
        named = sum(
            1 for row in rows if len(row) > 1 and any(names.find(cell).found for cell in row[:NAMING_COLUMNS])
        )
        return named, sum(len(row) > 1 for row in rows)

    delimiter = max(_DELIMITERS, key=fits)
    if delimiter != "|":
        found.form.append(f"columns separated by {_DELIMITERS[delimiter]}")
    rows = list(split_rows(lines, delimiter, lambda cell: bool(names.find(cell).found)))
    if blank := sum(not line.strip() for line in lines):
        found.form.append(f"{blank} blank line{'s' if blank > 1 else ''}")
    return rows, delimiter


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column is which; None for one that is not there."""

    name: int
    text: int
    spoken: int | None = None
    speaker: int | None = None


def _read_rows(rows: list[Cells], delimiter: str | None, names: Names, found: Transcript) -> None:
    """Find out which column is which, and read each row."""
    if not rows:
        return
    top = _place_of_headings(rows, names)
    body = rows if top is None else rows[top + 1 :]
    head = None if top is None else [_heading(cell) for cell in rows[top][1]]
    if head is not None:
        found.form.append("a line of headings")
    found.form += [
        f"line {line}, above the headings, is not used: {' '.join(cells).strip()[:_LONGEST_SPEAKER]!r}"
        for line, cells in rows[: top or 0]
    ]
    columns = (None if head is None else _headed(head, body, names)) or _guessed(body, names)
    widths = Counter(len(cells) for _, cells in body) or Counter([0])
    width = max(widths) if delimiter is None else widths.most_common(1)[0][0]
    filled = {index for _, cells in body for index, cell in enumerate(cells[:width]) if cell.strip()}
    if unused := filled - {columns.name, columns.text, columns.spoken, columns.speaker}:
        listed = ", ".join(str(index + 1) for index in sorted(unused))
        found.form.append(
            f"columns {listed} are not used" if len(unused) > 1 else f"column {listed} is not used"
        )
    for line, cells in body:
        whole = cells if delimiter is None else _joined(cells, width, columns, delimiter)
        _take(line, whole, width, columns, found)


def _place_of_headings(rows: list[Cells], names: Names) -> int | None:
    """Return which row has the headings: the first, or one below a title; None if there are none."""
    for index, (_, cells) in enumerate(rows[:_TITLES]):
        head = {_heading(cell) for cell in cells}
        if head & HEADERS and head & _TEXTS:
            return index
        if any(names.find(cell).found for cell in cells if cell.strip()):
            return None  # Here the recordings begin.
        if head & (HEADERS | _TEXTS | _SPEAKERS):
            return index
    return None


def _heading(cell: str) -> str:
    return normal(cell.strip().strip("".join(QUOTES))).replace(" ", "_")


def _headed(head: list[str], body: list[Cells], names: Names) -> _Columns | None:
    """Find the columns by their headings."""

    def first(known: Iterable[str]) -> int | None:
        return next((index for index, cell in enumerate(head) if cell in known), None)

    text = first(_TEXTS)
    # Several columns may be called id or path: the one that names recordings counts.
    naming = [index for index, cell in enumerate(head) if cell in HEADERS]
    name = max(naming, key=lambda index: _named(body, index, names), default=None)
    if text is None or name is None or not _named(body, name, names):
        return None
    return _Columns(name, text, first(_SPOKEN), first(_SPEAKERS))


def _named(body: list[Cells], index: int, names: Names) -> int:
    cells = (cells[index] for _, cells in body[:_SAMPLE] if index < len(cells))
    return sum(1 for cell in cells if cell.strip() and names.find(cell).found)


def _guessed(body: list[Cells], names: Names) -> _Columns:
    """Find the columns by what is in them: a recording's name, texts, and perhaps few speakers."""
    width = max((len(cells) for _, cells in body), default=2)
    name = max(range(min(width, 6)), key=lambda index: (_named(body, index, names), -index))
    usual = Counter(len(cells) for _, cells in body).most_common(1)[0][0] if body else 2
    others = [index for index in range(usual) if index != name]
    sizes = {index: sum(len(_at(cells, index)) for _, cells in body) for index in others}
    # Ids of sentences and of people, as OpenSLR has them beside its texts, have no Bangla letters.
    bangla = {index: sum(len(_BANGLA.findall(_at(cells, index))) for _, cells in body) for index in others}
    sizes = bangla if any(bangla.values()) else sizes
    speaker = next((index for index in others if _holds_speakers(body, index)), None)
    texts = [index for index in others if index != speaker and sizes[index]]
    text = texts[0] if texts else min(name + 1, max(width - 1, 1))
    if texts and sizes[text] * 4 < max(sizes[index] for index in texts):
        text = max(texts, key=lambda index: sizes[index])
    following = [index for index in texts if index > text and sizes[index] * 3 > sizes[text]]
    return _Columns(name, text, following[0] if following else None, speaker)


def _at(cells: Sequence[str], index: int | None) -> str:
    return cells[index].strip() if index is not None and index < len(cells) else ""


def _holds_speakers(body: list[Cells], index: int) -> bool:
    """Whether a column without a heading names speakers: short values that come again and again."""
    values = [value for _, cells in body if (value := _at(cells, index))]
    distinct = set(values)
    return (
        len(values) > max(3, len(body) // 2)
        and len(distinct) * 2 <= len(values)
        and all(len(value) <= _LONGEST_SPEAKER and len(value.split()) < 3 for value in distinct)  # noqa: PLR2004
    )


def _joined(cells: list[str], width: int, columns: _Columns, delimiter: str) -> list[str]:
    """Put a text together again that holds the delimiter, if it is clear where it ends."""
    if len(cells) <= width or columns.name > columns.text:
        return cells
    texts = cells[columns.text :]
    if width == columns.text + 1:  # The text is the last column, so all that follows belongs to it.
        return [*cells[: columns.text], delimiter.join(texts)]
    half, rest = divmod(len(texts), 2)
    if columns.spoken == columns.text + 1 and not rest and _same(texts[:half], texts[half:]):
        return [*cells[: columns.text], delimiter.join(texts[:half]), delimiter.join(texts[half:])]
    return cells


def _same(first: list[str], second: list[str]) -> bool:
    return [part.strip() for part in first] == [part.strip() for part in second]


def _take(line: int, cells: list[str], width: int, columns: _Columns, found: Transcript) -> None:
    """Make a row of the columns of a line, or keep the line as one that cannot be read."""
    name = _at(cells, columns.name)
    if len(cells) <= columns.text:
        why = "it has no column with a text"
    elif not name:
        why = "it names no recording"
    elif any(cell.strip() for cell in cells[max(width, columns.text + 1) :]):
        why = "it has more columns than the other lines, so where its text ends is unclear"
    else:
        text, changes = tidy(_at(cells, columns.text))
        spoken, _ = tidy(_at(cells, columns.spoken))
        speaker = " ".join(_at(cells, columns.speaker).replace("|", " ").split())
        different = spoken if spoken and spoken != text else None
        found.rows.append(Row(found.file, line, name, text, different, speaker, tuple(changes)))
        return
    found.bad.append((line, "|".join(cells), why))


def tidy(text: str) -> tuple[str, list[str]]:
    """Put a text into one line without `|`, which people type for a danda; also return what was changed."""
    changes = []
    text = text.strip()
    if "\n" in text:
        changes.append("a line break in the text is read as a space")
    if "|" in text:
        changes.append("a | in the text is read as ।")
        text = without_bars(text)
    return " ".join(text.split()), changes
