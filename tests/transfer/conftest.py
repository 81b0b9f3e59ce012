"""Fixtures of the transfer's tests."""

from collections.abc import Iterator

import pytest
import stamina

from tests.transfer.storage import Storage, serve


@pytest.fixture
def storage() -> Iterator[Storage]:
    """A running storage server; retries against it do not wait."""
    with serve() as running, stamina.set_testing(True, attempts=5, cap=True):
        yield running
