"""The partial file and its map: this process and the next know what was written."""

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.download.hashes import Content
from orchestrator.download.partial import BLOCK, Partial, Span, blocks_in, has_part, part_size, remove_parts
from orchestrator.download.workspace import replace

BYTES = os.urandom(10 * BLOCK)
NAME = PurePosixPath("folder/f")


def remote(size: int, validator: str = "v") -> Content:
    """Return a content without hashes from the storage."""
    return Content(size, etag=f'"{validator}"')


def put(part: Partial, at: int, data: bytes, cut: int = 70_000) -> None:
    """Write in pieces of `cut` bytes."""
    with part.place.open("r+b") as file:
        for start in range(0, len(data), cut):
            part.write(file, at + start, data[start : start + cut])


def opened(folder: Path, content: Content, path: PurePosixPath = NAME) -> Partial:
    """Open what is here of a file, or start it."""
    return Partial(folder, path, content, lambda size: None)


@settings(max_examples=40)
@given(
    size=st.integers(1, len(BYTES)),
    spans=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3 * BLOCK)), max_size=6),
    cut=st.integers(1, 70_000),
)
def test_a_map_knows_the_whole_blocks_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, size: int, spans: list[tuple[int, int]], cut: int
) -> None:
    """After writing pieces of any size and reopening, exactly the complete blocks are known."""
    folder, content = tmp_path_factory.mktemp("part"), remote(size)
    part, whole = opened(folder, content), set[int]()
    for block, length in spans:
        start = block * BLOCK
        end = min(size, start + length)
        put(part, start, BYTES[start:end], cut)
        if end > start:
            whole |= set(range(block, end // BLOCK if end < size else blocks_in(size)))
    assert has_part(folder, NAME)
    again = opened(folder, content)
    assert again.resumed == sum(min(size, (block + 1) * BLOCK) - block * BLOCK for block in whole)
    assert part_size(folder, NAME, content) == again.resumed
    data = again.place.read_bytes()
    for block in whole:
        span = slice(block * BLOCK, min(size, (block + 1) * BLOCK))
        assert data[span] == BYTES[span]
    remove_parts(folder, NAME)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("spoil", ["map cut", "map wrong", "all cut", "empty", "gone"])
def test_a_part_that_is_damaged_begins_anew(tmp_path: Path, spoil: str) -> None:
    """After a crash or a change by somebody, nothing wrong is taken for written."""
    content = remote(3 * BLOCK)
    place = opened(tmp_path, content).place
    put(opened(tmp_path, content), 0, BYTES[: 2 * BLOCK])
    assert part_size(tmp_path, NAME, content) == 2 * BLOCK
    if spoil == "map wrong":
        place.write_bytes(BYTES[: 3 * BLOCK] + b"???")
    elif spoil == "gone":
        place.unlink()
    else:
        os.truncate(place, {"map cut": 3 * BLOCK + 2, "all cut": BLOCK, "empty": 0}[spoil])
    assert part_size(tmp_path, NAME, content) == 0
    again = opened(tmp_path, content)
    assert again.resumed == 0
    assert again.begin(Span(0, 0), 1) == [Span(0, 3 * BLOCK)]


def test_a_whole_part_is_checked_and_not_fetched_again(tmp_path: Path) -> None:
    """A complete file that was not renamed yet is checked instead of downloaded."""
    content = remote(2 * BLOCK + 5)
    part = opened(tmp_path, content)
    assert part.begin(Span(0, 2 * BLOCK + 5), 4) == []
    put(part, 0, BYTES[: 2 * BLOCK + 5])
    assert part.end_piece()
    assert part.place.read_bytes() == BYTES[: 2 * BLOCK + 5]
    assert opened(tmp_path, content).resumed == 2 * BLOCK + 5


def test_what_is_written_is_known_at_once(tmp_path: Path) -> None:
    """A kill while the file is open loses nothing of it."""
    content = remote(3 * BLOCK)
    part = opened(tmp_path, content)
    with part.place.open("r+b") as file:
        part.write(file, 0, BYTES[: BLOCK + 5])
        assert part_size(tmp_path, NAME, content) == BLOCK
        assert part.place.read_bytes()[: BLOCK + 5] == BYTES[: BLOCK + 5]


def test_parts_of_other_contents_go_and_those_of_other_names_stay(tmp_path: Path) -> None:
    """A new version of a file deletes its old part only."""
    other = PurePosixPath("g")
    for path, validator in ((NAME, "old"), (other, "old"), (NAME, "new")):
        opened(tmp_path, remote(BLOCK, validator), path)
    assert part_size(tmp_path, NAME, remote(BLOCK, "old")) == 0
    assert has_part(tmp_path, NAME)
    assert has_part(tmp_path, other)
    assert len(list(tmp_path.iterdir())) == 2


class Held(type(Path())):  # type: ignore[misc]  # The class of this system's paths.
    """A file that another program holds for its first `held` renames, like virus scanners on Windows."""

    held = 2

    def replace(self, target: object) -> object:
        """Refuse, or rename."""
        type(self).held -= 1
        if type(self).held >= 0:
            raise PermissionError(13, "held")
        return super().replace(target)


def test_a_file_that_a_virus_scanner_holds_is_renamed_when_it_is_free(tmp_path: Path) -> None:
    """The rename is retried for a while; then it is an error."""
    (tmp_path / "new").write_text("new")
    Held.held = 2
    replace(Held(tmp_path / "new"), tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"
    Held.held = 100
    with pytest.raises(PermissionError):
        replace(Held(tmp_path / "old"), tmp_path / "other")
