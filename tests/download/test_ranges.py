"""The planner of ranges: every byte once, from the beginning, in ranges of useful size."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.download.partial import ranges_of

SIZES = st.integers(0, 3 * (1 << 30))


@given(SIZES)
def test_a_file_is_covered_once_and_in_order(size: int) -> None:
    """The ranges follow each other from the first byte to the last."""
    ranges = ranges_of(size)
    assert [one.start for one in ranges] == [0, *(one.end for one in ranges)][: len(ranges)]
    assert ranges[-1].end == size
    assert len(ranges) == 1 or all(one.start < one.end for one in ranges)


@given(st.integers(8 << 20, 3 * (1 << 30)))
def test_ranges_are_worth_a_question_and_shared(size: int) -> None:
    """After the first one, ranges have 16 to 32 MiB except the last, and do not grow towards the end."""
    sizes = [one.end - one.start for one in ranges_of(size)]
    assert sizes[0] == 8 << 20
    assert all(16 << 20 <= one <= 32 << 20 for one in sizes[1:-1])
    assert sizes[-1] <= 32 << 20
    assert sizes[1:] == sorted(sizes[1:], reverse=True)


@given(SIZES)
def test_a_file_may_come_in_one(size: int) -> None:
    """A storage that ignores ranges sends the whole file."""
    assert [(one.start, one.end) for one in ranges_of(size, in_one=True)] == [(0, size)]
