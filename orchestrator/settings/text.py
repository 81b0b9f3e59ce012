"""Read what people write: durations such as `6h`, `90m` or `11h30m`, and names that are almost right."""

import difflib
import re
from collections.abc import Iterable
from datetime import timedelta

_TEXT = re.compile(r"(?:([0-9]{1,6})h)?\s*(?:([0-9]{1,8})m)?\s*(?:([0-9]{1,9})s?)?", re.IGNORECASE)
_LONGEST_S = 10**9  # Some thirty years, so that no sum of durations comes near the limit of timedelta.
EXPECTED = "a duration such as 6h, 11h30m, 90m, 45s, or a whole number of seconds"


def parse_duration(value: object) -> timedelta:
    """Read a duration of whole seconds from a text, a number of seconds or a timedelta.

    Raises:
        ValueError: the value is none of these, negative, or longer than thirty years.
    """
    seconds = _seconds(value)
    if seconds is None or not 0 <= seconds <= _LONGEST_S:
        raise ValueError(f"must be {EXPECTED}")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Write a duration in its shortest form, such as `1h30m`; `parse_duration` reads it back."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{amount}{unit}" for amount, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if amount]
    return "".join(parts) or "0s"


def _seconds(value: object) -> int | None:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and (text := value.strip()) and (match := _TEXT.fullmatch(text)):
        hours, minutes, seconds = (int(group or 0) for group in match.groups())
        return hours * 3600 + minutes * 60 + seconds
    return None


def closest(word: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the name that is most like `word`; None if all are less alike than `cutoff` (0 to 1)."""
    return next(iter(difflib.get_close_matches(word, list(names), n=1, cutoff=cutoff)), None)
