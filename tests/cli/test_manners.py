"""What people expect of any command line: colours, pipes, file names, and nothing of theirs replaced."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestrator.cli.show.console import colours
from orchestrator.emulator import Emulator
from tests.action.runner import BASH
from tests.cli.conftest import wait_for_end
from tests.cli.test_round import set_script
from tests.cli.voice import TRAIN
from tests.support import REPOSITORY, USER, Cli

REF = f"{USER}/bangla-tts-a"


@pytest.mark.parametrize("name", ["NO_COLOR", "TERM"])
def test_colours_can_be_turned_off(
    cli: Cli, trained: Emulator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """NO_COLOR, whatever its value, and a dumb terminal turn colours off."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    cli("pull")  # Before that, the last line is another.
    coloured = cli("status")
    assert "\x1b[" in coloured.out
    assert "\x1b[" in cli("status", "a/b/c/d").err
    monkeypatch.setenv(name, "dumb")
    assert colours() is False
    for command in ("status", "logs", "list", "doctor", "sync", "status a/b/c/d", "pull"):
        said = cli(*command.split()).said
        assert not re.search(r"\x1b\[[\d;]*m", said), command
        assert name == "NO_COLOR" or "\x1b" not in said, command
    assert cli("status").out == click.unstyle(coloured.out)


@pytest.mark.posix
@pytest.mark.parametrize("command", ["logs", "logs --json", "list", "config show", "status"])
def test_a_pipe_that_closes_is_no_error(trained: Emulator, workplace: Path, command: str) -> None:
    """`kgtts logs | head -1` gives no traceback and no message."""
    del trained
    ended = subprocess.run(
        [BASH, "-c", f"{sys.executable} -m orchestrator {command} | head -c 1"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, len(ended.stdout), ended.stderr) == (0, 1, "")


@pytest.mark.posix
def test_an_output_that_cannot_be_written(trained: Emulator, workplace: Path) -> None:
    """Standard output may be closed, or a full disk: neither is a fault in kgtts."""
    del trained

    def ended(end: str) -> tuple[int, str]:
        done = subprocess.run(
            [BASH, "-c", f"{sys.executable} -m orchestrator list {end}"],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            cwd=workplace,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr

    assert ended(">&-") == (0, "")
    code, said = ended(">/dev/full")
    assert (code, "could not be written: No space left on device" in said) == (8, True), said


@pytest.mark.parametrize("name", ["said.m4a", "said.opus", "bashundhara.txt"])
def test_speech_is_not_written_under_a_wrong_name(cli: Cli, workplace: Path, name: str) -> None:
    """A WAV file with another extension would not play: the error says what can be written."""
    result = cli("say", "আমি", "--out", name)
    assert result.code == 2
    assert "files that end with .wav, .flac, .ogg, .mp3" in result.err.replace("\n", " ")
    assert f"Next: --out {Path(name).stem}.wav" in result.err
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("kgtts.toml",), "kgtts.toml"),
        (("results/session-01/state.json", "results/.kgtts-pull.json"), "results"),
        (("report.html",), "report.html"),
    ],
)
def test_the_demo_replaces_nothing_that_it_did_not_make(
    cli: Cli, workplace: Path, names: tuple[str, ...], taken: str
) -> None:
    """A folder with somebody's kgtts.toml or results is refused and unchanged."""
    for name in names:
        (workplace / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (workplace / "mine" / name).write_text('[kernel]\nslug = "bangla-tts"\n', encoding="utf-8")
    before = sorted(str(path) for path in (workplace / "mine").rglob("*"))
    result = cli("demo", "--dir", "mine")
    assert result.code == 2, result.said
    assert f"{taken} was not made by a demo" in result.err
    assert "kgtts demo --dir DIR" in result.err
    assert sorted(str(path) for path in (workplace / "mine").rglob("*")) == before


def test_refused_names_are_told_everywhere(cli: Cli, account: Emulator, workplace: Path) -> None:
    """The JSON, the summary and the exit code of every downloading command report them."""
    set_script(workplace, TRAIN + '\nopen("odd\\x1b[31m.txt", "w").write("x")\n')
    text = (workplace / "kgtts.toml").read_text(encoding="utf-8")
    (workplace / "kgtts.toml").write_text(f'{text}\n[pull]\ninclude = ["*"]\n', encoding="utf-8")
    assert cli("push").code == 0
    wait_for_end(account)
    planned = cli("pull", "--dry-run", "--json")
    assert (planned.code, planned.json["refused"]) == (8, ["odd\x1b[31m.txt"])
    done = cli("sync", "--json", "--summary", "summary.md")
    assert (done.code, done.json["refused"]) == (8, ["odd\x1b[31m.txt"])
    summary = (workplace / "summary.md").read_text(encoding="utf-8")
    assert "names are not safe on this machine" in summary
    assert "\x1b" not in summary + done.err
    pulled = cli("pull", "--json")
    assert (pulled.code, pulled.json["refused"]) == (8, ["odd\x1b[31m.txt"])
    again = cli("push", "--new", "--wait")
    assert (again.code, "names are not safe" in again.err) == (8, True)


def test_an_output_called_like_the_log_stays(cli: Cli, account: Emulator, workplace: Path) -> None:
    """Kaggle's log is saved beside it under another name."""
    set_script(workplace, TRAIN + '\nopen("session.log", "w").write("mine")\n')
    cli("push")
    wait_for_end(account)
    folder = Path(cli("pull", "--all", "--json").json["folder"])
    assert (folder / "session.log").read_text(encoding="utf-8") == "mine"
    assert "GLOBAL_STEP: 4" in (folder / "kaggle-session.log").read_text(encoding="utf-8")
    again = cli("pull", "--all", "--json").json
    assert again["transfer"]["received"] == 0
    assert (folder / "session.log").read_text(encoding="utf-8") == "mine"
