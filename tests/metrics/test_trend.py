"""Whether a measure improves, and for how many more hours that is worth it."""

import math
import random
from collections.abc import Callable

import pytest

from orchestrator.metrics.trend import FEWEST, WORTH_HOURS, WORTH_SHARE, Direction, Trend, trend


def of(loss: Callable[[float], float], *, count: int = 40, hours: float = 12.0, noise: float = 0.1) -> Trend:
    """The trend of a loss over some hours, with noise that is the same each time."""
    chance = random.Random(5)  # noqa: S311  # Noise.
    places = [hours * number / count for number in range(1, count + 1)]
    return trend(places, [loss(place) + chance.gauss(0, noise) for place in places])


def true_hours(loss: Callable[[float], float], now: float) -> float:
    """How many more hours are worth it if the loss is known; at most as many as there were."""
    hours = now
    while hours < 2 * now and loss(hours) - loss(hours + WORTH_HOURS) >= WORTH_SHARE * loss(hours):
        hours += 0.01
    return hours - now


@pytest.mark.parametrize(
    "loss",
    [
        lambda hours: 16 + 8 * math.exp(-hours / 3),
        lambda hours: 17 + 6 * math.exp(-hours / 5),
        lambda hours: 15 + 6 * hours**-0.5,
        lambda hours: 26 - 3 * math.log(hours),
    ],
    ids=["soon over", "later over", "power", "without an end"],
)
def test_the_range_holds_the_truth(loss: Callable[[float], float]) -> None:
    """However a loss goes down, the hours that are really worth it lie in the range that is told."""
    found = of(loss)
    assert found.direction is Direction.BETTER
    assert found.more is not None
    low, high = found.more
    assert low <= true_hours(loss, 12) <= (math.inf if high is None else high)


def test_no_range_is_beyond_twice_the_time() -> None:
    """Nothing is foretold beyond twice the time so far."""
    found = of(lambda hours: 26 - 3 * math.log(hours), hours=0.5)
    assert found.more is not None
    assert found.more[1] is None
    assert 0 < found.more[0] <= 0.5


def test_what_goes_down_slowly_is_not_worth_more_hours() -> None:
    """A clear trend of less than a hundredth in six hours gives no more hours."""
    found = of(lambda hours: 18 - 0.04 * math.log(hours), hours=200.0, noise=0.001)
    assert (found.direction, found.more) == (Direction.BETTER, (0.0, 0.0))


def test_directions() -> None:
    """A flat, a rising and a much varying measure are told apart; outliers and NaN do not matter."""
    assert of(lambda _: 18.0).direction is Direction.FLAT
    assert of(lambda hours: 18 + 0.2 * hours).direction is Direction.WORSE
    assert of(lambda _: 18.0, count=12, noise=2.0).direction is Direction.UNCLEAR
    places = [float(number) for number in range(1, 31)]
    values = [24 - 2 * math.log(place) for place in places]
    values[20], values[25], values[28] = 1e9, math.nan, math.inf
    assert trend(places, values).direction is Direction.BETTER


def test_few_values_are_not_judged() -> None:
    """Up to five values tell nothing, nor do none, nor values at hour 0."""
    places = [float(number) for number in range(FEWEST)]
    assert trend(places, [10.0 - place for place in places]).direction is Direction.TOO_FEW
    assert trend([], []).count == 0
    places = [place + 1 for place in places]
    assert trend(places, [10.0 - math.log(place) for place in places]).direction is Direction.BETTER


def test_chance_is_seldom_taken_for_a_trend() -> None:
    """Noise around one level, independent or wandering, is taken for a trend in few of 100 trials."""
    for alike, most in ((0.0, 5), (0.5, 12)):
        wrong = 0
        for seed in range(100):
            chance, wander, values = random.Random(seed), 0.0, []  # noqa: S311  # Noise.
            for _ in range(16):
                wander = alike * wander + chance.gauss(0, 0.3)
                values.append(18 + wander)
            found = trend([float(number) for number in range(1, 17)], values)
            wrong += found.direction in (Direction.BETTER, Direction.WORSE)
        assert wrong <= most


def test_equal_and_huge_values_give_a_trend() -> None:
    """Values without any difference, at one place, of zero, or of any size break nothing."""
    assert trend([1.0, 2.0] * 5, [1e300] * 10).direction is Direction.TOO_FEW
    assert trend([1.0] * 10, [3.0] * 10).direction is Direction.UNCLEAR
    assert trend([float(number) for number in range(1, 11)], [0.0] * 10).more is None
    huge = [1e29 / number for number in range(1, 2001)]
    assert trend([float(number) for number in range(1, 2001)], huge).direction is Direction.BETTER
