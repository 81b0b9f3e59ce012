"""Fixtures of the transfer's tests."""

from collections.abc import Iterator

import pytest

from tests.download.storage import Storage, serve


@pytest.fixture
def storage() -> Iterator[Storage]:
    """A running storage server."""
    with serve() as running:
        yield running
