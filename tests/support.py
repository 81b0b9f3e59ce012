"""Shared by the command line's tests: kgtts in this process or its own, and waits."""

import contextlib
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import run
from orchestrator.ports import Clock
from tests.fakes.clock import HastyClock

USER = "asha"
KEY = "made-up-key-0123456789abcdef"
REPOSITORY = Path(__file__).resolve().parents[1]
TIMEOUT_S = 60.0
WITH_TORCH = pytest.mark.xdist_group("toy")  # The worker that trains the toy has torch imported for it.
NEEDS_TORCH = [
    WITH_TORCH,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed"),
]
_KEPT = (
    *("LANG", "LC_ALL", "PATH", "LD_LIBRARY_PATH", "TMPDIR", "PYTEST_CURRENT_TEST"),
    *("SYSTEMROOT", "TEMP", "TMP"),  # Without the first, no Python starts on Windows.
)


def clean_environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a person who has just installed kgtts."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "HOME": str(tmp_path / "home"),
        "USERPROFILE": str(tmp_path / "home"),  # Windows calls it so.
        "KGTTS_HOME": str(tmp_path / "data"),
        "COLUMNS": "200",
        # No test may reach a package index.
        "PIP_NO_INDEX": "1",
    }


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """Standard output and standard error together."""
        return self.out + self.err


@dataclass(frozen=True, slots=True)
class Cli:
    """Runs kgtts commands in this process."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path, clock: Clock | None = None) -> Result:
        """Run `kgtts ARGUMENTS`; by default its waits take no time."""
        self.capsys.readouterr()
        try:
            code = int(run([str(item) for item in arguments], clock or HastyClock()))
        except SystemExit as end:  # The stock client ends the process by itself.
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        out, err = self.capsys.readouterr()
        return Result(code, out, err)


class Process:
    """A kgtts process whose output is read while it runs."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        # -I would hide the checkout; the working directory alone must not decide what is imported.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            env={**environment, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self.pid = self._process.pid
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, text: str) -> str:
        """Wait for the next line that contains `text` and return it."""
        until = time.monotonic() + TIMEOUT_S
        while (line := self._lines.get(timeout=max(0.1, until - time.monotonic()))) is not None:
            self._said.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} was not printed: {''.join(self._said)}")

    def interrupt(self, how: signal.Signals = signal.SIGINT) -> Result:
        """Press Ctrl-C, or send another signal, and wait for the end."""
        self._process.send_signal(how)
        return self.result()

    def result(self) -> Result:
        """Wait for the end."""
        code = self._process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        while (line := self._lines.get(timeout=1)) is not None:
            self._said.append(line)
        self._lines.put(None)
        return Result(code, "".join(self._said), "")

    def end(self) -> None:
        """Kill the process if it still runs, and close its output."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()


class Later:
    """A module that is imported when a test first uses it.

    All of xdist's workers import all modules of tests, and one of them runs all tests of an `xdist_group`:
    it alone pays for what takes a second to import.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """Import the module, and return what it has under this name."""
        if name.startswith("_"):  # pytest looks for marks of its own.
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)


@contextlib.contextmanager
def eventually(what: str) -> Iterator[Any]:
    """Return a function that sleeps a little and fails after a minute, for what can only be polled."""
    until = time.monotonic() + TIMEOUT_S

    def again() -> None:
        assert time.monotonic() < until, f"waited for {TIMEOUT_S:g} s in vain: {what}"
        time.sleep(0.02)

    yield again
