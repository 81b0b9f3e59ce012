"""The implementations that the contract of the port is tested with."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract.worlds import World, memory

if TYPE_CHECKING:
    from orchestrator.emulator import Emulator


@pytest.fixture(params=["memory", pytest.param("wire", marks=pytest.mark.posix)])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, stop_later: "Callable[[Emulator], None]"
) -> Iterator[World]:
    """One of the implementations."""
    if request.param == "memory":
        with memory() as made:
            yield made
        return
    from tests.contract.wire import wire  # noqa: PLC0415  # The emulator needs POSIX.

    with wire(tmp_path / "kaggle", stop_later, 404 if request.param == "wire-404" else 403) as made:
        yield made
