"""Consoles that are not UTF-8, like most on Windows: no character makes a command fail."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from orchestrator.cli.context import print_json
from orchestrator.cli.main import run
from orchestrator.cli.show.console import ASCII, UNICODE, prepare_streams, signs, warn
from orchestrator.cli.show.screen import can_show
from tests.support import clean_environment

BANGLA = "আমি বাংলায় গান গাই"
SENTENCES = f'samples.sentences=["{BANGLA}"]'
ENCODINGS = ["cp1252", "cp437"]


class Case(NamedTuple):
    """A command and how it ends."""

    arguments: list[str]
    code: int
    words: str


class Terminal(io.TextIOWrapper):
    """A console with another encoding."""

    def isatty(self) -> bool:
        """Return True."""
        return True

    @property
    def shown(self) -> str:
        """Return what it shows."""
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Terminal]:
    """Replaces both streams by a console."""

    def put(encoding: str) -> Terminal:
        made = Terminal(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", made)
        monkeypatch.setattr(sys, "stderr", made)
        return made

    return put


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "case",
    [
        Case(["doctor"], 3, "No Kaggle credentials"),
        Case(["metrics", BANGLA], 2, "contains no measurements"),
        Case(["say", BANGLA, "--out", "x.wav"], 2, "No run has been downloaded"),
        Case([BANGLA], 2, "There is no command"),
        Case(["config", "show", "--set", SENTENCES], 0, "[kernel]"),
        Case(["config", "schema"], 0, "properties"),
        Case(["quota"], 3, "credentials"),
        Case(["--help"], 0, "Use the voice"),
        Case(["init", "--dir", BANGLA], 0, "Wrote"),
    ],
    ids=lambda case: case.arguments[0].replace(BANGLA, "unknown"),
)
def test_a_command_on_another_console(
    terminal: Callable[[str], Terminal], workplace: Path, encoding: str, case: Case
) -> None:
    """Exit code and words are the same; characters that the console lacks become question marks."""
    (workplace / BANGLA).mkdir()
    console = terminal(encoding)
    assert run(case.arguments) == case.code
    assert case.words in console.shown
    assert "kgtts itself failed" not in console.shown


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_loses_nothing(terminal: Callable[[str], Terminal], encoding: str) -> None:
    """JSON has escapes for characters that the console lacks."""
    console = terminal(encoding)
    prepare_streams(console)
    print_json({"text": BANGLA})
    assert json.loads(console.shown) == {"text": BANGLA}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_signs_are_plain_where_the_console_lacks_them(
    terminal: Callable[[str], Terminal], encoding: str
) -> None:
    """A sign becomes a word or an ASCII sign, never a question mark."""
    console = terminal(encoding)
    prepare_streams(console)
    assert signs(console) is ASCII
    warn("the mouse is wet")
    assert f"{ASCII.warning} the mouse is wet" in console.shown
    assert all(str(getattr(ASCII, item.name)).isascii() for item in fields(ASCII))


def test_a_utf_8_console_gets_all_signs() -> None:
    """The signs are Unicode, and a test's streams are not changed."""
    console = Terminal(io.BytesIO(), encoding="utf-8")
    prepare_streams(console, io.StringIO())
    assert signs(console) is UNICODE
    assert (console.encoding, console.errors) == ("utf-8", "replace")


def test_a_file_or_a_pipe_gets_utf_8() -> None:
    """Files and pipes get UTF-8, whatever the system's code page."""
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    prepare_streams(pipe)
    pipe.write(BANGLA)
    pipe.flush()
    assert isinstance(pipe.buffer, io.BytesIO)
    assert pipe.buffer.getvalue().decode("utf-8") == BANGLA


def test_a_process_with_a_code_page_writes_utf_8_into_a_pipe(tmp_path: Path) -> None:
    """In a process as Windows starts it, the streams are set before anything is printed."""
    (tmp_path / "home").mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "config", "show", "--set", SENTENCES],
        env={
            **clean_environment(tmp_path),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "PYTHONUTF8": "0",
            "PYTHONIOENCODING": "cp1252",
        },
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert BANGLA in ended.stdout.decode("utf-8")


@pytest.mark.posix  # Elsewhere there is nothing to compare with.
def test_without_posix_there_is_no_page(terminal: Callable[[str], Terminal]) -> None:
    """Windows gets plain lines, since the page needs a POSIX terminal."""
    terminal("utf-8")
    console = Console(force_terminal=True, _environ={"TERM": "xterm"})
    assert can_show(console, is_posix=True)
    assert not can_show(console, is_posix=False)
