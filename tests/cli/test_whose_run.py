"""Which run a command is about; nothing is trained without settings."""

import shutil
from pathlib import Path

import click
import pytest

from orchestrator.emulator import Emulator
from tests.cli.conftest import wait_for_end, wait_for_words
from tests.cli.test_round import set_script
from tests.cli.voice import HANG, SETTINGS, TRAIN
from tests.support import KEY, USER, Cli

OTHER = f"{USER}/other-voice-a"


@pytest.fixture
def two_projects(trained: Emulator, cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders with a run each, the second newer; returns the second, the working directory."""
    other = workplace.parent / "other"
    other.mkdir()
    text = SETTINGS.replace("[kernel]\n", '[kernel]\nslug = "other-voice"\n', 1)
    (other / "kgtts.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(other)
    result = cli("push")
    assert result.code == 0, result.said
    wait_for_end(trained, "other-voice-a")
    return other


def test_in_a_folder_its_run_is_meant(
    two_projects: Path, cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each folder's commands are about its own run; elsewhere the newest is meant."""
    assert cli("status", "--json").json["kernel"] == OTHER
    monkeypatch.chdir(workplace)
    for command in ("status", "logs", "pull", "open"):
        arguments = ("--print",) if command == "open" else ("--json",)
        result = cli(command, *arguments)
        assert (result.code, "newest run" in result.err) == (0, False), result.said
        assert "other-voice" not in result.said
    (workplace.parent / "nowhere").mkdir()
    monkeypatch.chdir(workplace.parent / "nowhere")
    result = cli("open", "--print")
    assert OTHER in result.out
    assert f"There is no kgtts.toml here, so this is the newest run: {OTHER}/1" in result.err


def test_every_way_to_name_a_run_works_for_every_command(
    two_projects: Path, cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slug, id, its beginning, OWNER/SLUG and a version work, also for pulled results."""
    rows = {row["slug"]: row for row in cli("list", "--json").json}
    run = rows["bangla-tts"]["run"]
    monkeypatch.chdir(workplace)
    assert cli("pull").code == 0
    shutil.copytree(workplace / "runs", two_projects / "runs")
    monkeypatch.chdir(two_projects)
    first = f"{USER}/bangla-tts-a"
    for name in ("bangla-tts", "bangla-tts-a", run, run[:5], f"{USER}/bangla-tts", first, f"{first}/1"):
        assert cli("status", name, "--json").json["kernel"] == first, name
        for command in ("logs", "pull", "open --print", "metrics", "report"):
            words = command.split()
            result = cli(words[0], name, *words[1:])
            assert result.code == 0, (command, name, result.said)
        compared = cli("compare", name, "bangla-tts")
        assert compared.code == 0, (name, compared.said)
        spoken = cli("say", "আমি", "--run", name, "--out", "x.wav")
        assert spoken.code == 0 or "has a voice" in spoken.err, (name, spoken.said)
        assert "is not the name of a run" not in spoken.err


def test_without_settings_nothing_is_trained(cli: Cli, account: Emulator, workplace: Path) -> None:
    """Nothing is trained by defaults alone; a file that is named suffices."""
    (workplace / "kgtts.toml").rename(workplace / "voice.toml")
    for command in ("push", "watch", "sync", "push --wait"):
        result = cli(*command.split())
        assert result.code == 2, result.said
        assert "There is no kgtts.toml in this folder or above" in result.err
        assert "--config" in result.err
    assert account.backend.kernels.all() == []
    assert cli("push", "--config", "voice.toml").code == 0


def test_hints_repeat_what_was_given(cli: Cli, account: Emulator, workplace: Path) -> None:
    """The next command that a hint names is about the same run."""
    (workplace / "kgtts.toml").rename(workplace / "my voice.toml")
    options = ("--config", "my voice.toml", "--set", "training.epochs=2")
    set_script(workplace, TRAIN + HANG)
    pushed = cli("push", *options)
    assert 'Next: kgtts watch --config "my voice.toml" --set training.epochs=2\n' in pushed.out
    wait_for_words(account, "the training hangs")
    again = cli("push", *options)
    assert again.code == 2
    assert '`kgtts watch --config "my voice.toml" --set training.epochs=2` also' in again.err
    watched = cli("watch", *options, "--timeout", "0s")
    assert '`kgtts watch --config "my voice.toml" --set training.epochs=2` comes back' in watched.err


def test_a_shell_completes_runs(
    two_projects: Path, cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's slugs and ids are completed without a login; a damaged ledger completes nothing."""

    def completed(words: str) -> list[str]:
        monkeypatch.setenv("_KGTTS_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", f"kgtts {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        out = cli().out
        monkeypatch.delenv("_KGTTS_COMPLETE")
        return [line.partition(",")[2] for line in out.splitlines()]

    run = cli("list", "--json").json[0]["run"]
    monkeypatch.delenv("KAGGLE_KEY")
    for command in ("status", "logs", "pull", "open", "stop", "tensorboard", "say --run"):
        assert completed(f"{command} oth") == ["other-voice"], command
    assert completed(f"status {run[:3]}") == [run]
    assert completed("compare x oth") == ["other-voice", "oth"]
    assert completed("report bangla") == ["bangla-tts", "bangla"]  # The second lets the shell look for files.
    (workplace.parent / "data/ledger.db").write_text("x" * 4096)
    assert not any(completed("status oth"))


def test_the_list_fits_a_terminal_and_begins_with_the_slug(
    two_projects: Path, workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """80 columns show the states; a pipe gets every cell in full."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    lines = click.unstyle(cli("list").out).splitlines()
    assert [line.split()[0] for line in lines] == ["slug", "other-voice", "bangla-tts"]
    assert all(len(line) <= 80 and "complete" in line for line in lines[1:])


def test_the_list_shows_states_as_they_are_now(
    cli: Cli, trained: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that was running is looked at again; offline the last known state is shown."""
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    offline = cli("list", "--json")
    assert (offline.code, offline.json[0]["state"]) == (0, "pushed")
    assert "The states shown are the last known ones: " in offline.err
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    online = cli("list", "--json")
    assert (online.json[0]["state"], online.err) == ("complete", "")
    for name in ("KAGGLE_KEY", "KAGGLE_USERNAME"):
        monkeypatch.delenv(name)
    again = cli("list", "--json")
    assert (again.json[0]["state"], again.err) == ("complete", "")


def test_a_setting_that_changes_while_a_session_runs_is_told(
    cli: Cli, account: Emulator, workplace: Path
) -> None:
    """The next pass names both values and what happens with them."""
    set_script(workplace, TRAIN + HANG)
    cli("push", "--set", "training.epochs=7")
    wait_for_words(account, "the training hangs")
    assert cli("sync", "--json").json["warnings"] == []
    assert "training.epochs=7  (by --set at a push)" in cli("status").out
    text = (workplace / "kgtts.toml").read_text(encoding="utf-8")
    (workplace / "kgtts.toml").write_text(text + "\n[speed]\nlength_buckets = 4\n", encoding="utf-8")
    warned = cli("sync").out
    assert "speed.length_buckets from 8 to 4; it takes effect in the next session" in warned
    assert "training.epochs" not in warned
