"""`kgtts init`: a conversation at a terminal, flags elsewhere, and a short file either way."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.cli.context import load
from tests.support import Cli


def written(folder: Path) -> dict[str, object]:
    """Return what kgtts.toml sets."""
    return tomllib.loads((folder / "kgtts.toml").read_text(encoding="utf-8"))


def test_only_what_differs_is_written(cli: Cli, workplace: Path) -> None:
    """Each flag becomes a key, and the commands that follow name the same things."""
    (workplace / "My recordings").mkdir()
    result = cli(
        *("init", "--user", "asha", "--name", "Asha Bangla", "--recordings", "My recordings"),
        *("--base", "bangla-female"),
    )
    assert result.code == 0, result.said
    assert written(workplace) == {
        "kernel": {"owner": "asha", "slug": "asha-bangla"},
        "inputs": {"dataset": "asha-bangla-data"},
    }
    commands = [line.strip() for line in result.out.splitlines() if line.startswith("  ")]
    assert commands == [
        'kgtts data prepare "My recordings" --to data',
        "kgtts data upload data",
        "kgtts base add bangla-female",
        "kgtts doctor",
        "kgtts push",
    ]
    assert load().settings.kernel.slug == "asha-bangla"


def test_defaults_write_nothing_but_a_remark(cli: Cli, workplace: Path) -> None:
    """Nobody is asked where nobody can answer."""
    result = cli("init")
    assert result.code == 0
    assert written(workplace) == {}
    assert "Next: kgtts doctor, then kgtts push" in result.out


def test_all_settings_are_explained_if_asked_for(cli: Cli, workplace: Path) -> None:
    """With the values that differ set in their places."""
    assert cli("init", "--all", "--name", "another voice").code == 0
    text = (workplace / "kgtts.toml").read_text(encoding="utf-8")
    assert "#epochs = 1000" in text
    assert '\nslug = "another-voice"' in text


def test_the_base_voices_rate_is_taken(cli: Cli, workplace: Path) -> None:
    """So that `data prepare` makes recordings of that rate."""
    (workplace / "voice").mkdir()
    (workplace / "voice/config.json").write_text('{"model": "vits", "audio": {"sample_rate": 16000}}')
    assert cli("init", "--base", "voice").code == 0
    assert written(workplace) == {"training": {"sample_rate": 16000}}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--name", "কণ্ঠ"], "Latin letters"),
        (["--user", "no name"], "owner"),
        (["--dataset", "a b"], "dataset"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_written(
    cli: Cli, workplace: Path, flags: list[str], words: str
) -> None:
    """The message says what is wrong, and there is no file."""
    result = cli("init", *flags)
    assert result.code == 2
    assert words in result.said
    assert not (workplace / "kgtts.toml").exists()


def converse(workplace: Path, answers: Sequence[str]) -> str:
    """Answer `kgtts init` at a terminal, and return what it showed."""
    import pty  # noqa: PLC0415 - Windows has none.

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "init"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    os.close(theirs)
    os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other end is closed.
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    text = shown.decode(errors="replace")
    assert process.wait() == 0, text
    return text


@pytest.mark.posix
def test_the_conversation(workplace: Path) -> None:
    """At a terminal four questions are asked; a wrong answer is asked for again."""
    (workplace / "my voice").mkdir()
    answers = [
        "asha b",
        "asha",
        "আশা",
        "Asha two",
        "no such folder",
        "'my voice'",
        "bangla-mal",
        "bangla-male",
    ]
    text = converse(workplace, answers)
    for asked in ("Your Kaggle user name", "The voice's name", "The folder with", "The base voice"):
        assert text.count(asked) == 2, asked
    for words in ("ASCII letters", "Latin letters", "is not a folder", "bangla-mal is no base voice"):
        assert words in text
    assert 'kgtts data prepare "my voice" --to data' in text
    assert written(workplace) == {
        "kernel": {"owner": "asha", "slug": "asha-two"},
        "inputs": {"dataset": "asha-two-data"},
    }


@pytest.mark.posix
def test_nobody_needs_an_account_to_train_here(workplace: Path) -> None:
    """Without a user name the next commands are those of this machine alone."""
    (workplace / "my voice").mkdir()
    text = converse(workplace, ["", "Asha two", "my voice", ""])
    assert "empty: none, to train on this machine" in text
    assert 'kgtts data prepare "my voice" --to data' in text
    assert "kgtts train --voice bangla-female" in text
    assert "upload" not in text
    assert written(workplace)["kernel"] == {"slug": "asha-two"}
