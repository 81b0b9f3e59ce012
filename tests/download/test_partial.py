"""The part of a file and its map: what was written is known, by this process and by the next."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.download.partial import Origin, Part, find_part, part_size, stem_of
from orchestrator.download.ranges import BLOCK, blocks_in

BYTES = os.urandom(10 * BLOCK)


def opened(folder: Path, origin: Origin, name: str = "f") -> Part:
    """A part of `name` in `folder`."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        return Part.open(handle, name, origin, lambda size: None)
    finally:
        os.close(handle)


def found(folder: Path, name: str = "f") -> Origin | None:
    """Of which content a part is here."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        return find_part(handle, name)
    finally:
        os.close(handle)


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
    folder, origin = tmp_path_factory.mktemp("part"), Origin("v", '"v"', size)
    part, whole = opened(folder, origin), set[int]()
    for block, length in spans:
        start = block * BLOCK
        end = min(size, start + length)
        for at in range(start, end, cut):
            part.write(at, BYTES[at : min(at + cut, end)])
        if end > start:
            whole |= set(range(block, end // BLOCK if end < size else blocks_in(size)))
    part.release()
    assert found(folder) == origin
    again = opened(folder, origin)
    assert {block for block, here in enumerate(again.taken) if here} == whole
    assert again.here == sum(min(size, (block + 1) * BLOCK) - block * BLOCK for block in whole)
    assert part_size(folder / "f", "v") == again.here
    for block in whole:
        assert again.read(block * BLOCK, BLOCK) == BYTES[block * BLOCK : min(size, (block + 1) * BLOCK)]
    again.discard()
    again.release()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("spoil", ["map cut", "map empty", "map wrong", "part cut", "part gone", "map gone"])
def test_a_part_that_is_not_whole_itself_begins_anew(tmp_path: Path, spoil: str) -> None:
    """Whatever a crash or a person did to one of the two files, nothing is taken for here that is not."""
    origin = Origin("v", '"v"', 3 * BLOCK)
    part = opened(tmp_path, origin)
    part.write(0, BYTES[: 2 * BLOCK])
    part.release()
    (index,), (data,) = tmp_path.glob("*.map"), tmp_path.glob("*.part")
    if spoil == "map cut":
        os.truncate(index, 4097)
    elif spoil == "map empty":
        index.write_bytes(b"")
    elif spoil == "map wrong":
        index.write_bytes(b"?" * 5000)
    elif spoil == "part cut":
        os.truncate(data, BLOCK)
    else:
        (data if spoil == "part gone" else index).unlink()
    again = opened(tmp_path, origin)
    assert again.here == 0
    again.release()


def test_two_holders_have_two_parts(tmp_path: Path) -> None:
    """The second opens one of its own; when the first is gone, the next transfer tidies up."""
    origin = Origin("v", "", BLOCK)
    first, second = opened(tmp_path, origin), opened(tmp_path, origin)
    second.write(0, BYTES[:BLOCK])
    assert (first.here, second.here) == (0, BLOCK)
    second.release()
    first.release()
    third = opened(tmp_path, origin)
    assert len(list(tmp_path.iterdir())) == 2
    third.release()


def test_parts_of_other_contents_go_and_those_of_other_names_stay(tmp_path: Path) -> None:
    """A new version of a file makes the old part useless."""
    for name, validator in (("f", "old"), ("g", "old"), ("f", "new")):
        opened(tmp_path, Origin(validator, "", BLOCK), name).release()
    assert found(tmp_path) == Origin("new", "", BLOCK)
    assert found(tmp_path, "g") == Origin("old", "", BLOCK)
    assert len(list(tmp_path.glob(f"{stem_of('f')}*"))) == 2


def test_a_system_that_is_not_posix_is_told_so() -> None:
    """Windows has no such locks; the sentence says where it works."""
    code = "import sys; sys.modules['fcntl'] = None; import orchestrator.download"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "LocalError: Results cannot be brought to this machine" in done.stderr
