"""Where a run is going: by its eval loss, by its scores if enough steps have some, and for how many hours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kernel_template.contract import Measure
from orchestrator.metrics.findings import eval_worse
from orchestrator.metrics.hours import hour_at, session_offsets
from orchestrator.metrics.losses import EvalLoss, eval_loss, eval_loss_now
from orchestrator.metrics.scores import QUALITY, Scores, turned_means
from orchestrator.metrics.table import MetricsTable, Series
from orchestrator.metrics.trend import FEWEST, Direction, Trend, trend

_BROKEN_FOR = 2  # Evaluations in a row that are not finite.
_CLEAR = (Direction.BETTER, Direction.WORSE, Direction.FLAT)


@dataclass(frozen=True, slots=True)
class Course:
    """Where a run is going.

    Attributes:
        direction: by the scores if they show it, else by the eval loss.
        losses: the trend of the eval loss.
        loss: the eval loss now; None if nothing was evaluated.
        scored: the trend of the scores; None if too few steps have any.
        measure: what `scored` is of.
        more: how many more hours are worth training, if it gets better and the hours are known: at least, and
            at most (None if the end is too far to see).
        broken_since: the step since which the eval loss is NaN or infinite.
        disagree: whether scores and eval loss clearly go different ways.
    """

    direction: Direction
    losses: Trend
    loss: EvalLoss | None = None
    scored: Trend | None = None
    measure: Measure | None = None
    more: tuple[float, float | None] | None = None
    broken_since: int | None = None
    disagree: bool = False


def course_of(table: MetricsTable, scores: Scores, session_seconds: Mapping[int, float] | None) -> Course:
    """Where a run is going.

    Args:
        table: its measurements.
        scores: the scores of its held-out sentences.
        session_seconds: how long its sessions took, as far as known.
    """
    series, loss = eval_loss(table), eval_loss_now(table)
    hours = None if series is None else _hours(table, series, session_seconds)
    losses = trend([], []) if series is None else trend(hours or _steps(series.steps), series.values)
    scored, measure = _of_scores(scores, series, hours)
    since = None if series is None else _broken_since(series)
    if since is not None:
        return Course(Direction.WORSE, losses, loss, scored, measure, broken_since=since)
    direction, decisive = losses.direction, losses
    if direction is not Direction.BETTER and next(eval_worse(table), None) is not None:
        direction = Direction.WORSE
    disagree = False
    if scored is not None and scored.direction in _CLEAR:
        better = scored.direction is Direction.BETTER
        disagree = direction in _CLEAR and (direction is Direction.BETTER) != better
        direction, decisive = scored.direction, scored
    more = decisive.more if hours and not disagree else None
    return Course(direction, losses, loss, scored, measure, more, disagree=disagree)


def _steps(steps: Sequence[int]) -> list[float]:
    return [float(step) for step in steps]


def _hours(
    table: MetricsTable, series: Series, session_seconds: Mapping[int, float] | None
) -> list[float] | None:
    """The run's hours at each value; None if the times of some are not known."""
    offsets = session_offsets(table, session_seconds)
    found = [hour_at(series, index, offsets) for index in range(len(series))]
    return None if None in found else [hour for hour in found if hour is not None]


def _of_scores(
    scores: Scores, series: Series | None, hours: Sequence[float] | None
) -> tuple[Trend | None, Measure | None]:
    """The trend of the first measure that enough steps have."""
    for measure in QUALITY:
        found = turned_means(scores.steps, measure)
        if len(found) >= FEWEST:
            steps = [step for step, _ in found]
            places = None if series is None else _hours_at(steps, series.steps, hours)
            return trend(places or _steps(steps), [value for _, value in found]), measure
    return None, None


def hours_at_steps(
    table: MetricsTable, steps: Sequence[int], session_seconds: Mapping[int, float] | None
) -> list[float] | None:
    """The run's hours at these steps, between those of its evaluations; None if these have no times."""
    series = eval_loss(table)
    hours = None if series is None else _hours(table, series, session_seconds)
    return None if series is None else _hours_at(steps, series.steps, hours)


def _hours_at(
    steps: Sequence[int], known_steps: Sequence[int], hours: Sequence[float] | None
) -> list[float] | None:
    """The run's hours at these steps, between those of its evaluations; None if these have none."""
    known = [(0, 0.0)]
    for step, hour in zip(known_steps, hours or (), strict=False):
        if step > known[-1][0]:
            known.append((step, max(hour, known[-1][1])))
    return [_between(known, step) for step in steps] if len(known) > 1 else None


def _between(known: Sequence[tuple[int, float]], step: int) -> float:
    for (left, begin), (right, end) in pairwise(known):
        if step <= right:
            return begin + (end - begin) * (step - left) / (right - left)
    last_step, last_hour = known[-1]
    return last_hour * step / last_step


def _broken_since(series: Series) -> int | None:
    """The step since which all values are NaN or infinite, if the last two are (or the only one is)."""
    good = next((index for index in reversed(range(len(series))) if math.isfinite(series.values[index])), -1)
    bad = len(series) - 1 - good
    if not bad or bad < min(_BROKEN_FOR, len(series)):
        return None
    return max(0, series.steps[good + 1])
