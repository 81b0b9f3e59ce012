"""Runs of several sessions from the command line: pushed, followed from one to the next, continued."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from tests.cli.conftest import wait_for_words
from tests.cli.test_round import set_script
from tests.cli.voice import CUT, HANG, TRAIN
from tests.support import USER, Cli

REF = f"{USER}/bangla-tts"
FIRST, SECOND = f"{REF}-a/1", f"{REF}-b/1"
SHORT = ("--set", "training.time_limit=1s")


@pytest.fixture
def cut(account: Emulator, workplace: Path) -> Emulator:
    """An account whose training is stopped after its first epoch, so that it takes two sessions."""
    set_script(workplace, CUT)
    return account


def checkpoint(folder: Path) -> Path:
    """Return the checkpoint that the results in `folder` name."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return folder / str(state["checkpoint"])


def test_push_wait_goes_from_session_to_session(cli: Cli, cut: Emulator, workplace: Path) -> None:
    """One command: the second session continues on the sibling, and the results of both are downloaded."""
    result = cli("push", "--wait", *SHORT)
    assert result.code == 0, result.said
    for text in (
        f"Pushed {FIRST}",
        f"{FIRST} is running",
        "Session 2 continues from step 2.",
        f"pushed     {SECOND}",
        f"{SECOND} is running",
        "done  The run is done at step 4: all epochs are trained.",
        "so far     step 2 in 1 session,",
        "so far     step 4 in 2 sessions,",
    ):
        assert text in result.out
    place = workplace / "runs/bangla-tts"
    for folder, step in (("session-01", 2), ("session-02", 4)):
        assert checkpoint(place / folder).name == f"checkpoint_{step}.pth"
        assert checkpoint(place / folder).is_file()
    status = cli("status")
    for text in ("session 2", "sessions\n", f"{REF}-a  time_limit", f"{REF}-b  finished", "step 2 to 4"):
        assert text in status.out
    for named in ((), (REF,), (SECOND,)):
        told = cli("status", *named, "--json").json
        assert (told["session"], f"{told['kernel']}/{told['version']}") == (2, SECOND)
        steps = [(item["session"], item["from_step"], item["to_step"]) for item in told["history"]]
        assert steps == [(1, 0, 2), (2, 2, 4)]
    rows = cli("list", "--json").json
    assert [(row["session"], row["steps"], row["ended"], row["state"]) for row in rows] == [
        (2, "2-4", "finished", "complete"),
        (1, "0-2", "time_limit", "complete"),
    ]
    assert len({row["run"] for row in rows}) == 1
    listed = cli("list").out
    assert all(text in listed for text in (f"{REF}-a", f"{REF}-b", "0-2", "2-4", "time_limit"))
    first = cli("status", FIRST, "--json").json
    assert (first["session"], [item["session"] for item in first["history"]]) == (1, [1])


def test_push_wait_json_is_one_document_of_the_last_session(cli: Cli, cut: Emulator) -> None:
    """However many sessions were waited for, a program reads one document and nothing else."""
    result = cli("push", "--wait", "--json", *SHORT)
    assert (result.code, result.err) == (0, "")
    told = result.json
    assert (told["session"], f"{told['kernel']}/{told['version']}") == (2, SECOND)
    assert told["state"] == "complete"
    assert f"/{REF}-b" in told["url"]


def test_watch_begins_the_run_and_sees_it_through(
    cli: Cli, open_account: Callable[..., Emulator], python: str, workplace: Path
) -> None:
    """It equals passes of `kgtts sync`, also where Kaggle says only the newest session's status."""
    cut = open_account(python=python, status_by_version=False)
    set_script(workplace, CUT)
    result = cli("watch", *SHORT)
    assert result.code == 0, result.said
    for text in (
        "running  Session 1 begins.",
        f"pushed     {FIRST}",
        "running  Session 2 continues from step 2.",
        f"pushed     {SECOND}",
        "done  The run is done at step 4",
    ):
        assert text in result.out
    assert result.out.count("  pulled     ") == 2
    assert result.out.count("  verdict    Listen to hear whether it speaks.") == 1
    again = cli("watch", "--no-pull", *SHORT)
    assert again.code == 0
    assert again.out.startswith("done  The run is done at step 4")
    assert "pushed" not in again.out
    assert sum(len(kernel.versions) for kernel in cut.backend.kernels.all()) == 2


def test_a_second_push_while_a_session_is_alive_is_refused(
    cli: Cli, account: Emulator, workplace: Path
) -> None:
    """The error names the session and how to follow it; nothing is sent, whatever the options."""
    set_script(workplace, TRAIN + HANG)
    assert cli("push").code == 0
    wait_for_words(account, "the training hangs")
    for options in ((), ("--wait",), ("--json",)):
        again = cli("push", *options)
        assert (again.code, again.out) == (2, "")
        assert "Session 1 is running." in again.err
        assert f"kgtts status {FIRST} --watch" in again.err
    new = cli("push", "--new")
    assert (new.code, new.out) == (2, "")
    assert f"a session that is not over: {FIRST}" in new.err
    assert f"kgtts stop {REF}-a" in new.err
    assert [len(kernel.versions) for kernel in account.backend.kernels.all()] == [1]


def test_push_goes_on_after_a_failure(cli: Cli, account: Emulator, workplace: Path) -> None:
    """A fixed script gets session 2 of the same run, from the base voice; watch leaves it alone."""
    set_script(workplace, "raise ValueError('bad luck')\n")
    failed = cli("push", "--wait", "--json")
    assert (failed.code, failed.json["session"], failed.json["state"]) == (5, 1, "error")
    watched = cli("watch")
    assert watched.code == 5
    assert "bad luck" in watched.err
    assert "mend the cause, then continue with `kgtts push`" in watched.err
    set_script(workplace, TRAIN)
    mended = cli("push", "--wait", "--json")
    assert mended.code == 0, mended.said
    told = mended.json
    assert (told["run"], told["session"], told["state"]) == (failed.json["run"], 2, "complete")
    assert f"{told['kernel']}/{told['version']}" == f"{REF}-a/2"
    assert cli("status", "--json").json["progress"]["global_step"] == 4


def test_a_run_that_is_done_is_pushed_again_only_as_another(cli: Cli, trained: Emulator) -> None:
    """The hint says how to train further; --new starts a run with its own id."""
    before = cli("status", "--json").json
    again = cli("push")
    assert (again.code, again.out) == (2, "")
    assert "The run is done at step 4: all epochs are trained." in again.err
    assert "--new" in again.err
    new = cli("push", "--new", "--wait", "--json").json
    assert new["run"] != before["run"]
    assert (new["session"], new["kernel"], new["version"], new["state"]) == (1, f"{REF}-a", 2, "complete")
    assert cli("status", "--json").json["run"] == new["run"]


def test_a_raised_target_trains_a_run_further(cli: Cli, trained: Emulator) -> None:
    """More epochs continue the run: session 2 is on the sibling."""
    result = cli("push", "--wait", "--set", "training.epochs=3")
    assert result.code == 0, result.said
    assert f"Pushed {SECOND}" in result.out
    assert "The run is done at step 6" in result.out


def test_a_run_at_its_limit_says_so(cli: Cli, cut: Emulator) -> None:
    """`run.max_sessions` ends a wait well, and makes a push a usage error."""
    limit = ("--set", "run.max_sessions=1")
    waited = cli("push", "--wait", *SHORT, *limit)
    assert waited.code == 0, waited.said
    assert "limited  The run has had its 1 session (run.max_sessions)." in waited.out
    again = cli("push", *SHORT, *limit)
    assert again.code == 2
    assert "raise the target or the limit in kgtts.toml" in again.err
