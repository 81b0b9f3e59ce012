"""What fits a terminal: the signs that it can show, and text cut to a width."""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.formatting import BARS


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs that a terminal can show."""

    bars: str
    ellipsis: str
    edge: str


UNICODE = Glyphs(BARS, "…", "│ ")
ASCII = Glyphs("_.:-=+*#", "...", "| ")


def glyphs(*, ascii_only: bool) -> Glyphs:
    """The signs for a terminal."""
    return ASCII if ascii_only else UNICODE


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
