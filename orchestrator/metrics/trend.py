"""Whether a measure still improves, and how long that is worth its time: a robust trend with an honest range.

Losses fall fast at first and ever more slowly, so they are compared over the *logarithm* of the hours. The
slope is the median of the slopes between all pairs of values (Theil and Sen), which no outlier moves, and its
range is that of Kendall's test, widened where neighbouring values resemble each other.

How the fall goes on is not known: it may nearly have ended, or go on for long. So several shapes are fitted,
and the range is that of all that suit the values about as well as the best one. Nothing is foretold beyond
twice the time so far.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import fmean, median

FEWEST = 6  # Values, below which there is no trend.
WORTH_SHARE, WORTH_HOURS = 0.01, 6.0  # Worth training: a hundredth better in six hours.
_LARGEST = 1e30  # Beyond, and for infinity and NaN, it is no value.
_MOST = 60  # Values that are compared; more are averaged.
_SURE = 1.96  # Standard deviations: 95 %.
FLAT_SHARE = 0.03  # A doubling of the time brings less than this for sure: it stands still.
_MOST_CORRELATION = 0.9
_WANDERING = 10.0  # What is left over of a fit counts in full from a tenth of the change.
_FITS = 5.99  # How much worse a shape may fit than the best one: chi square of two numbers, 95 %.
_PADDING = 1.5  # No shape is the true one: the range is widened by half.
_HALVINGS = 40
_DECAYS = (0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.32, 0.4, 0.5, 0.63, 0.8, 1.0)  # Of the time so far.


class Direction(StrEnum):
    """Where a measure is going."""

    BETTER = "better"
    WORSE = "worse"
    FLAT = "flat"
    UNCLEAR = "unclear"  # Its values vary too much to tell.
    TOO_FEW = "too_few"


@dataclass(frozen=True, slots=True)
class Trend:
    """The trend of a measure that is better the lower it is.

    Attributes:
        direction: where it is going.
        count: how many values the trend is of.
        at: the hours (or steps) of the newest value.
        level: the median of the newest values.
        doubling: the change that a doubling of the time brings, as a share of `level`, with its 95 % range;
            nothing if there are too few values.
        more: how many more hours are worth training, as a range; None for an end that is too far to see.
            Nothing unless it gets better.
    """

    direction: Direction
    count: int
    at: float
    level: float
    doubling: tuple[float, float, float] | None = None
    more: tuple[float, float | None] | None = None


def trend(places: Sequence[float], values: Sequence[float]) -> Trend:
    """The trend of the second half of the values.

    Args:
        places: the hours (or steps) of the values, increasing; those at or before 0 do not count.
        values: lower is better; those that are not finite do not count.
    """
    points = [
        (place, value)
        for place, value in zip(places, values, strict=True)
        if 0 < place < _LARGEST and abs(value) < _LARGEST
    ]
    newest = _thinned(points[-max(FEWEST, -(-len(points) // 2)) :])
    if len(newest) < FEWEST:
        at, level = newest[-1] if newest else (0.0, math.nan)
        return Trend(Direction.TOO_FEW, len(newest), at, level)
    level = median(value for _, value in newest[-3:])
    low, middle, high = _slope(newest)
    share = math.log(2) / abs(level) if level else math.inf
    direction = _direction(low * share, high * share)
    more = _more(_thinned(points[len(points) // 5 :]), level) if direction is Direction.BETTER else None
    return Trend(
        direction, len(newest), newest[-1][0], level, (low * share, middle * share, high * share), more
    )


def _direction(low: float, high: float) -> Direction:
    if high < 0:
        return Direction.BETTER
    if low > 0:
        return Direction.WORSE
    return Direction.FLAT if low > -FLAT_SHARE else Direction.UNCLEAR


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most 60 points: neighbours are averaged."""
    if len(points) <= _MOST:
        return points
    width = -(-len(points) // _MOST)
    groups = [points[begin : begin + width] for begin in range(0, len(points), width)]
    return [(group[-1][0], fmean(value for _, value in group)) for group in groups]


def _slope(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """The slope over the logarithm of the time by Theil and Sen: its lower end, itself, its upper end."""
    logs, values, count = (
        [math.log(place) for place, _ in points],
        [value for _, value in points],
        len(points),
    )
    slopes = sorted(
        (values[later] - values[earlier]) / (logs[later] - logs[earlier])
        for later in range(count)
        for earlier in range(later)
        if logs[later] > logs[earlier]
    )
    if not slopes:
        return -math.inf, 0.0, math.inf
    middle = median(slopes)
    fits = (_fit(shape, points) for shape in _shapes(points[-1][0]))
    alike = _wandering(values, min(fits, key=lambda fit: fit[1])[2])
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18 * (1 + alike) / (1 - alike))
    reach = _SURE * deviation / 2
    low = math.floor((len(slopes) - 1) / 2 - reach)
    high = len(slopes) - 1 - low
    return (slopes[low], middle, slopes[high]) if low >= 0 else (-math.inf, middle, math.inf)


def _wandering(values: Sequence[float], left: Sequence[float]) -> float:
    """How much neighbours resemble each other beyond the fall: 0 to 0.9.

    Args:
        values: the values.
        left: what the best fit leaves of them. If that is little, it is the fit's fault and no wandering.
    """
    mean = fmean(values)
    total = sum((value - mean) ** 2 for value in values)
    if total <= 0:
        return 0.0
    return min(1.0, _WANDERING * sum(item * item for item in left) / total) * _correlation(left)


def _correlation(values: Sequence[float]) -> float:
    """How much neighbours resemble each other: 0 (not at all, or they alternate) to 0.9."""
    mean = fmean(values)
    away = [value - mean for value in values]
    total = sum(value * value for value in away)
    if total <= 0:
        return 0.0
    found = sum(one * other for one, other in pairwise(away)) / total
    # Few values show less of it than there is (Kendall and Marriott).
    return min(_MOST_CORRELATION, max(0.0, found + (1 + 4 * found) / len(values)))


# ---- How many more hours


Shape = Callable[[float], float]  # Falls with the hours, ever more slowly.


def _shapes(now: float) -> list[Shape]:
    """Ways in which a loss goes down: by logarithm, by powers, or towards an end."""

    def power(exponent: float) -> Shape:
        return lambda hours: hours**exponent

    def decay(length: float) -> Shape:
        return lambda hours: math.exp(-hours / length)

    powers = [power(exponent) for exponent in (-0.25, -0.5, -1.0, -2.0)]
    return [lambda hours: -math.log(hours), *powers, *(decay(now * share) for share in _DECAYS)]


def _more(points: Sequence[tuple[float, float]], level: float) -> tuple[float, float | None]:
    """How many more hours are worth training: as long as six hours bring a hundredth or more."""
    now = points[-1][0]
    fitted = [(shape, *_fit(shape, points)) for shape in _shapes(now)]
    alike = _wandering([value for _, value in points], min(fitted, key=lambda item: item[2])[3])
    # Values that resemble each other tell as much as fewer that do not.
    count = len(points) * (1 - alike) / (1 + alike)
    least = min(total for _, _, total, _ in fitted)
    ends = [
        _until(shape, factor, now, level) - now
        for shape, factor, total, _ in fitted
        if least <= 0 or count * math.log(total / least) <= _FITS
    ]
    low, high = min(ends) / _PADDING, max(ends) * _PADDING
    return low, high if high < now else None


def _fit(shape: Shape, points: Sequence[tuple[float, float]]) -> tuple[float, float, list[float]]:
    """Fit `level + factor * shape` by least squares: the factor, the sum of squares, what is left over."""
    heights, values = [shape(place) for place, _ in points], [value for _, value in points]
    height, mean = fmean(heights), fmean(values)
    width = sum((item - height) ** 2 for item in heights)
    product = sum((one - height) * (value - mean) for one, value in zip(heights, values, strict=True))
    factor = product / width if width > 0 else 0.0
    left = [value - mean - factor * (one - height) for one, value in zip(heights, values, strict=True)]
    return factor, sum(item * item for item in left), left


def _until(shape: Shape, factor: float, now: float, level: float) -> float:
    """The hours from which on six more bring less than a hundredth: from now to twice now."""

    def is_worth(hours: float) -> bool:
        return factor * (shape(hours) - shape(hours + WORTH_HOURS)) >= WORTH_SHARE * abs(level)

    if not is_worth(now):
        return now
    low, high = now, 2 * now
    if is_worth(high):
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_worth(middle) else (low, middle)
    return low
