"""Readers for values from outside: a server's answers, downloaded files, logs.

Nobody vouches for what is in them. Each reader takes anything and either returns a value that is safe to
calculate with and to show, or says that there is none (None, or an empty value). None of them raises, unless
its docstring says so.

Numbers: `count`, `number`, `amount`, `seconds`, `retry_after`. Words: `text`, `one_line`, `encodable`,
`file_name`, `character`, `terminal_line`, `terminal_text`, `terminal_colours`, `workflow_log_line`. JSON:
`parse_json`, `json_object`, `read_json_object`, `visible_json`, `as_object`, `as_list`. Files: `read_bytes`,
`read_lines`. Hosts: `is_loopback`.
"""

import contextlib
import ipaddress
import json
import re
import stat
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

LARGEST_COUNT = 1 << 53  # A float holds every integer up to here exactly.
LARGEST_FILE = 16 * 1024 * 1024
LONGEST_TEXT = 2000
_LONGEST_SPAN_S = 1e10  # Three centuries: `timedelta` and `datetime` can both still add it to today.
_LONGEST_LINE = 4000
_LONGEST_NAME = 200

# Longest first, so that no part of a sequence is left over. ECMA-48: CSI, strings (OSC, DCS, …), two letters.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_COLOUR = re.compile(r"\x1b\[[\d;]{0,40}m")
# Bangla is written with these two, which choose the form of a conjunct; Python counts them as unprintable.
_JOINERS = "\u200c\u200d"
# The runner trims a line before it looks for `::`, and finds `##[` anywhere in it.
_COMMAND_START = re.compile(r"(^|[\r\n])([^\w\r\n]*?)::")


def count(value: object, most: int = LARGEST_COUNT) -> int | None:
    """A number of things (steps, epochs, bytes): an integer from 0 to `most`; None for all else."""
    return value if type(value) is int and 0 <= value <= most else None


def number(value: object, most: float = LARGEST_COUNT) -> float | None:
    """A finite number of either sign, at most `most` in size; None for all else (a bool is no number)."""
    if type(value) is not float and type(value) is not int:
        return None
    return float(value) if abs(value) <= most else None  # NaN compares as false.


def amount(value: object, most: float = LARGEST_COUNT) -> float | None:
    """A measured quantity: a finite number from 0 to `most`; None for all else."""
    found = number(value, most)
    return found if found is not None and found >= 0 else None


def seconds(value: object, most: float = _LONGEST_SPAN_S) -> float | None:
    """A time span in seconds, from 0 to `most`; None for all else. No sum with a date overflows."""
    return amount(value, most)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds for which an answer's `Retry-After` asks to be left alone: a number or a date (RFC 9110).

    A date is compared with the answer's own `Date`, so that a wrong clock here does no harm. None if the
    header is missing or makes no sense.
    """
    wanted = headers.get("Retry-After", "").strip()
    with contextlib.suppress(ValueError):
        asked = number(float(wanted))
        return None if asked is None else seconds(max(0.0, asked))
    try:
        until = parsedate_to_datetime(wanted)
        try:
            now = parsedate_to_datetime(headers.get("Date", ""))
        except ValueError:
            now = datetime.now(UTC)
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError, OverflowError):  # No date, or one of the two without a time zone.
        return None


def text(value: object, longest: int = LONGEST_TEXT) -> str | None:
    """A text as `one_line` shows it; None if the value is not a text."""
    return one_line(value, longest) if isinstance(value, str) else None


def one_line(value: object, longest: int = LONGEST_TEXT) -> str:
    """Return any value as one printable line of at most `longest` characters.

    White space becomes single spaces. Terminal escapes, control characters, characters that change the
    direction of writing and lone surrogates are removed; Bangla's joiners stay.
    """
    flat = " ".join(_ESCAPE.sub("", _written(value)[: 2 * longest]).split())
    return _printable(flat).strip()[:longest]


def encodable(value: object) -> str:
    """Return any value as text that UTF-8 can encode: half characters, which JSON can hold, become `?`."""
    return _written(value).encode("utf-8", "replace").decode("utf-8")


def file_name(value: object, longest: int = _LONGEST_NAME) -> str:
    r"""A file's name for display: what could mislead is shown as an escape, such as `\u202e`, not removed.

    Two names that differ still differ. A name longer than `longest` is cut, and ends in `…`.
    """
    name = _written(value)
    shown = "".join(
        letter if letter in _JOINERS or (letter.isprintable() and letter != "\\") else _escape(letter)
        for letter in name[: longest + 1]
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def character(letter: str) -> str:
    """A character for display, with its Unicode name; only the name if it cannot be seen by itself."""
    name = unicodedata.name(letter, "") or f"U+{ord(letter):04X}"
    # A vowel sign by itself would join the character before it.
    alone = letter.isprintable() and not unicodedata.category(letter).startswith("M")
    return f"{letter} ({name})" if alone else name


def terminal_line(value: object, longest: int = _LONGEST_LINE) -> str:
    """Return one line for a terminal, with its spacing but without anything invisible or obeyed.

    A progress bar redraws its line after a carriage return: only its last state stays.
    """
    line = _last_redraw(_ESCAPE.sub("", _written(value)[: 4 * longest]))
    return _printable(line.expandtabs(4).replace("\n", " "))[:longest]


def terminal_text(text: str) -> str:
    """Return a text of several lines without anything else that is invisible or that a terminal obeys."""
    return "\n".join(_printable(_ESCAPE.sub("", line).expandtabs(4)) for line in text.split("\n"))


def terminal_colours(line: str) -> str:
    """Return a log line of any length with its own colours, but without other control sequences."""
    if line.isprintable():
        return line
    parts, end = [], 0
    for match in _COLOUR.finditer(line):
        parts += [_without_control(line[end : match.start()]), match.group()]
        end = match.end()
    parts.append(_without_control(line[end:]))
    return "".join(parts) + ("\x1b[0m" if end else "")


def workflow_log_line(line: str) -> str:
    """A text for the log of a GitHub Actions job that the runner cannot take for a workflow command.

    The runner obeys `::name::` at the beginning of a line and `##[name]` anywhere; a space breaks both
    (https://github.com/actions/runner, `ActionCommand.cs`).
    """
    return _COMMAND_START.sub(r"\1\2: :", line).replace("##[", "# #[")


def is_loopback(host: str | None) -> bool:
    """Whether a host's name or address means this machine."""
    if not host:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_json(data: bytes | str, largest: int = LARGEST_FILE) -> Any:
    """The value of a JSON text, of at most `largest` bytes or characters.

    Raises:
        ValueError: it is too large, nested too deeply, not in UTF-8, or no JSON.
    """
    if len(data) > largest:
        raise ValueError(f"it is larger than {largest:,} bytes")
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def json_object(data: bytes | str | None, largest: int = LARGEST_FILE) -> dict[str, Any] | None:
    """The object of a JSON text; None if it is no JSON, no object, or too large."""
    try:
        value = parse_json(data or b"", largest)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def read_json_object(path: Path, largest: int = LARGEST_FILE) -> dict[str, Any] | None:
    """The JSON object in a file; None if there is none, or it cannot be read."""
    return json_object(read_bytes(path, largest), largest)


def visible_json(text: str) -> str:
    """Return a JSON text in which characters that cannot be seen are escapes, which mean the same.

    A terminal obeys some of them. Bangla's joiners stay.
    """
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\n" or letter in _JOINERS else json.dumps(letter)[1:-1]
        for letter in text
    )


def as_object(value: object) -> dict[str, Any]:
    """A JSON object; an empty one for all else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """A JSON list; an empty one for all else."""
    return value if isinstance(value, list) else []


def read_bytes(path: Path, largest: int = LARGEST_FILE) -> bytes | None:
    """The content of a regular file (no link, no device) of at most `largest` bytes; None for all else."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > largest:
            return None
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except (OSError, ValueError):
        return None
    return data if len(data) <= largest else None


def read_lines(path: Path, largest: int = LARGEST_FILE) -> list[str]:
    """The lines of a UTF-8 text file, with or without a byte order mark; none if it cannot be read."""
    return (read_bytes(path, largest) or b"").decode("utf-8-sig", "replace").splitlines()


def _written(value: object) -> str:
    """The value as text, even if Python refuses to write it (an integer of thousands of digits)."""
    try:
        return str(value)
    except (ValueError, RecursionError):
        return f"<{type(value).__name__}>"


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(letter for letter in line if letter.isprintable() or letter in _JOINERS)


def _last_redraw(line: str) -> str:
    return line.rstrip("\r\n").rsplit("\r", 1)[-1]


def _without_control(part: str) -> str:
    clean = _ESCAPE.sub("", part).rsplit("\r", 1)[-1]
    return "".join(letter for letter in clean if letter.isprintable() or letter in _JOINERS or letter == "\t")


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
