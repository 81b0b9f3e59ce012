"""`kgtts stop` on an emulator: a session ends, everything is kept, and only a push continues."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from orchestrator.ports import SystemClock
from tests.cli.conftest import wait_for_words
from tests.cli.test_round import set_script
from tests.cli.voice import HANG, TRAIN
from tests.support import KEY, USER, Cli, Process

REF = f"{USER}/bangla-tts"
FIRST, SECOND = f"{REF}-a/1", f"{REF}-b/1"
# Saves a checkpoint each epoch, which is two steps; session 1 hangs in the middle of the second epoch.
MIDDLE = TRAIN.replace("    # The epoch is over.\n", '    save(f"checkpoint_{total}.pth")\n').replace(
    '        print(f"     | > loss_mel',
    """        if not arguments.continue_path and total == 3:
            import time
            for words in ("...", "....", "in the middle"):
                time.sleep(1)  # A checkpoint is noticed with one of the next lines.
                print(words, flush=True)
            time.sleep(1000)
        print(f"     | > loss_mel""",
)


@pytest.fixture
def by_token(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Log in with an access token instead of username and key."""

    def log_in() -> None:
        monkeypatch.delenv("KAGGLE_USERNAME")
        monkeypatch.delenv("KAGGLE_KEY")
        monkeypatch.setenv("KAGGLE_API_TOKEN", KEY)

    return log_in


@pytest.fixture
def slow_to_save(
    open_account: Callable[..., Emulator], python: str, by_token: Callable[[], None]
) -> Emulator:
    """An account whose outputs are saved one after another, reached by token."""
    started = open_account(python=python, saving_s=2.5)
    by_token()
    return started


def versions(emulator: Emulator) -> int:
    """Return how many sessions were pushed."""
    return sum(len(kernel.versions) for kernel in emulator.backend.kernels.all())


def test_stop_in_the_middle_of_an_epoch_then_push(
    cli: Cli, slow_to_save: Emulator, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most one checkpoint interval is repeated; until the push no machine's pass continues."""
    account = slow_to_save
    set_script(workplace, MIDDLE)
    assert cli("push").code == 0
    wait_for_words(account, "in the middle")
    stopped = cli("stop", clock=SystemClock())  # The emulator saves in real time.
    assert stopped.code == 0, stopped.said
    assert f"Stopped {FIRST}" in stopped.out
    assert "kgtts push continues from step 2" in stopped.out
    assert "Kaggle has saved" in stopped.err
    kernel = account.backend.kernels.all()[0]
    assert f"{len(account.backend.outputs(kernel, kernel.latest))} files kept" in stopped.out
    for machine in ("data", "another"):
        monkeypatch.setenv("KGTTS_HOME", str(workplace.parent / machine))
        passed = cli("sync", "--json")
        assert (passed.code, passed.json["state"], passed.json["over"]) == (0, "stopped", True)
        assert "`kgtts push` continues from step 2" in passed.json["reason"]
        assert cli("watch").code == 0
    assert versions(account) == 1
    again = cli("stop", FIRST)
    assert (again.code, "Was stopped before" in again.out) == (0, True)
    pushed = cli("push", "--wait")
    assert pushed.code == 0, pushed.said
    assert f"Pushed {SECOND}" in pushed.out
    assert "The run is done at step 4" in pushed.out
    state = json.loads((workplace / "runs/bangla-tts/session-02/state.json").read_text(encoding="utf-8"))
    own = state["history"][-1]
    interval, reached = 2, 3
    assert (own["from_step"], own["to_step"]) == (2, 4)
    assert reached - own["from_step"] <= interval


def test_a_legacy_key_is_refused_and_shown_the_page(cli: Cli, account: Emulator, workplace: Path) -> None:
    """The session continues, and the message says which logins can stop it."""
    set_script(workplace, TRAIN + HANG)
    assert cli("push").code == 0
    wait_for_words(account, "the training hangs")
    refused = cli("stop")
    assert refused.code == 4
    assert "never a username with a key" in refused.err
    assert f"kgtts open {FIRST}" in refused.err
    assert account.backend.kernels.all()[0].latest.is_active


def test_a_finished_run_has_nothing_to_stop(cli: Cli, trained: Emulator) -> None:
    """The error gives its state, and nothing is changed."""
    result = cli("stop")
    assert (result.code, result.out) == (2, "")
    assert f"{FIRST} is not running: Kaggle says complete" in result.err
    assert "kgtts push" not in result.err


def test_stop_works_with_a_faulty_kgtts_toml(
    cli: Cli, account: Emulator, workplace: Path, by_token: Callable[[], None]
) -> None:
    """Faulty settings do not keep a session running."""
    by_token()
    set_script(workplace, TRAIN + HANG)
    assert cli("push").code == 0
    wait_for_words(account, "the training hangs")
    (workplace / "kgtts.toml").write_text("[kernel\n", encoding="utf-8")
    assert f"Stopped {FIRST}" in cli("stop", f"{REF}-a").out


def test_delete_wants_a_name(cli: Cli, trained: Emulator, workplace: Path) -> None:
    """In another project's folder nothing is deleted without its name, even with --yes."""
    for command in ("delete", "cancel"):
        result = cli(command, "--yes")
        assert result.code == 2
        assert "kgtts delete OWNER/SLUG" in result.err
        assert "kgtts stop" in result.err
    assert len(trained.backend.kernels.all()) == 1


def test_delete_says_what_is_lost(cli: Cli, trained: Emulator, spawn: Callable[..., Process]) -> None:
    """Anything but yes means no; --yes deletes."""
    asked = spawn("delete", f"{REF}-a").result()
    assert asked.code == 130
    assert f"This deletes {REF}-a on Kaggle: 1 version, every log and all outputs, checkpoints" in asked.out
    assert "not pulled are lost" in asked.out
    assert len(trained.backend.kernels.all()) == 1
    assert f"Deleted {REF}-a." in cli("delete", f"{REF}-a", "--yes").out
    assert trained.backend.kernels.all() == []
    assert cli("status").code == 4


def test_cancel_is_the_old_name_of_delete(cli: Cli, trained: Emulator, workplace: Path) -> None:
    """The old `kgtts cancel` says what to type instead, and does nothing to a run that is not running."""
    ended = cli("cancel", f"{REF}-a", "--yes")
    assert (ended.code, "nothing to cancel" in ended.err) == (2, True)
    set_script(workplace, TRAIN + HANG)
    assert cli("push", "--new").code == 0
    wait_for_words(trained, "the training hangs")
    deleted = cli("cancel", f"{REF}-a", "--yes")
    assert deleted.code == 0, deleted.said
    assert "is now `kgtts delete`" in deleted.err
    assert trained.backend.kernels.all() == []
