"""Fixtures of the command line's tests: an account with inputs, and waits for ends without polling."""

from collections.abc import Callable
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
        provide_inputs(workplace.parent / "kaggle")
        monkeypatch.setenv("KGTTS_KAGGLE_URL", started.url)
        monkeypatch.setenv("KAGGLE_USERNAME", USER)
        monkeypatch.setenv("KAGGLE_KEY", KEY)
        (workplace / "kgtts.toml").write_text(SETTINGS, encoding="utf-8")
        return started

    return start


@pytest.fixture
def account(open_account: Callable[..., Emulator], python: str) -> Emulator:
    """An account whose sessions have a made-up Coqui."""
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
def trained(account: Emulator, cli: Cli) -> Emulator:
    """An account whose kernel was pushed and has ended well."""
    result = cli("push")
    assert result.code == 0, result.said
    wait_for_end(account)
    return account
