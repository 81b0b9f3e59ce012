"""`kgtts train`: real sessions of the kernel on this machine, with a made-up Coqui."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator import Emulator
from orchestrator.locks import machine_lock
from tests.base.making import write_voice
from tests.cli.conftest import wait_for_end, wait_for_words
from tests.cli.voice import CUT, HANG, SETTINGS, TRAIN, provide_inputs
from tests.notify.listener import listening
from tests.support import USER, Cli, Process, eventually

pytestmark = pytest.mark.posix
ONE = Path("runs/bangla-tts/session-01")
TWO = Path("runs/bangla-tts/session-02")


def state(folder: Path) -> dict[str, Any]:
    """The content of a session's state.json."""
    found: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return found


def prepare(place: Path, train: str = TRAIN) -> None:
    """Put a dataset with a training script where `kgtts data prepare` would, in `data`."""
    provide_inputs(place.parent / "made", train)
    made = place.parent / "made" / "datasets" / USER / "datahrbnn" / "MyTTSDataset"
    shutil.rmtree(place / "data", ignore_errors=True)
    shutil.copytree(made, place / "data" / "MyTTSDataset")
    shutil.rmtree(place.parent / "made")


@pytest.fixture
def here(workplace: Path, python: str) -> Path:
    """A folder with settings, a dataset and a base voice, and nothing of Kaggle."""
    voice = write_voice(workplace / "my voice")
    settings = f'{SETTINGS}\n[train]\npython = "{python}"\nvoice = "{voice}"\n'
    (workplace / "kgtts.toml").write_text(settings, encoding="utf-8")
    prepare(workplace)
    return workplace


def test_a_run_is_trained_here_without_kaggle(here: Path, cli: Cli) -> None:
    """Results are where a pull would put them; a later call says that it is done, or trains further."""
    result = cli("train")
    assert result.code == 0, result.said
    assert "local/bangla-tts/1 is running" in result.out
    assert "The run is done at step 4: all epochs are trained." in result.out
    assert "Next: kgtts say" in result.out
    assert "done" in cli("status").out.splitlines()[0]
    assert cli("logs").out.splitlines()[0].startswith("kgtts ")
    session = state(ONE)
    assert (session["run"]["kernel"], session["status"], session["done"]) == (
        "local/bangla-tts",
        "complete",
        True,
    )
    assert "GLOBAL_STEP: 4" in (ONE / "session.log").read_text(encoding="utf-8")
    assert (ONE / ".kgtts-complete").read_text().startswith("local/bangla-tts/1 4 ")
    assert not list(Path("runs").rglob(".kgtts-train"))
    again = cli("train")
    assert (again.code, TWO.exists()) == (0, False)
    assert "The run is done at step 4" in again.out
    assert cli("metrics", "--json").code == 0
    shown = cli("status")
    assert (shown.code, "local/bangla-tts/1  done" in shown.out) == (0, True), shown.said
    assert cli("train", "--set", "training.epochs=3").code == 0
    found = [(item["session"], item["from_step"], item["to_step"]) for item in state(TWO)["history"]]
    assert found == [(1, 0, 4), (2, 4, 6)]
    assert state(TWO)["run"]["parent"] == "local/bangla-tts/1"


def test_ctrl_c_saves_and_the_next_call_goes_on(here: Path, cli: Cli, spawn: Callable[..., Process]) -> None:
    """The end says which step is saved and what to type."""
    prepare(here, CUT)
    process = spawn("train", "--config", "kgtts.toml")
    process.wait_for("global step 2")
    stopped = process.interrupt()
    assert stopped.code == 130, stopped.out
    assert "Saving, which takes" in stopped.out
    assert "Stopped; step 2 is saved." in stopped.out
    assert "`kgtts train --config kgtts.toml` goes on from there" in stopped.out
    assert (state(ONE)["reason"], (ONE / "session.log").is_file()) == ("interrupted", True)
    result = cli("train")
    assert result.code == 0, result.said
    assert [item["to_step"] for item in state(TWO)["history"]] == [2, 4]


def test_what_was_said_is_remembered(here: Path, cli: Cli, spawn: Callable[..., Process]) -> None:
    """The call that goes on needs neither the data, nor the voice, nor the Python again."""
    settings = (here / "kgtts.toml").read_text()
    (here / "kgtts.toml").write_text(settings.partition("[train]")[0])
    python = settings.partition('python = "')[2].partition('"')[0]
    (here / "data").rename(here / "my data")
    said = ["--data", "my data", "--voice", "my voice", "--python", os.path.relpath(python)]
    first = cli("train", *said)
    assert first.code == 0, first.said
    again = cli("train", "--set", "training.epochs=3")
    assert again.code == 0, again.said
    assert "Dataset: " in again.err


def test_a_session_outlives_a_killed_kgtts_only_to_save(
    here: Path, cli: Cli, spawn: Callable[..., Process]
) -> None:
    """The next call waits for it, files its log, and goes on from what it saved."""
    prepare(here, CUT)
    process = spawn("train")
    process.wait_for("global step 2")
    os.kill(process.pid, signal.SIGKILL)
    process.result()
    result = cli("train")
    assert result.code == 0, result.said
    assert state(ONE)["reason"] == "interrupted"
    assert "GLOBAL_STEP: 2" in (ONE / "session.log").read_text(encoding="utf-8")
    assert state(TWO)["global_step"] == 4


def test_a_third_ctrl_c_ends_it_at_once(here: Path, spawn: Callable[..., Process]) -> None:
    """A training that does not save is ended, and kgtts says that nothing was saved."""
    prepare(
        here, HANG.replace("import time", "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)")
    )
    (here / "kgtts.toml").write_text((here / "kgtts.toml").read_text().replace('"5s"', '"4m"'))
    process = spawn("train")
    log = ONE.parent / ".kgtts-train" / "session.log"
    with eventually("the training hangs") as again:
        while not log.is_file() or "hangs" not in log.read_text(encoding="utf-8"):
            again()
    for words in ("Saving,", "Still saving."):
        os.kill(process.pid, signal.SIGINT)
        process.wait_for(words)
    ended = process.interrupt()
    assert (ended.code, "Stopped; nothing was saved yet." in ended.out) == (130, True), ended.out


def test_a_failure_tells_its_cause_and_where_the_log_is(
    here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends with 5; once the cause is mended the run goes on; who is elsewhere is told of both."""
    with listening() as service:
        monkeypatch.setenv("KGTTS_NOTIFY", service.address)
        _fail_and_mend(here, cli)
    assert service.titles == ["bangla-tts: the run failed", "bangla-tts: the voice is done"]
    assert "the sky is green" in service.heard[0]["message"]


def _fail_and_mend(here: Path, cli: Cli) -> None:
    prepare(here, "raise RuntimeError('the sky is green')\n")
    result = cli("train")
    assert result.code == 5
    assert "the sky is green" in result.err
    assert (
        f"Next: the whole log is {ONE / 'session.log'}; mend the cause, then `kgtts train` goes on"
        in result.err
    )
    prepare(here)
    assert cli("train").code == 0
    assert state(TWO)["global_step"] == 4


def test_changed_settings_are_named_and_refused(here: Path, cli: Cli) -> None:
    """As at a push; another run gets a folder of its own."""
    assert cli("train").code == 0
    result = cli("train", "--set", "training.batch_size=3")
    assert result.code == 2
    assert "training.batch_size from 16 to 3" in result.err
    assert "--new" in result.err
    result = cli("train", "--set", "training.batch_size=3", "--new")
    assert result.code == 0, result.said
    (other,) = [
        place for place in Path("runs/bangla-tts").iterdir() if not place.name.startswith((".", "session"))
    ]
    assert state(other / "session-01")["run"]["id"] == other.name
    assert "The run is done" in cli("train").out  # What --set gave belongs to the run.


def test_another_run_begins_with_the_voice_of_one(here: Path, cli: Cli) -> None:
    """The session mounts that run's folder and checks its hash."""
    assert cli("train").code == 0
    result = cli("train", "--new", "--from", "bangla-tts")
    assert result.code == 0, result.said
    assert f"Base voice: that of run {state(ONE)['run']['id']}, session 1" in result.err
    assert cli("train", "--from", "bangla-tts").code == 2


def test_a_checkpoint_that_is_gone_is_not_trained_again(here: Path, cli: Cli) -> None:
    """The step of a run never goes back unasked: the error names the file and what to do."""
    assert cli("train").code == 0
    checkpoint = ONE / state(ONE)["checkpoint"]
    checkpoint.unlink()
    result = cli("train", "--set", "training.epochs=3")
    assert result.code == 8
    assert state(ONE)["checkpoint"] in result.err
    assert "to go on from the session before it" in result.err
    shutil.rmtree(ONE)
    assert cli("train", "--set", "training.epochs=3").code == 0
    assert state(ONE)["history"][-1]["from_step"] == 0


def test_one_at_a_time(here: Path, cli: Cli) -> None:
    """A second call for the same run ends before it looks at anything."""
    turn = f"train {Path('runs').absolute() / 'bangla-tts'}"
    with machine_lock(Path(os.environ["KGTTS_HOME"]), turn):
        result = cli("train")
    assert result.code == 8
    assert "is working on the same run" in result.err


def test_a_session_gets_no_secrets_and_read_only_inputs(
    here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its environment has no credentials; the dataset's files are links, in folders that it may not fill."""
    look = (
        "import json, os, pathlib\n"
        "place = pathlib.Path(__import__('sys').argv[0]).absolute().parent\n"
        "told = {'env': dict(os.environ), 'mode': oct(place.stat().st_mode)[-3:],"
        " 'link': (place / 'metadata.csv').is_symlink()}\n"
        f"open({str(here / 'told.json')!r}, 'w').write(json.dumps(told))\n"
    )
    prepare(here, look + TRAIN)
    monkeypatch.setenv("KAGGLE_KEY", "not-for-sessions")
    monkeypatch.setenv("HF_TOKEN", "not-for-sessions")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:not-for-sessions@proxy")
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/not-for-sessions")
    monkeypatch.setenv("KEPT", "yes")
    assert cli("train", "--offline").code == 0
    told = json.loads((here / "told.json").read_text())
    assert "not-for-sessions" not in json.dumps(told)
    assert (told["env"]["KEPT"], told["mode"], told["link"]) == ("yes", "555", True)


def test_what_this_machine_lacks(here: Path, cli: Cli, tmp_path: Path) -> None:
    """Each is one sentence with the command: packages, the Python, the data, the voice."""
    python = tmp_path / "bare"
    python.write_text('#!/bin/sh\necho \'{"version": [3, 12], "missing": ["TTS"]}\'\n')
    python.chmod(0o755)
    result = cli("train", "--python", python)
    assert (result.code, "it lacks TTS" in result.err, "pip install" in result.err) == (8, True, True)
    assert "it lacks TTS" in cli("train", "--python", f"./{os.path.relpath(python)}").err
    assert "There is no Python nowhere" in cli("train", "--python", "nowhere").err
    (here / "taken").write_text("a file")
    taken = cli("train", "--set", "pull.to=taken")
    assert (taken.code, "Could not write" in taken.err) == (8, True), taken.said
    assert "holds no dataset" in cli("train", "--data", tmp_path).err
    (here / "kgtts.toml").write_text((here / "kgtts.toml").read_text().replace("voice =", "#"))
    result = cli("train")
    assert (result.code, "kgtts train --voice NAME" in result.err) == (3, True)
    assert "is not here" in result.err or "not on this machine" in result.err


def test_hours_end_a_session_in_time(here: Path, cli: Cli) -> None:
    """The budget is the session's own, which then says how to go on."""
    prepare(here, CUT)
    result = cli("train", "--hours", "0.0059")  # 21 seconds, of which it leaves 20 to what comes after.
    assert result.code == 0, result.said
    assert "Next: kgtts train goes on" in result.out
    assert state(ONE)["reason"] == "time_limit"
    assert not state(ONE)["done"]


@pytest.fixture
def shared(account: Emulator, python: str, workplace: Path) -> Emulator:
    """An account whose runs also go on here."""
    with (workplace / "kgtts.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[train]\npython = "{python}"\n')
    return account


def test_inputs_come_from_kaggle_once(shared: Emulator, cli: Cli, tmp_path: Path) -> None:
    """Both are downloaded whole and kept; the dataset comes again if it has a new version."""
    first = cli("train")
    assert first.code == 0, first.said
    assert f"Downloading the dataset {USER}/datahrbnn from Kaggle" in first.err
    assert f"Downloading the model {USER}/ttsbnng/transformers/default/1 from Kaggle" in first.err
    kept = Path(os.environ["KGTTS_HOME"]) / "inputs"
    metadata = kept / "datasets" / USER / "datahrbnn" / "MyTTSDataset" / "metadata.csv"
    assert metadata.is_file()
    assert not list((kept / "parts").iterdir())
    second = cli("train", "--set", "training.epochs=3")
    assert (second.code, "Downloading" in second.said) == (0, False), second.said
    changed = tmp_path / "kaggle" / "datasets" / USER / "datahrbnn" / "MyTTSDataset" / "metadata.csv"
    changed.write_text("a|আমি|আমি\nb|তুমি|তুমি\n", encoding="utf-8")
    third = cli("train", "--set", "training.epochs=4")
    assert (third.code, "Downloading the dataset" in third.err) == (0, True), third.said
    assert "Downloading the model" not in third.err
    assert "তুমি" in metadata.read_text(encoding="utf-8")
    offline = cli("train", "--offline", "--set", "training.epochs=5")
    assert offline.code == 0, offline.said
    assert f"The dataset {USER}/datahrbnn is used as it was downloaded before." in offline.err


def test_a_run_of_kaggle_goes_on_here(shared: Emulator, cli: Cli) -> None:
    """What ended there is brought first; the run's id, settings and history are one."""
    assert cli("push").code == 0
    wait_for_end(shared)
    result = cli("train", "--set", "training.epochs=3")
    assert result.code == 0, result.said
    assert f"Brought {USER}/bangla-tts-a/1, from which the run goes on." in result.err
    history = state(TWO)["history"]
    assert [(item["kernel"], item["from_step"], item["to_step"]) for item in history] == [
        (f"{USER}/bangla-tts-a", 0, 4),
        ("local/bangla-tts", 4, 6),
    ]
    assert state(TWO)["run"]["id"] == state(ONE)["run"]["id"]
    assert state(TWO)["run"]["parent"] == f"{USER}/bangla-tts-a/1"


def test_a_session_at_work_on_kaggle_is_left_alone(shared: Emulator, cli: Cli, tmp_path: Path) -> None:
    """The refusal names the commands that follow it or end it."""
    script = tmp_path / "kaggle" / "datasets" / USER / "datahrbnn" / "MyTTSDataset" / "train_tts.py"
    script.write_text(HANG, encoding="utf-8")
    assert cli("push").code == 0
    wait_for_words(shared, "the training hangs")
    result = cli("train")
    assert result.code == 2
    assert f"is at work on Kaggle: {USER}/bangla-tts-a/1" in result.err
    assert f"`kgtts stop {USER}/bangla-tts-a/1` ends it" in result.err
    assert not Path("runs").exists()


def test_kaggle_that_cannot_be_asked_stops_a_run_of_its_own(
    shared: Emulator, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was never there goes on with a warning; one that was needs --offline."""
    assert cli("train").code == 0
    address = os.environ["KGTTS_KAGGLE_URL"]
    monkeypatch.setenv("KGTTS_KAGGLE_URL", "http://127.0.0.1:9")
    alone = cli("train", "--set", "training.epochs=3")
    assert alone.code == 0, alone.said
    assert "Kaggle could not be asked about the run" in alone.err
    assert "is used as it was downloaded before" in alone.err
    monkeypatch.setenv("KGTTS_KAGGLE_URL", address)
    shutil.rmtree("runs")
    assert cli("push").code == 0
    wait_for_end(shared)
    assert cli("pull").code == 0
    monkeypatch.setenv("KGTTS_KAGGLE_URL", "http://127.0.0.1:9")
    refused = cli("train", "--set", "training.epochs=3")
    assert refused.code == 7
    assert "Next: `kgtts train --set training.epochs=3 --offline` goes on" in refused.err
    assert cli("train", "--offline", "--set", "training.epochs=3").code == 0
    assert state(TWO)["global_step"] == 6
