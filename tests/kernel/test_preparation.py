"""Scripts that prepare their data, run a second time while a training runs."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel_template.host.preparation import AlreadyPrepared
from tests.kernel.kit import put


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A folder that rank 0 has prepared, as another rank sees it."""
    put(tmp_path / "input" / "wavs" / "a.wav", "old")
    put(tmp_path / "working" / "wavs" / "a.wav", "new")
    prepared = AlreadyPrepared()
    prepared.begin()
    yield tmp_path
    prepared.end()


def test_what_is_there_is_not_made_again(data: Path) -> None:
    """Rank 0's copies, folders and archives stay unchanged, and nothing is raised."""
    target = data / "working" / "wavs"
    shutil.copytree(data / "input" / "wavs", target)
    shutil.copy(data / "input" / "wavs" / "a.wav", target)
    shutil.copyfile(data / "input" / "wavs" / "a.wav", target / "a.wav")
    target.mkdir()
    os.makedirs(target)  # noqa: PTH103 - as scripts do.
    shutil.unpack_archive(str(data / "no.zip"), str(target))
    assert (target / "a.wav").read_text() == "new"


def test_nothing_is_deleted_or_moved_twice(data: Path) -> None:
    """A script that first deletes its folder does not delete it during the training."""
    shutil.rmtree(data / "working")
    os.rename(data / "gone", data / "working" / "wavs")  # noqa: PTH104 - as scripts do.
    shutil.move(data / "gone", data / "working" / "wavs")
    assert (data / "working" / "wavs" / "a.wav").read_text() == "new"


def test_what_is_missing_is_made(data: Path) -> None:
    """A rank may need its own files; afterwards everything works as usual."""
    shutil.copytree(data / "input" / "wavs", data / "mine")
    shutil.copy(data / "input" / "wavs" / "a.wav", data / "mine" / "b.wav")
    (data / "folder").mkdir()
    assert {path.name for path in data.rglob("*")} >= {"mine", "b.wav", "folder"}


def test_afterwards_all_is_as_it_was(data: Path) -> None:
    """The standard library's functions are restored."""
    prepared = AlreadyPrepared()
    before = shutil.rmtree
    prepared.begin()
    assert shutil.rmtree is not before
    prepared.end()
    assert shutil.rmtree is before
    assert data.is_dir()
