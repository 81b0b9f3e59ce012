"""What a console can show: streams that never fail on a character, signs, warnings, text of a given width."""

import os
import re
import shlex
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

import click

from orchestrator.errors import LocalError
from orchestrator.formatting import BARS, size
from orchestrator.scrubbing import scrub
from orchestrator.untrusted import terminal_text


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs for a console.

    Attributes:
        bars: of a curve, from the lowest to the highest.
        ellipsis: stands for text that was cut.
        edge: is put before each line of a log.
        done: marks what is right.
        warning: marks what may be wrong.
        failed: marks what is wrong.
    """

    bars: str
    ellipsis: str
    edge: str
    done: str
    warning: str
    failed: str


UNICODE = Signs(BARS, "…", "│ ", "✓", "⚠", "✗")
ASCII = Signs("_.:-=+*#", "...", "| ", "ok", "!", "x")


def is_dumb() -> bool:
    """Whether the terminal can neither colour nor move its cursor, by its own word (TERM=dumb)."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def colours() -> bool | None:
    """Whether to print colours: never with NO_COLOR (https://no-color.org) or on a dumb terminal.

    None leaves it to the stream: a terminal has colours, a pipe and a file have none.
    """
    return False if os.environ.get("NO_COLOR") or is_dumb() else None


def prepare_streams(*streams: TextIO) -> None:
    """Make sure that no character makes a command fail, whatever the console's encoding.

    A terminal keeps its encoding (Windows: often cp1252 or cp437), and characters that it lacks become `?`.
    A file or a pipe gets UTF-8, so that nothing is lost in it.
    """
    for stream in streams:
        if not isinstance(stream, TextIOWrapper):
            continue  # Someone else's stream, such as a test's: it is as they want it.
        if stream.isatty():
            stream.reconfigure(errors="replace")
        else:
            stream.reconfigure(encoding="utf-8", errors="replace")


def signs(stream: TextIO | None = None) -> Signs:
    """Give the signs that a stream can show; standard output's by default."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    try:
        "".join((UNICODE.bars, UNICODE.ellipsis, UNICODE.edge, *_marks(UNICODE))).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def _marks(of: Signs) -> tuple[str, str, str]:
    return of.done, of.warning, of.failed


def warn(text: str, *, err: bool = False) -> None:
    """Print a warning on a line of its own."""
    stream = sys.stderr if err else sys.stdout
    click.secho(folded(f"{signs(stream).warning} {shown(text)}", stream, indent=2), fg="yellow", err=err)


_PLAIN = re.compile(r"[\w\u0980-\u09ff@+=:,./\\~-]+")  # Words that no shell takes for more than they are.


def quoted(word: object) -> str:
    """Return a word as it is typed in a command: in double quotes, which every shell knows, if it needs any.

    The shell of Windows takes a single quote for a letter of the name.
    """
    text = str(word)
    if _PLAIN.fullmatch(text):
        return text if os.name == "nt" or "\\" not in text else shlex.quote(text)
    return f'"{text}"' if os.name == "nt" or not re.search(r'[\\"$`!]', text) else shlex.quote(text)


def shown(text: str) -> str:
    """Return a text in which words of a server may stand, without secrets and what a terminal obeys."""
    return terminal_text(scrub(text))


@lru_cache(maxsize=4096)
def _cells(letter: str) -> int:
    from rich.cells import cell_len  # noqa: PLC0415  # Only the live page needs it.

    # Terminals differ on vowel signs that stand beside their letter; the wide reading never overflows.
    return max(cell_len(letter), int(unicodedata.category(letter) == "Mc"))


def width_of(text: str) -> int:
    """Return how many columns a text takes at most on any terminal."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


_PIECE = re.compile(r"(?:`[^`]*`|\S)+")  # A word; a command in backticks is one, so that it can be copied.


def folded(text: str, stream: TextIO | None = None, *, start: int = 0, indent: int = 0) -> str:
    """Break a text between words for a terminal, which would break it within one; a pipe gets it as it is.

    Args:
        text: any lines; those that fit stay as they are.
        stream: where it is printed; standard output by default.
        start: how many columns are taken before its first line.
        indent: how far the lines that are begun here are moved to the right.
    """
    if not (stream or sys.stdout).isatty():
        return text
    width = shutil.get_terminal_size().columns
    lines = []
    for number, line in enumerate(text.split("\n")):
        used = 0 if number else start
        if used + width_of(line) <= width:
            lines.append(line)
            continue
        made = line[: len(line) - len(line.lstrip())]
        is_begun = False
        for piece in _PIECE.findall(line):
            if is_begun and used + width_of(made) + 1 + width_of(piece) > width:
                lines.append(made)
                made, used, is_begun = " " * indent, 0, False
            made += f" {piece}" if is_begun else piece
            is_begun = True
        lines.append(made)
    return "\n".join(lines)


def fit(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut a text to at most `width` columns; the cut is marked with `ellipsis`."""
    if len(text) <= width and text.isascii():
        return text
    if width_of(text) <= width:
        return text
    room, used, kept = max(0, width - len(ellipsis)), 0, 0
    for letter in text:
        used += _cells(letter)
        if used > room:
            break
        kept += 1
    # A letter keeps the marks that follow it, or is cut with them.
    while 0 < kept < len(text) and unicodedata.category(text[kept])[0] == "M":
        kept -= 1
    return (text[:kept] + ellipsis)[: max(0, width)] if width < len(ellipsis) else text[:kept] + ellipsis


@contextmanager
def writing(out: Path | None) -> Iterator[None]:
    """Point to `--out` if the file that kgtts chose itself cannot be written."""
    try:
        yield
    except LocalError as error:
        if out is None and error.hint is None:
            raise LocalError(error.message, hint="write it somewhere else with --out FILE") from error
        raise


def print_page(path: Path, *, show: bool) -> None:
    """Print where the page is and how large, and open it in the browser if that is wanted.

    Raises:
        LocalError: no browser could be started.
    """
    click.echo(f"{path}  ({size(path.stat().st_size)})")
    if show and click.launch(str(path)) != 0:
        raise LocalError(f"No browser could be started for {path}.", hint="open the file yourself")
