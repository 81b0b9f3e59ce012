"""Ctrl-C in real processes: the run continues, the exit code is 130, and the message says how to return."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from orchestrator.emulator import Emulator
from orchestrator.models import SessionState
from tests.cli.conftest import wait_for_words
from tests.cli.test_round import set_script
from tests.cli.voice import HANG, TRAIN
from tests.support import USER, Cli, Process

REF = f"{USER}/bangla-tts-a"
Spawn = Callable[..., Process]


@pytest.fixture
def running(account: Emulator, cli: Cli, workplace: Path) -> Emulator:
    """An account whose newest session trains without end."""
    set_script(workplace, TRAIN + HANG)
    assert cli("push").code == 0
    wait_for_words(account, "the training hangs")
    return account


def state(emulator: Emulator) -> SessionState:
    """Return the state of the newest session from the emulator."""
    return emulator.backend.kernels.all()[0].versions[-1].state


@pytest.mark.parametrize(
    "command", [f"status {REF} --watch", f"logs {REF} --follow", f"status {REF}/1 --watch --json"]
)
def test_watching_is_left_and_the_run_goes_on(running: Emulator, spawn: Spawn, command: str) -> None:
    """Whatever is watched continues, and the message says how to return."""
    process = spawn(*command.split())
    if "--json" in command:
        wait_for_call(running, process)
    else:
        process.wait_for("hangs" if "logs" in command else "train")
    result = process.interrupt()
    assert result.code == 130, result.said
    assert f"{REF}/1 goes on" in result.said
    assert f"kgtts status {REF}/1 --watch" in result.said
    assert "Traceback" not in result.said
    assert state(running) is SessionState.RUNNING


def wait_for_call(emulator: Emulator, process: Process) -> None:
    """Wait until a silent process has a connection to the emulator and waits for its answer."""
    port = int(emulator.url.rsplit(":", 1)[1])
    wanted = f":{port:04X} 01"
    until = time.monotonic() + 30
    while time.monotonic() < until:
        links = {
            str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir() if link.is_symlink()
        }
        sockets = {
            name.removeprefix("socket:[").removesuffix("]") for name in links if name.startswith("socket:")
        }
        for line in Path("/proc/net/tcp").read_text().splitlines():
            if wanted in line and line.split()[9] in sockets:
                return
        time.sleep(0.02)
    raise AssertionError("no connection")


def test_push_wait_is_left_and_the_run_goes_on(account: Emulator, workplace: Path, spawn: Spawn) -> None:
    """The push stays; only the wait ends."""
    set_script(workplace, TRAIN + HANG)
    process = spawn("push", "--wait")
    process.wait_for("train")
    result = process.interrupt()
    assert result.code == 130, result.said
    assert f"{REF}/1 goes on" in result.said
    assert "kgtts watch" in result.said
    assert state(account) is SessionState.RUNNING


def test_watch_is_left_and_the_run_goes_on(account: Emulator, workplace: Path, spawn: Spawn) -> None:
    """`kgtts watch` starts the session, and leaves it running."""
    set_script(workplace, TRAIN + HANG)
    process = spawn("watch")
    process.wait_for("running")
    wait_until(account, SessionState.RUNNING)
    result = process.interrupt()
    assert result.code == 130, result.said
    assert "kgtts watch" in result.said
    assert "Traceback" not in result.said
    assert state(account) is SessionState.RUNNING


def wait_until(emulator: Emulator, wanted: SessionState) -> None:
    """Wait for a state of the newest session."""
    until = time.monotonic() + 30
    while not emulator.backend.kernels.all() or state(emulator) is not wanted:
        assert time.monotonic() < until
        time.sleep(0.02)


class Silence:
    """A server that accepts connections and sends nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(60)
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._taken: list[socket.socket] = []

    def wait_for_connection(self) -> None:
        """Accept one connection and read the beginning of its request."""
        taken, _ = self._socket.accept()
        self._taken.append(taken)
        taken.settimeout(60)
        taken.recv(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for taken in (*self._taken, self._socket):
            taken.close()


SLOW = [
    "doctor",
    f"status {REF}",
    f"logs {REF}",
    f"pull {REF}",
    "list --all",
    "quota",
    "push",
    f"delete {REF} --yes",
    f"stop {REF}",
]


@pytest.mark.parametrize("command", SLOW)
def test_a_command_that_waits_for_an_answer_can_be_left(
    account: Emulator, workplace: Path, spawn: Spawn, command: str
) -> None:
    """If Kaggle takes its time, Ctrl-C ends the command at once with a message."""
    with Silence() as url:
        process = spawn(*command.split(), KGTTS_KAGGLE_URL=url.address)
        url.wait_for_connection()
        began = time.monotonic()
        result = process.interrupt()
    assert result.code == 130, result.said
    assert time.monotonic() - began < 10
    assert "Traceback" not in result.said
    if command == "push":
        assert "whether Kaggle took it is not known" in result.said
        assert "kgtts status" in result.said
