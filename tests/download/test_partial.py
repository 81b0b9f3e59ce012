"""The partial file: this process and the next know what was written."""

import os
import random
from pathlib import Path, PurePosixPath

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.download.hashes import Content, joined_crc32c
from orchestrator.download.partial import Partial, Range, has_part, part_size, ranges_of, remove_parts

MB = 1 << 20
BYTES = os.urandom(14 * MB)
NAME = PurePosixPath("folder/f")


def remote(size: int, validator: str = "v") -> Content:
    """Return a content without hashes from the storage."""
    return Content(size, etag=f'"{validator}"')


def put(part: Partial, one: Range, count: int, cut: int = 70_000) -> None:
    """Write the next `count` bytes of a range, in pieces of `cut` bytes."""
    with part.writer(one) as write:
        end = one.at + count
        while one.at < end:
            write(BYTES[one.at : min(end, one.at + cut)])


@settings(max_examples=40)
@given(
    size=st.integers(8 * MB + 1, len(BYTES)),
    shares=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    cut=st.integers(20_000, 400_000),
)
def test_a_part_knows_the_bytes_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, size: int, shares: list[float], cut: int
) -> None:
    """After writing a part of each range and reopening, exactly these bytes are known."""
    folder, content = tmp_path_factory.mktemp("part"), remote(size)
    part = Partial(folder, NAME, content)
    for one, share in zip(part.missing, shares, strict=False):
        put(part, one, int(share * (one.end - one.start)), cut)
    assert has_part(folder, NAME)
    again = Partial(folder, NAME, content)
    assert again.resumed == sum(one.here for one in part.missing)
    assert part_size(folder, NAME, content) == again.resumed
    data = again.place.read_bytes()
    assert all(data[one.start : one.at] == BYTES[one.start : one.at] for one in part.missing)
    assert [one for one in again.missing if one.at < one.end] == [
        one for one in part.missing if one.at < one.end
    ]
    remove_parts(folder, NAME)
    assert list(folder.iterdir()) == []


@settings(max_examples=20)
@given(
    size=st.integers(0, len(BYTES)), cut=st.integers(20_000, 400_000), order=st.randoms(use_true_random=False)
)
def test_the_hash_of_a_file_is_that_of_its_ranges(
    tmp_path_factory: pytest.TempPathFactory, size: int, cut: int, order: random.Random
) -> None:
    """Ranges that are written in any order give the CRC32C of the file; one that was resumed gives none."""
    folder, content = tmp_path_factory.mktemp("part"), remote(size)
    part = Partial(folder, NAME, content, is_hashed=True)
    for one in order.sample(part.missing, len(part.missing)):
        put(part, one, one.end - one.start, cut)
    assert part.crc32c == google_crc32c.Checksum(BYTES[:size]).digest()
    assert Partial(folder, NAME, content).crc32c is None
    if size:
        assert Partial(folder, NAME, content, is_hashed=True).crc32c is None


@given(parts=st.lists(st.binary(max_size=70_000), max_size=5))
def test_hashes_of_parts_are_joined(parts: list[bytes]) -> None:
    """The CRC32C of all bytes follows from those of the parts, whatever their sizes."""
    known = [(google_crc32c.value(part), len(part)) for part in parts]
    assert joined_crc32c(known) == google_crc32c.Checksum(b"".join(parts)).digest()


@pytest.mark.parametrize("spoil", ["cut", "wrong", "all cut", "empty", "gone"])
def test_a_part_that_is_damaged_begins_anew(tmp_path: Path, spoil: str) -> None:
    """After a crash or a change by somebody, nothing wrong is taken for written."""
    content = remote(9 * MB)
    part = Partial(tmp_path, NAME, content)
    put(part, part.missing[0], 2 * MB)
    assert part_size(tmp_path, NAME, content) == 2 * MB
    if spoil == "wrong":
        part.place.write_bytes(BYTES[: 9 * MB] + b"?" * 16)
    elif spoil == "gone":
        part.place.unlink()
    else:
        os.truncate(part.place, {"cut": 9 * MB + 2, "all cut": MB, "empty": 0}[spoil])
    assert part_size(tmp_path, NAME, content) == 0
    again = Partial(tmp_path, NAME, content)
    assert (again.resumed, again.missing) == (0, ranges_of(9 * MB))


@pytest.mark.parametrize("size", [0, 5, 8 * MB, 9 * MB])
@pytest.mark.parametrize("in_one", [True, False])
def test_a_whole_part_is_checked_and_not_fetched_again(tmp_path: Path, size: int, *, in_one: bool) -> None:
    """A complete file that was not renamed yet is checked instead of downloaded."""
    content = remote(size)
    part = Partial(tmp_path, NAME, content, in_one=in_one)
    ends = []
    for one in part.missing:
        put(part, one, one.end - one.start)
        assert Partial(tmp_path, NAME, content).resumed == one.end
        ends.append(part.end_range())
    assert ends == [False] * (len(ends) - 1) + [True]
    assert part.place.read_bytes() == BYTES[:size]
    again = Partial(tmp_path, NAME, content)
    assert (again.resumed, len(again.missing)) == (size, 1)
    assert again.missing[0].at == again.missing[0].end


def test_what_is_written_is_known_at_once(tmp_path: Path) -> None:
    """A kill while the file is open loses nothing of it."""
    content = remote(9 * MB)
    part = Partial(tmp_path, NAME, content)
    with part.writer(part.missing[0]) as write:
        write(BYTES[:70_001])
        assert part_size(tmp_path, NAME, content) == 70_001
        assert part.place.read_bytes()[:70_001] == BYTES[:70_001]


def test_a_content_that_cannot_be_resumed_begins_anew(tmp_path: Path) -> None:
    """Without a size or an ETag, nobody knows whether what is here belongs to it."""
    for content in (Content(MB), Content(None, etag='"v"')):
        part = Partial(tmp_path, NAME, content)
        put(part, part.missing[0], MB)
        assert part_size(tmp_path, NAME, content) == 0
        assert Partial(tmp_path, NAME, content).resumed == 0


def test_parts_of_other_contents_go_and_those_of_other_names_stay(tmp_path: Path) -> None:
    """A new version of a file deletes its old part only."""
    other = PurePosixPath("g")
    for path, validator in ((NAME, "old"), (other, "old"), (NAME, "new")):
        Partial(tmp_path, path, remote(MB, validator))
    assert part_size(tmp_path, NAME, remote(MB, "old")) == 0
    assert has_part(tmp_path, NAME)
    assert has_part(tmp_path, other)
    assert len(list(tmp_path.iterdir())) == 2
