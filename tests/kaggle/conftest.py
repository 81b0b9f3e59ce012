"""Fixtures of the client's tests."""

from collections.abc import Iterator

import pytest
import stamina

from orchestrator.emulator import Emulator
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Retries are made without waiting."""
    with stamina.set_testing(True, attempts=8, cap=True):
        yield


@pytest.fixture
def kaggle(emulator: Emulator) -> Iterator[KaggleClient]:
    """The client, logged in at the emulator with the environment's credentials."""
    client = connect()
    yield client
    client.close()
