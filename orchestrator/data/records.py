"""Read transcripts that are no tables: Festival's (as Indic TTS has them) and JSON (as NeMo's manifests)."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

Cells = tuple[int, list[str]]  # A row and the number of its line.

_FESTIVAL = re.compile(r'\s*\(\s*(?P<name>[^\s"()]+)\s+"(?P<text>.*)"\s*\)\s*')


def festival_rows(lines: Sequence[str]) -> list[Cells] | None:
    """Return the rows of `( name " text " )` lines; None if the lines are mostly others.

    A line that is no such row is kept whole, in one cell.
    """
    found = [
        (number, _FESTIVAL.fullmatch(line), line) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not found or sum(match is not None for _, match, _ in found) * 2 <= len(found):
        return None
    return [
        (number, [line] if match is None else [match["name"], match["text"].replace('\\"', '"').strip()])
        for number, match, line in found
    ]


def json_rows(text: str) -> list[Cells] | None:
    """Return the rows of a JSON file with the keys as headings; None if it is none.

    It may be an object a line, an array of objects (also as the one value of an object that is an array), or
    one object with a text for each name.
    """
    if text.lstrip()[:1] not in ("{", "["):
        return None
    records = _one_value(text)
    if records is None:
        records = _value_a_line(text)
    if records is None:
        return None
    keys = list(dict.fromkeys(key for _, record in records for key in record))
    rows = [(number, [_cell(record.get(key)) for key in keys]) for number, record in records]
    return [(0, keys), *rows] if rows else None


def _one_value(text: str) -> list[tuple[int, dict[str, Any]]] | None:
    """Return the records of a file that is one value, numbered from 1."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        arrays = [item for item in value.values() if isinstance(item, list)]
        if len(arrays) == 1:
            value = arrays[0]
        elif value and all(isinstance(item, str) for item in value.values()) and len(value) > 1:
            value = [{"file": name, "text": spoken} for name, spoken in value.items()]
        else:
            value = [value]
    return _records(enumerate(value, 1))


def _value_a_line(text: str) -> list[tuple[int, dict[str, Any]]] | None:
    values = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                values.append((number, json.loads(line)))
            except (ValueError, RecursionError):
                return None
    return _records(values)


def _records(values: Iterable[tuple[int, Any]]) -> list[tuple[int, dict[str, Any]]]:
    return [(number, value) for number, value in values if isinstance(value, dict)]


def _cell(value: Any) -> str:
    """A value as text: a name, a text or a number; nothing for what can be none of them."""
    return str(value) if isinstance(value, str | int | float) else ""
