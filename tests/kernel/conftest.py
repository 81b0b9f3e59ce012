"""Fixtures of the kernel's tests."""

from pathlib import Path

import pytest

from tests.kernel.kit import Clock, Log


@pytest.fixture
def log() -> Log:
    """Keeps what the kernel says."""
    return Log()


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A stand-in for /kaggle whose name has a space, quotes and Bangla in it."""
    folder = tmp_path / "ka'g \"gle আমি"
    folder.mkdir()
    return folder
