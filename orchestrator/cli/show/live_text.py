"""What a terminal shows and does not obey: cleaned text, text cut to a width, numbers as a row of bars."""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

# Whole sequences first, so that no rest of one stays; ECMA-48: CSI, strings (OSC, DCS, …), two-letter ones.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_COLOUR = re.compile(r"\x1b\[[\d;]{0,40}m")
_JOINERS = "\u200c\u200d"  # Bangla is written with them; they are no print and steer nothing.
_LONGEST = 4000
_NOISE = 1e-9  # A mean of equal numbers differs from them by so much.


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs that a terminal can show."""

    bars: str
    ellipsis: str
    edge: str


UNICODE = Glyphs("▁▂▃▄▅▆▇█", "…", "│ ")
ASCII = Glyphs("_.:-=+*#", "...", "| ")


def glyphs(*, ascii_only: bool) -> Glyphs:
    """The signs for a terminal."""
    return ASCII if ascii_only else UNICODE


def plain(text: object) -> str:
    """One line without anything that a terminal obeys, that turns the reading direction, or that is unseen.

    A progress bar redraws itself after carriage returns: its last state stays.
    """
    line = _ESCAPE.sub("", str(text)[: 4 * _LONGEST]).rstrip("\r\n").rsplit("\r", 1)[-1]
    line = line.expandtabs(4).replace("\n", " ")
    return "".join(letter for letter in line if letter.isprintable() or letter in _JOINERS)[:_LONGEST]


def coloured(text: str) -> str:
    """Any long line with its colours, and nothing else that a terminal obeys."""
    if text.isprintable():
        return text
    parts, end = [], 0
    for match in _COLOUR.finditer(text):
        parts += [_safe(text[end : match.start()]), match.group()]
        end = match.end()
    parts.append(_safe(text[end:]))
    return "".join(parts) + ("\x1b[0m" if end else "")


def _safe(text: str) -> str:
    clean = _ESCAPE.sub("", text).rsplit("\r", 1)[-1]
    return "".join(letter for letter in clean if letter.isprintable() or letter in _JOINERS or letter == "\t")


@lru_cache(maxsize=4096)
def _cells(letter: str) -> int:
    from rich.cells import cell_len  # noqa: PLC0415  # Only pages need it.

    # Terminals differ on vowel signs that stand beside their letter; the wide reading never overflows.
    return max(cell_len(letter), int(unicodedata.category(letter) == "Mc"))


def width_of(text: str) -> int:
    """The columns that a text takes at most, by any terminal's reading."""
    return sum(map(_cells, text))


def fit(text: str, width: int, ellipsis: str = "…") -> str:
    """The text in at most `width` columns; where it is longer, its end is cut and marked."""
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
    # A letter keeps the marks that follow it, or goes with them.
    while 0 < kept < len(text) and unicodedata.category(text[kept])[0] == "M":
        kept -= 1
    return (text[:kept] + ellipsis)[: max(0, width)] if width < len(ellipsis) else text[:kept] + ellipsis


def spark(values: Sequence[float], width: int, bars: str = UNICODE.bars) -> str:
    """Numbers as at most `width` bars from the least to the greatest; a long row becomes means."""
    shown = [value for value in values if math.isfinite(value)]
    if not shown or width < 1:
        return ""
    if len(shown) > width:
        edges = [index * len(shown) // width for index in range(width + 1)]
        shown = [sum(shown[begin:end]) / (end - begin) for begin, end in pairwise(edges)]
    low, high = min(shown), max(shown)
    span, most = high - low, len(bars) - 1
    if not _NOISE * max(abs(low), abs(high)) < span < math.inf:
        return bars[most // 2] * len(shown)
    return "".join(bars[round((value - low) / span * most)] for value in shown)
