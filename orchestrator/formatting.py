"""Write times, sizes, counts and curves for people: the one place for each.

Everything that a person reads (terminal, report, job summary, error message) is written with these functions,
so that the same value looks the same everywhere. Standard library only; nothing here prints.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

BARS = "▁▂▃▄▅▆▇█"
_NOISE = 1e-9  # Relative: a mean of equal numbers differs from them by as much.
# VITS has a dozen losses: mel is what one hears, then the two of the adversarial game, then the evaluation.
_WATCHED = ("loss_mel", "loss_gen", "loss_disc", "avg_loss_mel")


def duration(time: float | timedelta) -> str:
    """Write a time (seconds or a timedelta) as `42 s`, `12 min 5 s` or `3 h 7 min`; negative as `0 s`."""
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    total = max(0, round(seconds))
    hours, minutes = divmod(total // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {total % 60} s" if minutes else f"{total} s"


def hours(time: float | timedelta) -> str:
    """Write GPU time (seconds or a timedelta) as hours with two decimals: `3.12 h`, as quotas are counted."""
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    return f"{seconds / 3600:.2f} h"


def moment(time: datetime) -> str:
    """Write a point in time as `Friday 2026-11-27 03:20 UTC`."""
    return f"{time.astimezone(UTC):%A %Y-%m-%d %H:%M} UTC"


def weekday(time: datetime) -> str:
    """Write a point in time within the coming week as `Friday 03:20 UTC`."""
    return f"{time.astimezone(UTC):%A %H:%M} UTC"


def size(count: float) -> str:
    """Write bytes as `512 B`, `3.4 kB`, `71.0 MB` or `1.0 GB` (powers of 1000, as storage is sold)."""
    if count < 1000:  # noqa: PLR2004  # A kilobyte.
        return f"{count:.0f} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":  # noqa: PLR2004  # What would round to 1000.
            return f"{value:.1f} {unit}"
    raise AssertionError


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Write how many there are: `1 session`, `2 sessions`, `1,200 steps`; `plural` for irregular nouns."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def losses(values: Mapping[str, float]) -> str:
    """Write the losses worth watching on one line: VITS's, mel first; for another model, any four of them."""
    names = [name for name in _WATCHED if name in values] or sorted(n for n in values if "loss" in n)[:4]
    short = {name: name.replace("loss_", "") for name in names} | {"avg_loss_mel": "eval loss"}
    return "  ".join(f"{short[name]} {values[name]:.3f}" for name in names)


def spark(values: Sequence[float], width: int, bars: str = BARS) -> str:
    """Draw numbers as at most `width` bars from the least to the greatest; a longer row is averaged.

    Args:
        values: the numbers in order; those that are not finite are left out.
        width: how many bars at most.
        bars: the characters from the lowest bar to the highest.
    """
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
