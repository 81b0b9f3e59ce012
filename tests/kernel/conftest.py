"""Fixtures of the kernel's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.clock import FakeClock
from tests.kernel.hosting import HAS_TRAINER, PACKAGE, ForkServer, start_coqui_server, start_fork_server
from tests.kernel.kit import Log


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all trainings of the toy to one worker, so that one process imports torch for them."""
    for item in items:
        if "fork_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("toy"))


@pytest.fixture
def log() -> Log:
    """Collects what the kernel prints."""
    return Log()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A stand-in for /kaggle whose name has a space, quotes and Bangla in it."""
    folder = tmp_path / "ka'g \"gle আমি"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """A process that has torch imported and runs all trainings of the toy."""
    if not HAS_TRAINER:
        pytest.skip("needs the extra `local`")
    # The toy scripts import `tests`, so this entry stays when the host removes its own.
    with start_fork_server(PYTHONPATH=str(PACKAGE.parent)) as found:
        yield found


@pytest.fixture(scope="session")
def vits_fork_server(voice_cache: Path) -> Iterator[ForkServer]:
    """A process that has most of TTS imported, but not the trainer, whose import the host patches."""
    with start_coqui_server(voice_cache) as found:
        yield found
