"""Splits a table of names and texts into rows; a quote may be left open, as in Common Voice's files."""

import csv
from collections.abc import Callable, Iterator, Sequence

NAMING_COLUMNS = 4  # One of the first names the recording.
_LONGEST_QUOTE = 20  # Lines that one quoted text may take.


def split_rows(
    lines: Sequence[str], delimiter: str, is_name: Callable[[str], bool] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank: the number of its first line, and its columns.

    A quoted text may have line breaks; but a quote that is never closed must not swallow the next rows: those
    that name a recording in the same column.

    Args:
        lines: the file's lines.
        delimiter: what separates the columns.
        is_name: whether a column names a recording; without it, each line with the delimiter begins a row.
    """
    number = 0
    while number < len(lines):
        taken, columns = _row(lines, number, delimiter, is_name)
        if any(column.strip() for column in columns):
            yield number + 1, columns
        number += taken


def columns_of(line: str, delimiter: str) -> list[str]:
    """Split one line; quotes that do not enclose a whole column are text."""
    columns = _columns(line, delimiter)
    return line.split(delimiter) if columns is None else columns


def _row(
    lines: Sequence[str], first: int, delimiter: str, is_name: Callable[[str], bool] | None
) -> tuple[int, list[str]]:
    """Read the row that begins at a line: how many lines it takes, and its columns."""
    whole = lines[first]
    naming: int | None = None
    for taken in range(1, _LONGEST_QUOTE):
        if (columns := _columns(whole, delimiter)) is not None:
            return taken, columns
        following = first + taken
        if following >= len(lines):
            break
        cells = lines[following].split(delimiter)
        if is_name is None:
            if len(cells) > 1:
                break
        else:
            naming = _naming(lines[first], delimiter, is_name) if naming is None else naming
            if naming < len(cells) and is_name(cells[naming]):
                break
        whole = f"{whole}\n{lines[following]}"
    return 1, lines[first].split(delimiter)


def _naming(line: str, delimiter: str, is_name: Callable[[str], bool]) -> int:
    """Return which column of a line names its recording."""
    cells = line.split(delimiter)[:NAMING_COLUMNS]
    return next((index for index, cell in enumerate(cells) if is_name(cell)), 0)


def _columns(line: str, delimiter: str) -> list[str] | None:
    """Split a row; None if a quote is open at its end."""
    try:
        return next(csv.reader([line.rstrip(" ")], delimiter=delimiter, strict=True), [""])
    except csv.Error as error:
        return None if "unexpected end" in str(error) else line.split(delimiter)
