"""Times, sizes, counts and curves have one form everywhere."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.formatting import (
    BARS,
    counted,
    duration,
    hours,
    losses,
    moment,
    size,
    spark,
    weekday,
)


def test_a_row_of_bars() -> None:
    """The lowest value is the lowest bar, the highest the highest; a long row becomes means."""
    assert spark([0, 1, 2, 3, 4, 5, 6, 7], 8) == BARS
    assert spark([0, 7], 8, "_.:-=+*#") == "_#"
    assert spark([0, 0, 7, 7], 2) == "▁█"
    assert spark([3.0], 9) == spark([3.0, 3.0 + 1e-12], 1) == "▄"
    assert spark([], 9) == spark([1.0], 0) == spark([math.nan], 9) == ""
    assert spark([1, math.inf, math.nan, 2], 9) == "▁█"
    assert spark([3.0, 2.0, 1.0], 60) == "█▅▁"
    long = spark([float(number) for number in range(1000)], 60)
    assert (len(long), long[0], long[-1]) == (60, "▁", "█")


@given(st.lists(st.floats()), st.integers(min_value=-1, max_value=50))
def test_any_numbers_make_bars(values: list[float], width: int) -> None:
    """There are at most as many bars as there is room for."""
    bars = spark(values, width)
    assert len(bars) <= max(0, width)
    assert set(bars) <= set(BARS)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(-3, "0 s"), (0.4, "0 s"), (42, "42 s"), (59.6, "1 min 0 s"), (725, "12 min 5 s"), (11220, "3 h 7 min")],
)
def test_a_time(seconds: float, written: str) -> None:
    """A duration has at most two units, from seconds or a timedelta."""
    assert duration(seconds) == duration(timedelta(seconds=seconds)) == written


def test_gpu_hours() -> None:
    """A quota is counted in hours with two decimals."""
    assert hours(timedelta(hours=3, minutes=7)) == hours(11220) == "3.12 h"


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_499, "999.5 kB"),
        (999_500, "1.0 MB"),
        (71_000_000, "71.0 MB"),
        (1_020_000_000, "1.0 GB"),
        (2e15, "2000.0 TB"),
    ],
)
def test_a_size(count: float, written: str) -> None:
    """Sizes use powers of 1000, and never 1000 of one unit."""
    assert size(count) == written


def test_a_count() -> None:
    """One is singular, thousands are separated, and an irregular plural can be given."""
    assert counted(1, "session") == "1 session"
    assert counted(0, "session") == "0 sessions"
    assert counted(12345, "step") == "12,345 steps"
    assert counted(2, "entry", "entries") == "2 entries"


def test_a_moment() -> None:
    """Times are written in UTC, whatever their zone."""
    dhaka = timezone(timedelta(hours=6))
    assert moment(datetime(2026, 11, 27, 9, 20, tzinfo=dhaka)) == "Friday 2026-11-27 03:20 UTC"
    assert weekday(datetime(2026, 11, 27, 3, 20, tzinfo=UTC)) == "Friday 03:20 UTC"


def test_the_losses_worth_watching() -> None:
    """VITS's mel loss comes first; another model shows any four of its losses."""
    vits = {"loss_kl": 1.0, "loss_disc": 2.5, "loss_mel": 20.0, "avg_loss_mel": 21.0}
    assert losses(vits) == "mel 20.000  disc 2.500  eval loss 21.000"
    assert losses({"loss": 1.0, "grad_norm": 3.0}) == "loss 1.000"
