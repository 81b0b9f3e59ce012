"""Fixtures of the emulator's tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator import Emulator, EmulatorOptions
from tests.emulator.stock import StockClient
from tests.emulator.support import KEY, USER, Account
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """A clock at Wednesday 2026-11-18 12:00 UTC."""
    return FakeClock()


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockClient]:
    """The stock client, in a process of its own."""
    with StockClient(tmp_path_factory.mktemp("home")) as client:
        yield client


@pytest.fixture
def start(tmp_path: Path, stop_later: Callable[[Emulator], None]) -> Iterator[Callable[..., Account]]:
    """Starts emulators on one folder; takes the fields of EmulatorOptions, and `clock`."""
    with ExitStack() as stack:

        def begin(*, clock: Any = None, **options: Any) -> Account:
            wanted = EmulatorOptions(**{"sandbox": "relocate", "standins": False, **options})
            emulator = Emulator(tmp_path / "root", options=wanted, credentials=(USER, KEY), clock=clock)
            stack.callback(stop_later, emulator.start())
            return stack.enter_context(Account(emulator))

        yield begin


@pytest.fixture
def account(start: Callable[..., Account]) -> Account:
    """An account on an emulator with default options."""
    return start()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The emulator's folder, with a dataset and a model in it."""
    folder = tmp_path / "root"
    dataset = folder / "datasets" / USER / "some-data"
    model = folder / "models" / USER / "some-model" / "transformers" / "default" / "1"
    (dataset / "deep").mkdir(parents=True)
    model.mkdir(parents=True)
    (dataset / "a.txt").write_text("data\n")
    (dataset / "deep" / "b ক.txt").write_text("deeper\n")
    (model / "config.json").write_text("{}")
    return folder
