"""The part of a file and its map: what was written is known, by this process and by the next."""

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.download.hashes import Expected
from orchestrator.download.partial import BLOCK, AbandonedError, Partial, blocks_in, has_part, part_size
from orchestrator.download.storage import Remote
from orchestrator.download.workspace import replace

BYTES = os.urandom(10 * BLOCK)
NAME = PurePosixPath("folder/f")


def remote(size: int, validator: str = "v") -> Remote:
    """A content of which the storage says no hashes."""
    return Remote(validator, f'"{validator}"', size, Expected())


def put(part: Partial, at: int, data: bytes, cut: int = 70_000) -> int:
    """Write in pieces of `cut` bytes; gives how many bytes were new."""
    with part.writing(at) as write:
        return sum(write(data[start : start + cut]) for start in range(0, len(data), cut))


def opened(folder: Path, content: Remote, path: PurePosixPath = NAME) -> Partial:
    """What is here of a file, or the beginning of it."""
    return Partial(folder, path, content, None, lambda size: None)


@settings(max_examples=40)
@given(
    size=st.integers(1, len(BYTES)),
    spans=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3 * BLOCK)), max_size=6),
    cut=st.integers(1, 70_000),
)
def test_a_map_knows_the_whole_blocks_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, size: int, spans: list[tuple[int, int]], cut: int
) -> None:
    """Written from block starts in pieces of any size; opened again, exactly the whole blocks are here."""
    folder, content = tmp_path_factory.mktemp("part"), remote(size)
    part, whole = opened(folder, content), set[int]()
    for block, length in spans:
        start = block * BLOCK
        end = min(size, start + length)
        put(part, start, BYTES[start:end], cut)
        if end > start:
            whole |= set(range(block, end // BLOCK if end < size else blocks_in(size)))
    part.close()
    assert has_part(folder, NAME)
    again = opened(folder, content)
    assert again.resumed == sum(min(size, (block + 1) * BLOCK) - block * BLOCK for block in whole)
    assert part_size(folder, NAME, content) == again.resumed
    data = again.place.read_bytes()
    for block in whole:
        span = slice(block * BLOCK, min(size, (block + 1) * BLOCK))
        assert data[span] == BYTES[span]
    again.close(discard=True)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("spoil", ["map cut", "map empty", "map wrong", "part cut", "part gone", "map gone"])
def test_a_part_that_is_damaged_begins_anew(tmp_path: Path, spoil: str) -> None:
    """Whatever a crash or a person did to one of the two files, nothing is taken for here that is not."""
    content = remote(3 * BLOCK)
    part = opened(tmp_path, content)
    put(part, 0, BYTES[: 2 * BLOCK])
    part.close()
    (index,), (data,) = tmp_path.glob("*.map"), tmp_path.glob("*.part")
    if spoil == "map cut":
        os.truncate(index, 2)
    elif spoil == "map empty":
        index.write_bytes(b"")
    elif spoil == "map wrong":
        index.write_bytes(b"???")
    elif spoil == "part cut":
        os.truncate(data, BLOCK)
    else:
        (data if spoil == "part gone" else index).unlink()
    again = opened(tmp_path, content)
    assert again.resumed == 0
    again.close()


def test_a_block_that_is_here_is_not_written_again(tmp_path: Path) -> None:
    """It may be hashed already: a later and damaged copy of it must not get onto the disk."""
    part = opened(tmp_path, remote(3 * BLOCK))
    assert put(part, BLOCK, BYTES[:BLOCK]) == BLOCK
    assert put(part, 0, bytes(3 * BLOCK)) == 2 * BLOCK
    part.close()
    assert part.place.read_bytes() == bytes(BLOCK) + BYTES[:BLOCK] + bytes(BLOCK)


def test_nobody_writes_to_a_file_that_starts_over(tmp_path: Path) -> None:
    """Neither who writes already nor who is about to begin."""
    part = opened(tmp_path, remote(3 * BLOCK))
    with part.writing(0) as write:
        part.close(discard=True)
        with pytest.raises(AbandonedError):
            write(BYTES[:BLOCK])
    with pytest.raises(AbandonedError), part.writing(0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_parts_of_other_contents_go_and_those_of_other_names_stay(tmp_path: Path) -> None:
    """A new version of a file makes the old part useless."""
    other = PurePosixPath("g")
    for path, validator in ((NAME, "old"), (other, "old"), (NAME, "new")):
        opened(tmp_path, remote(BLOCK, validator), path).close()
    assert part_size(tmp_path, NAME, remote(BLOCK, "old")) == 0
    assert has_part(tmp_path, NAME)
    assert has_part(tmp_path, other)
    assert len(list(tmp_path.iterdir())) == 4


class Held(type(Path())):  # type: ignore[misc]  # The class of this system's paths.
    """A file that another program holds for its first `held` renames, as virus scanners on Windows do."""

    held = 2

    def replace(self, target: object) -> object:
        """Refuse, or rename."""
        type(self).held -= 1
        if type(self).held >= 0:
            raise PermissionError(13, "held")
        return super().replace(target)


def test_a_file_that_a_virus_scanner_holds_is_renamed_when_it_is_free(tmp_path: Path) -> None:
    """It is tried again for a while; what stays held is an error."""
    (tmp_path / "new").write_text("new")
    Held.held = 2
    replace(Held(tmp_path / "new"), tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"
    Held.held = 100
    with pytest.raises(PermissionError):
        replace(Held(tmp_path / "old"), tmp_path / "other")
