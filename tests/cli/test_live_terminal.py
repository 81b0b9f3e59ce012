"""The page on a real pseudo-terminal: opened, redrawn, suspended, and the terminal restored."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Self

import pytest

from orchestrator.emulator import Emulator
from orchestrator.models import SessionState
from tests.cli.conftest import wait_for_words
from tests.cli.test_round import set_script
from tests.cli.voice import HANG, TRAIN
from tests.support import REPOSITORY, TIMEOUT_S, USER, Cli

REF = f"{USER}/bangla-tts-a"
OPENED, CLOSED = b"\x1b[?1049h", b"\x1b[?1049l"
HOSTILE = 'print("\\x1b]0;owned\\x07আমি গান গাই\\x1b[2J", flush=True)\n'


class Terminal:
    """A process on its own pseudo-terminal, and everything that it wrote."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._ours, self._its = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self._its)
        kept = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            env={**kept, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "LANG": "C.UTF-8", **environment},
            stdin=self._its,
            stdout=self._its,
            stderr=self._its,
            start_new_session=True,
        )
        self.written = b""

    def resize(self, width: int, height: int) -> None:
        """Change the window's size."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    @property
    def modes(self) -> list[object]:
        """Return the terminal's current modes."""
        return termios.tcgetattr(self._its)

    def wait_for(self, wanted: bytes, *, after: int = 0) -> int:
        """Read until `wanted` was written after `after`; returns where it ends."""
        until = time.monotonic() + TIMEOUT_S
        while (place := self.written.find(wanted, after)) < 0:
            assert time.monotonic() < until, f"{wanted!r} is not in {self.written[after:][-2000:]!r}"
            self._read(0.2)
        return place + len(wanted)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._ours], [], [], seconds)[0]:
            return False
        self.written += os.read(self._ours, 65536)
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait_until_stopped(self) -> None:
        """Wait until the process is stopped, and read what it writes."""
        stat = Path(f"/proc/{self._process.pid}/stat")
        until = time.monotonic() + TIMEOUT_S
        while stat.read_text().rsplit(")", 1)[1].split()[0] != "T":
            assert time.monotonic() < until
            self._read(0.02)
        while self._read(0.0):
            pass

    def end(self) -> int:
        """Read to the process's end; returns its exit code."""
        until = time.monotonic() + TIMEOUT_S
        while self._process.poll() is None:
            assert time.monotonic() < until
            self._read(0.05)
        while self._read(0.05):
            pass
        return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(TIMEOUT_S)
        os.close(self._ours)
        os.close(self._its)


@pytest.fixture
def running(account: Emulator, cli: Cli, workplace: Path) -> Emulator:
    """An account whose newest session trains without end."""
    set_script(workplace, TRAIN + HOSTILE + HANG)
    assert cli("push").code == 0
    wait_for_words(account, "the training hangs")
    return account


def test_the_page_opens_follows_the_window_and_leaves(running: Emulator) -> None:
    """It has its own screen, is redrawn at another size, suspended by Ctrl-Z and ended by Ctrl-C."""
    with Terminal("status", REF, "--watch") as terminal:
        begun = terminal.wait_for(OPENED)
        terminal.wait_for(b"the training hangs", after=begun)
        terminal.wait_for(b"session 1", after=begun)
        assert "আমি গান গাই".encode() in terminal.written
        assert not terminal.modes[3] & termios.ECHO  # type: ignore[operator]  # The local modes.
        assert b"\x1b]0;" not in terminal.written
        assert b"\x1b[2J" not in terminal.written[begun:]
        place = len(terminal.written)
        terminal.resize(40, 10)
        terminal.send(signal.SIGWINCH)
        terminal.wait_for("━\x1b[0m 100.0%".encode(), after=place)
        place = len(terminal.written)
        terminal.send(signal.SIGTSTP)
        terminal.wait_until_stopped()
        assert CLOSED in terminal.written[place:]
        assert terminal.modes == terminal.before
        place = len(terminal.written)
        terminal.send(signal.SIGCONT)
        place = terminal.wait_for(OPENED, after=place)
        terminal.wait_for(REF.encode(), after=place)
        terminal.send(signal.SIGINT)
        assert terminal.end() == 130
        rest = terminal.written[terminal.written.rindex(CLOSED) :]
        assert f"Stopped watching; {REF}/1 goes on." in " ".join(rest.decode().split())  # Of 40 columns.
        assert b"\x1b[?25h" in terminal.written[place:]
        assert terminal.modes == terminal.before
    assert running.backend.kernels.all()[0].versions[-1].state is SessionState.RUNNING


def test_a_page_that_is_ended_gives_the_terminal_back(running: Emulator) -> None:
    """After `kill` the terminal has its cursor and echo; NO_COLOR is respected."""
    with Terminal("status", REF, "--watch", NO_COLOR="1") as terminal:
        terminal.wait_for(b"the training hangs", after=terminal.wait_for(OPENED))
        terminal.send(signal.SIGTERM)
        assert terminal.end() == 143
        assert terminal.written.count(CLOSED) == 1
        assert terminal.modes == terminal.before
        assert b"\x1b[3" not in terminal.written


def test_a_dumb_terminal_gets_lines(running: Emulator) -> None:
    """A terminal that cannot move its cursor gets lines."""
    with Terminal("status", REF, "--watch", TERM="dumb") as terminal:
        terminal.wait_for(b"train: epoch")
        terminal.send(signal.SIGINT)
        assert terminal.end() == 130
        assert OPENED not in terminal.written
        assert terminal.modes == terminal.before
