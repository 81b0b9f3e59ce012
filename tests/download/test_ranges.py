"""The planner of ranges: every byte once, from the beginning, in ranges of useful size."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.download.partial import BLOCK, blocks_in, missing_spans

SIZES = st.integers(0, 3 * (1 << 30))


@given(SIZES, st.integers(1, 16))
def test_a_new_file_is_covered_once_and_in_order(size: int, connections: int) -> None:
    """The spans follow each other from the first byte to the last."""
    spans = missing_spans(size, bytearray(blocks_in(size)), connections)
    assert [span.start for span in spans] == [0, *(span.end for span in spans)][: len(spans)]
    assert (spans[-1].end if spans else 0) == size


@given(
    st.binary(max_size=400).map(lambda bits: bytearray(bit & 1 for bit in bits)),
    st.integers(1, 16),
    st.data(),
)
def test_what_is_here_is_never_asked_for(taken: bytearray, connections: int, data: st.DataObject) -> None:
    """Exactly the missing blocks are requested."""
    short = data.draw(st.integers(0, BLOCK - 1)) if taken else 0
    size = len(taken) * BLOCK - short
    missing = {block for block, here in enumerate(taken) if not here}
    spans = missing_spans(size, bytearray(taken), connections)
    asked = [block for span in spans for block in range(span.start // BLOCK, blocks_in(span.end))]
    assert sorted(asked) == sorted(missing)
    assert all(span.start % BLOCK == 0 and span.end > span.start for span in spans)
    assert all(span.end % BLOCK == 0 or span.end == size for span in spans)


@given(st.integers(8 << 20, 3 * (1 << 30)))
def test_ranges_are_worth_a_question_and_shared(size: int) -> None:
    """Ranges have 4 to 32 MiB except the last, and do not grow towards the end."""
    sizes = [span.end - span.start for span in missing_spans(size, bytearray(blocks_in(size)), 8)]
    assert all(4 << 20 <= one <= 32 << 20 for one in sizes[:-1])
    assert sizes[-1] <= 32 << 20
    assert sizes == sorted(sizes, reverse=True)
