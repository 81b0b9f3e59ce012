"""Fixtures of the tests of notifications: a run in memory, and a service to tell."""

from collections.abc import Iterator

import pytest

from tests.notify.listener import Listener, listening
from tests.run.conftest import after, play

__all__ = ["after", "play"]


@pytest.fixture
def service() -> Iterator[Listener]:
    """A service that is up."""
    with listening() as listener:
        yield listener
