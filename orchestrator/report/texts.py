"""Reading small files of a pulled folder, whose content nobody vouches for."""

import json
import stat
from pathlib import Path
from typing import Any

_LARGEST = 16 * 1024 * 1024
_LONGEST = 2000
# Between letters of Bangla these two choose a conjunct's form; Unicode counts them as not printable.
_JOINERS = "\u200c\u200d"


def read_object(place: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where there is none."""
    try:
        told = place.lstat()
        if not stat.S_ISREG(told.st_mode) or told.st_size > _LARGEST:
            return {}
        content = json.loads(place.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_lines(place: Path) -> list[str]:
    """The lines of a text file; none where it cannot be read as one."""
    try:
        told = place.lstat()
        if not stat.S_ISREG(told.st_mode) or told.st_size > _LARGEST:
            return []
        return place.read_text("utf-8-sig", errors="replace").splitlines()
    except OSError:
        return []


def one_line(text: object, longest: int = _LONGEST) -> str:
    """A text as a page shows it: one line, printable (Bangla's joiners stay), not endless."""
    flat = " ".join(str(text)[: 2 * longest].split())
    return "".join(letter for letter in flat if letter.isprintable() or letter in _JOINERS)[:longest]


def as_object(value: object) -> dict[str, Any]:
    """A JSON object; an empty one for all else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """A JSON list; an empty one for all else."""
    return value if isinstance(value, list) else []


def as_number(value: object) -> float | None:
    """A finite number; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:  # noqa: PLR2004
        return None
    return float(value)
