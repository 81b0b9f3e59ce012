"""Each command on a run that was pushed and has ended: its output and its JSON."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from orchestrator.emulator import Emulator
from orchestrator.kaggle import connect
from orchestrator.models import KernelRef
from tests.cli.conftest import wait_for_words
from tests.cli.voice import HANG, TRAIN
from tests.fakes.clock import HastyClock
from tests.kaggle.helpers import small_push
from tests.support import KEY, REPOSITORY, USER, Cli, Process

REF = f"{USER}/bangla-tts"  # As kgtts.toml names it.
FIRST = f"{REF}-a"  # Where the first session goes.


def set_script(workplace: Path, text: str) -> None:
    """Replace the training script in the dataset."""
    folder = workplace.parent / "kaggle/datasets" / USER / "datahrbnn/MyTTSDataset"
    (folder / "train_tts.py").write_text(text, encoding="utf-8")


def test_push_wait_follows_to_the_end(cli: Cli, account: Emulator) -> None:
    """It shows stages, epochs, steps and losses, and at the end what to type next."""
    result = cli("push", "--wait")
    assert result.code == 0, result.said
    assert f"Pushed {FIRST}/1" in result.out
    for text in ("running", "inputs", "epoch 1 of 2", "step 2 of 2", "mel 3", "all epochs are trained"):
        assert text in result.out
    assert "@kgtts" not in result.said


def test_push_json(cli: Cli, account: Emulator) -> None:
    """One document has the state that was waited for, or that of a new push."""
    pushed = cli("push", "--json", "--wait").json
    assert set(pushed) == {"run", "session", "kernel", "version", "url", "state", "warnings"}
    assert (pushed["kernel"], pushed["version"], pushed["state"]) == (FIRST, 1, "complete")
    assert pushed["url"].endswith(f"/code/{FIRST}")
    again = cli("push", "--json", "--new").json
    assert (again["session"], again["version"], again["state"], again["warnings"]) == (1, 2, "queued", [])
    assert again["run"] != pushed["run"]


def test_push_json_of_a_run_that_fails(cli: Cli, account: Emulator, workplace: Path) -> None:
    """The document is printed as well as the error, with the exit code."""
    set_script(workplace, "raise ValueError('bad luck')\n")
    result = cli("push", "--json", "--wait")
    assert (result.code, result.json["state"]) == (5, "error")
    assert "bad luck" in result.err
    watched = cli("status", "--watch", "--json")
    assert watched.code == 5, watched.said
    assert (watched.code, watched.json["state"]) == (5, "error")


def test_status_of_a_run_that_is_over(cli: Cli, trained: Emulator) -> None:
    """It shows state, progress, checkpoint, why it ended, and the next command."""
    result = cli("status")
    assert result.code == 0
    for text in (f"{FIRST}/1", "complete", "epoch 2 of 2", "checkpoint_4.pth", f"Next: kgtts pull {FIRST}/1"):
        assert text in result.out
    assert "newer on Kaggle" not in result.out
    assert cli("pull").code == 0
    result = cli("status")
    assert "Next: kgtts report, or kgtts say TEXT" in result.out
    assert (
        "  verdict    Listen to hear whether it speaks. It is too early to say whether to keep training."
        in result.out
    )


def test_status_json(cli: Cli, trained: Emulator) -> None:
    """The JSON keeps the form that programs rely on."""
    status = cli("status", "--json").json
    assert set(status) == {
        "run",
        "kernel",
        "version",
        "state",
        "failure_message",
        "latest_version",
        "is_latest",
        "progress",
        "url",
        "session",
        "history",
        "elsewhere",
        "quota",
        "forecast",
        "verdict",
    }
    assert (status["state"], status["version"], status["is_latest"]) == ("complete", 1, True)
    progress = status["progress"]
    assert (progress["global_step"], progress["fraction"], progress["end_reason"]) == (4, 1.0, "finished")
    assert progress["losses"]["loss_mel"] == 36.5


def test_status_while_it_runs(cli: Cli, account: Emulator, workplace: Path) -> None:
    """Stage and progress come from the live log; outputs are refused until the end."""
    set_script(workplace, TRAIN + HANG)
    cli("push")
    wait_for_words(account, "the training hangs")
    result = cli("status")
    for text in ("running", "train", "global step 4", f"Next: kgtts status {FIRST}/1 --watch"):
        assert text in result.out
    log = cli("logs")
    assert "the training hangs" in log.out
    early = cli("pull")
    assert early.code == 4
    assert "is running" in early.err
    timed = cli("watch", "--timeout", "0s")
    assert timed.code == 6
    assert f"{FIRST}/1 goes on" in timed.err
    assert "kgtts watch" in timed.err


def test_commands_speak_of_the_version_that_was_pushed_here(cli: Cli, trained: Emulator) -> None:
    """A newer version from elsewhere is named and not taken for ours."""
    run = cli("list", "--json").json[0]["run"]
    ledger = Path("../data/ledger.db")
    kept = ledger.read_bytes()
    assert cli("push", "--new", "--wait").code == 0
    ledger.write_bytes(kept)  # As if that push had come from another machine.
    for named in ((), (run[:6],), (REF,), (FIRST,)):
        result = cli("status", *named)
        assert f"{FIRST}/1" in result.out
        assert "Kaggle has a newer version, 2" in result.out
    assert f"{FIRST}/2" in cli("status", f"{FIRST}/2").out
    ledger.write_bytes(kept)
    with contextlib.closing(connect()) as client:
        client.push(small_push("print()", ref=KernelRef.parse(FIRST), title="Bangla tts a"))
    again = cli("push", "--new", clock=HastyClock())
    assert (again.code, f"{FIRST}/3, the newest version there, was not pushed by kgtts" in again.err) == (
        2,
        True,
    )
    assert "kgtts push --overwrite" in again.err
    # The other run of this name has its outputs in runs/bangla-tts; these lie apart.
    assert Path(cli("pull", "--json").json["folder"]) == Path("runs/bangla-tts", run, "session-01")


def test_saves_on_the_website_hide_no_run(cli: Cli, trained: Emulator) -> None:
    """A fresh machine looks behind five of them; nothing is pushed over them or from zero."""
    with contextlib.closing(connect()) as client:
        for number in range(5):
            client.push(small_push(f"print({number})", ref=KernelRef.parse(FIRST), title="Bangla tts a"))
    Path("../data/ledger.db").unlink()
    before = [len(kernel.versions) for kernel in trained.backend.kernels.all()]
    report = cli("sync", "--json", clock=HastyClock())
    assert (report.code, report.json["state"], report.json["over"]) == (0, "done", True), report.said
    assert [len(kernel.versions) for kernel in trained.backend.kernels.all()] == before == [6]


def test_a_lost_ledger_loses_nothing(cli: Cli, trained: Emulator) -> None:
    """A fresh machine with kgtts.toml, or with the kernel's name, sees the same run in few calls."""
    assert f"4 calls to {trained.url}" in cli("-v", "status").err
    Path("../data/ledger.db").unlink()
    for named in ((), (REF,), (FIRST,), (f"{FIRST}/1",), (f"https://www.kaggle.com/code/{FIRST}",)):
        result = cli("-v", "status", *named, "--json")
        status, calls = result.json, 5 if named in ((), (REF,)) else 4
        assert f"{calls} calls to {trained.url}" in result.err
        assert (status["state"], status["kernel"], status["version"]) == ("complete", FIRST, 1)
    assert cli("pull", REF, "--to", "there").code == 0


def test_logs_are_plain_text(cli: Cli, trained: Emulator) -> None:
    """The text has no events of the kernel; the JSON has them."""
    result = cli("logs")
    assert result.code == 0
    assert "GLOBAL_STEP: 4" in result.out
    assert "@kgtts" not in result.out
    lines = cli("logs", "--json").json
    assert set(lines[0]) == {"stream", "time_s", "text"}
    assert any(line["text"].startswith("@kgtts") for line in lines)
    followed = cli("logs", "--follow")
    assert followed.code == 0
    assert "GLOBAL_STEP: 4" in followed.out


def test_a_pull_after_a_waited_push_fetches_nothing(cli: Cli, account: Emulator, workplace: Path) -> None:
    """Both use the same folder, where the files are known to be unchanged."""
    assert cli("push", "--wait").code == 0
    place = workplace / "runs/bangla-tts/session-01"
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.pth")}
    assert before
    pulled = cli("pull", "--json").json
    assert workplace / pulled["folder"] == place
    assert {file["unchanged"] for file in pulled["files"]} == {True}
    assert pulled["transfer"]["received"] == 0
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*.pth")} == before
    assert [path.name for path in (workplace / "runs").iterdir()] == ["bangla-tts"]


def test_pull_brings_what_the_settings_choose_and_then_nothing_new(
    cli: Cli, trained: Emulator, workplace: Path
) -> None:
    """It downloads checkpoint, config, logs and state; a second pull nothing; --all the rest."""
    result = cli("pull")
    assert result.code == 0, result.said
    place = workplace / "runs/bangla-tts/session-01"
    names = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert {"state.json", "metrics.jsonl", "train_log.txt", "config.json", "session.log"} <= names
    assert any(name.endswith("checkpoint_4.pth") for name in names)
    again = cli("pull", "--json").json
    keys = {"kernel", "version", "state", "folder", "files", "refused", "left_out", "transfer"}
    assert set(again) == keys
    planned = cli("pull", "--dry-run", "--json").json
    assert [(file["path"], file["here"]) for file in planned["files"]] == [
        (file["path"], file["size"]) for file in again["files"]
    ]
    assert planned["to_come"] == 0
    assert all(file["unchanged"] for file in again["files"])
    everything = cli("pull", REF, "--to", "all of it", "--all", "--json").json
    assert (everything["left_out"], len(everything["files"]) >= len(again["files"])) == (0, True)
    some = cli("pull", "--to", "some", "--include", "*.json", "--exclude", "state*", "--json").json
    assert all(file["path"].endswith(".json") for file in some["files"])
    assert not any(file["path"].startswith("state") for file in some["files"])


def test_list(cli: Cli, trained: Emulator) -> None:
    """It lists this machine's runs, or all kernels of the account, also as JSON."""
    assert FIRST in cli("list").out
    row = cli("list", "--json").json[0]
    assert set(row) == {
        "slug",
        "run",
        "session",
        "kernel",
        "version",
        "state",
        "pushed",
        "steps",
        "time",
        "ended",
        "message",
    }
    assert (row["session"], row["kernel"], row["version"]) == (1, FIRST, 1)
    assert FIRST in cli("list", "--all").out
    assert set(cli("list", "--all", "--json").json[0]) == {"kernel", "version", "title", "last_run"}


def test_list_of_nothing_says_what_to_do(cli: Cli, account: Emulator) -> None:
    """Without runs and kernels there is a message, and an empty JSON list."""
    assert "kgtts push" in cli("list").out
    assert "kgtts push" in cli("list", "--all").out
    assert cli("list", "--json").json == []


def test_quota(cli: Cli, account: Emulator) -> None:
    """It shows hours left, used and reserved, and when they refresh."""
    out = cli("quota").out
    assert "30.00 h left of 30.00 h" in out
    assert all(word in out for word in ("used", "reserved", "refreshes"))
    week = cli("quota", "--json").json
    assert set(week) == {"used_s", "reserved_s", "left_s", "allowed_s", "refreshes_at"}
    assert week["left_s"] == 108000


def test_open_prints_the_page(cli: Cli, trained: Emulator) -> None:
    """The address is that of our version on the service in use."""
    address = cli("open", "--print").out.strip()
    assert address == f"{trained.url}/code/{FIRST}?scriptVersionNumber=1"
    assert address in cli("status").out
    assert cli("status", address, "--json").json["version"] == 1
    page = requests.get(address, timeout=10)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert all(text in page.text for text in (FIRST, "Version 1", "complete"))
    missing = requests.get(f"{trained.url}/code/{USER}/never-was", timeout=10)
    assert missing.status_code == 404
    assert "never-was" in missing.text


def test_the_stock_client_works_on_the_same_service(trained: Emulator, spawn: Callable[..., Process]) -> None:
    """`kgtts kaggle` is the unmodified official command line, with its login."""
    result = spawn("kaggle", "kernels", "list", "--mine").result()
    assert result.code == 0, result.said
    assert FIRST in result.out


def test_verbose_counts_the_calls(cli: Cli, trained: Emulator) -> None:
    """With `-v` the number of calls to Kaggle is printed."""
    assert f"calls to {trained.url}" in cli("-v", "status").err


def test_no_secret_is_said_or_written_anywhere(cli: Cli, trained: Emulator, workplace: Path) -> None:
    """Output, logs, rendered files, ledger, results and the emulator's files have no secret."""
    said = "".join(
        cli(*arguments).said
        for arguments in (
            ["-v", "doctor"],
            ["render"],
            ["-v", "push", "--wait", "--new"],
            ["-v", "status", "--json"],
            ["logs", "--json"],
            ["-v", "pull", "--all", "--to", "all"],
            ["list", "--all", "--json"],
            ["quota"],
            ["config", "show"],
            ["open", "--print"],
        )
    )
    secrets = [KEY, "signature", "Signature", "expires=", "X-Goog"]
    kept_by_emulator = workplace.parent / "kaggle"
    for secret in secrets:
        assert secret not in said
        for path in workplace.parent.rglob("*"):
            # The emulator's own file of credentials and the client's packages are not ours to judge here.
            if path.is_file() and path.name != "credentials.json" and path.stat().st_size < 1 << 22:
                content = path.read_bytes()
                if (
                    secret == KEY
                    or path.is_relative_to(workplace)
                    or not path.is_relative_to(kept_by_emulator)
                ):
                    assert secret.encode() not in content or "kaggle_tts_training" in path.name, path
    assert KEY.encode() not in (workplace.parent / "data/ledger.db").read_bytes()


def test_a_failure_keeps_its_traceback_for_those_who_ask(
    cli: Cli, account: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With KGTTS_DEBUG=1 the traceback is printed; otherwise only the message."""
    account.server.faults.fail_next(404)
    assert "Traceback" not in cli("status", f"{FIRST}/7").err
    monkeypatch.setenv("KGTTS_DEBUG", "1")
    account.server.faults.fail_next(404)
    assert "Traceback (most recent call last)" in cli("status", f"{FIRST}/7").err


def test_the_documented_files_are_there() -> None:
    """The table of files in docs/run.md has the names that the code uses."""
    text = (REPOSITORY / "docs" / "run.md").read_text(encoding="utf-8")
    names: list[Any] = ["kgtts.toml", "KGTTS_CONFIG", "KGTTS_HOME", "KGTTS_KAGGLE_URL"]
    assert all(name in text for name in names)
