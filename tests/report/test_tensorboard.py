"""`kgtts tensorboard`: the event files of all sessions, each once, on loopback."""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import LocalError, UsageError
from orchestrator.report.tensorboard import command_of, event_files, gather, serve
from orchestrator.results import pulled_sessions
from tests.support import Cli, Process
from tests.voice.making import put_session

_FIRST = "events.out.tfevents.1700000000.b47e31f0a8c2.17.0"
_SECOND = "events.out.tfevents.1700040000.0c9d1e2f3a4b.17.0"


def put_events(session: Path, name: str, content: bytes) -> Path:
    """An event file in a session's run folder."""
    place = session / "training" / "bangla-November" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


@pytest.fixture
def runs(workplace: Path) -> Path:
    """Two sessions; the second has copies of the first one's event files."""
    runs = workplace / "runs" / "bangla-tts"
    one, two = put_session(runs, 1), put_session(runs, 2)
    put_events(one, _FIRST, b"whole")
    put_events(two, _FIRST, b"who")
    put_events(two, _SECOND, b"second")
    if sys.platform != "win32":  # No file can have such a name there.
        put_events(two, "events.out.tfevents.1\x1b[2J", b"hostile")
    put_events(two, "notevents.out.tfevents.1.h", b"other")
    return runs


def test_each_file_counts_once(runs: Path) -> None:
    """Of two files with the same name the larger is used; other names are ignored."""
    found = event_files(pulled_sessions(runs))
    assert [(file.name, file.read_bytes()) for file in found] == [(_FIRST, b"whole"), (_SECOND, b"second")]


def test_links_are_gathered_under_the_runs_name(runs: Path, tmp_path: Path) -> None:
    """A run's id from state.json cannot lead to another folder."""
    files = event_files(pulled_sessions(runs))
    for run, name in (("3f9c", "3f9c"), ("../../x", "_.._x"), ("..", "run"), ("আমি", "___")):
        folder = tmp_path / f"board {name}"
        gather(files, folder, run)
        (place,) = folder.iterdir()
        assert place.name == name
        assert sorted(item.read_bytes() for item in place.iterdir()) == [b"second", b"whole"]


def test_it_listens_on_loopback_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard listens on loopback and gets no credentials; its failure is an error."""
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    started: list[tuple[list[str], dict[str, str]]] = []

    def run(command: Sequence[str], *, env: dict[str, str], **more: Any) -> Any:
        started.append((list(command), env))
        return subprocess.CompletedProcess(command, len(started) - 1)

    serve(["tensorboard"], tmp_path, 0, run=run)
    command, env = started[0]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "--bind_all" not in command
    assert "KAGGLE_KEY" not in env
    with pytest.raises(LocalError, match="exit code 1"):
        serve(["tensorboard"], tmp_path, 0, run=run)


def test_how_it_is_started() -> None:
    """TensorBoard is started as a program or a Python package; without either, it is an error."""
    assert command_of(find=lambda _: True, which=lambda name: f"/bin/{name}") == ["/bin/tensorboard"]
    command = command_of(find=lambda _: True, which=lambda _: None)
    assert command == [sys.executable, "-P", "-m", "tensorboard.main"]
    with pytest.raises(LocalError, match="not installed") as caught:
        command_of(find=lambda _: None, which=lambda _: None)
    assert "pip install tensorboard" in (caught.value.hint or "")


def test_nothing_pulled_is_an_error(cli: Cli, workplace: Path) -> None:
    """No run, and a run without event files, are errors."""
    assert "No run has been downloaded to runs yet." in cli("tensorboard").err
    put_session(workplace / "runs" / "bangla-tts", 1)
    result = cli("tensorboard")
    assert result.code == 2
    assert "newest-events" in result.err
    with pytest.raises(UsageError):
        event_files([])


_MADE_UP = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--logdir") + 1])
print("SEES", sorted(path.name for path in folder.rglob("events*")), folder, flush=True)
while True: time.sleep(0.05)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_it_is_stopped(
    runs: Path, tmp_path: Path, spawn: Callable[..., Process], how: signal.Signals
) -> None:
    """A signal ends TensorBoard and removes its folder."""
    program = tmp_path / "bin" / "tensorboard"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{_MADE_UP}")
    program.chmod(0o755)
    process = spawn("tensorboard", PATH=str(program.parent))
    process.wait_for("2 event files")
    line = process.wait_for("SEES")
    assert _FIRST in line
    assert _SECOND in line
    ended = process.interrupt(how)
    assert (ended.code, "Stopped" in ended.out) == (130, True)
    assert not Path(line.split()[-1]).exists()
