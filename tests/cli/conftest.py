"""Fixtures of the command line's tests: an account with inputs, and waits for ends without polling."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import requests

from orchestrator.emulator import Emulator
from tests.cli.voice import SETTINGS, make_python, provide_inputs
from tests.support import KEY, USER, Cli

SLUG = "bangla-tts-a"  # Where a run's first session goes.


@pytest.fixture
def python(tmp_path: Path) -> str:
    """The interpreter of sessions, with a made-up Coqui."""
    folder = tmp_path / "python"
    folder.mkdir()
    return make_python(folder)


@pytest.fixture
def open_account(
    start_emulator: Callable[..., Emulator], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Emulator]:
    """Starts an emulator with the two inputs, its address in the environment, and a kgtts.toml for it."""

    def start(**options: object) -> Emulator:
        started = start_emulator(**options)
        if not started.backend.kernels.all():
            provide_inputs(workplace.parent / "kaggle")
        monkeypatch.setenv("KGTTS_KAGGLE_URL", started.url)
        monkeypatch.setenv("KAGGLE_USERNAME", USER)
        monkeypatch.setenv("KAGGLE_KEY", KEY)
        (workplace / "kgtts.toml").write_text(SETTINGS, encoding="utf-8")
        return started

    return start


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `kaggle` and `data` after a push whose session has ended well; empty at first."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def account(
    request: pytest.FixtureRequest,
    open_account: Callable[..., Emulator],
    python: str,
    workplace: Path,
    trained_once: Path,
) -> Emulator:
    """An account whose sessions have a made-up Coqui."""
    if "trained" in request.fixturenames:
        shutil.copytree(trained_once, workplace.parent, dirs_exist_ok=True)
    return open_account(python=python)


def wait_for_end(emulator: Emulator, slug: str = SLUG) -> None:
    """Wait on its live log until the kernel's newest session is over."""
    address = f"{emulator.url}/v1/kernels/logs/stream/{USER}/{slug}"
    with requests.get(address, auth=(USER, KEY), stream=True, timeout=60) as response:
        response.raise_for_status()
        for _ in response.iter_lines():
            pass


def wait_for_words(emulator: Emulator, words: str, slug: str = SLUG) -> None:
    """Wait until the kernel's newest session prints `words`."""
    address = f"{emulator.url}/v1/kernels/logs/stream/{USER}/{slug}"
    with requests.get(address, auth=(USER, KEY), stream=True, timeout=60) as response:
        response.raise_for_status()
        for line in response.iter_lines(chunk_size=1):
            if words.encode() in line:
                return
    raise AssertionError(words)


@pytest.fixture
def trained(account: Emulator, cli: Cli, workplace: Path, trained_once: Path) -> Emulator:
    """An account whose kernel was pushed and has ended well: by the first test, copied for all others."""
    if account.backend.kernels.all():
        with closing(sqlite3.connect(workplace.parent / "data" / "ledger.db")) as ledger, ledger:
            # Another address, which may be that of a server in between, is another service.
            ledger.execute("UPDATE sessions SET service = ?", (os.environ["KGTTS_KAGGLE_URL"],))
        return account
    result = cli("push")
    assert result.code == 0, result.said
    wait_for_end(account)
    for name in ("kaggle", "data"):
        shutil.copytree(workplace.parent / name, trained_once / name)
    return account
