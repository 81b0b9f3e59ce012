"""Durations as people write them: `6h`, `90m`, `11h30m`, `45s`, or a bare number of seconds."""

import re
from datetime import timedelta

_TEXT = re.compile(r"(?:([0-9]{1,6})h)?\s*(?:([0-9]{1,8})m)?\s*(?:([0-9]{1,9})s?)?", re.IGNORECASE)
_LONGEST_S = 10**9  # Some thirty years: keeps every sum of durations far from timedelta's own limit.
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
    """Write a duration in its shortest readable form, which `parse_duration` reads back: `1h30m`."""
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
