"""Durations are read as people write them, and written so that they can be read again."""

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.settings import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6h", 21600),
        ("90m", 5400),
        ("11h30m", 41400),
        ("11h 30m", 41400),
        ("45s", 45),
        ("1h1s", 3601),
        (" 2H ", 7200),
        ("300", 300),
        (300, 300),
        (300.0, 300),
        (timedelta(minutes=5), 300),
        ("0s", 0),
    ],
)
def test_reads_every_way_of_writing(text: object, seconds: int) -> None:
    """Hours, minutes and seconds combine in that order, and a bare number is seconds."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "h", "6 hours", "30m6h", "-6h", "6.5h", "1d", "৬h", "6h6h", "6h\n\x00", "9" * 400),
        *(-1, 1.5, 10**12, 10**400, float("nan"), float("inf"), True, None, []),
    ],
)
def test_refuses_what_is_no_duration(value: object) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(ValueError, match="such as 6h, 11h30m, 90m, 45s"):
        parse_duration(value)


@given(st.integers(min_value=0, max_value=10**9))
def test_written_durations_are_read_back(seconds: int) -> None:
    """Any whole number of seconds is read as it was written."""
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


@given(st.text() | st.text(alphabet="0123456789hms ", max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    """Any text is a duration or a ValueError."""
    with contextlib.suppress(ValueError):
        assert parse_duration(text) >= timedelta(0)
