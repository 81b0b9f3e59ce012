"""Commands on a service with odd answers: a message, the right exit code, and nothing done by mistake."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from tests.altered import Altered, altered
from tests.cli.conftest import wait_for_end
from tests.fakes.clock import HastyClock
from tests.support import USER, Cli

FIRST = f"{USER}/bangla-tts-a"


@pytest.fixture
def plan(account: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Altered]:
    """A server in front of the emulator, with its address in the environment."""
    with altered(account.url) as server:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", server.url)
        yield server


def test_a_server_that_says_nothing_does_not_pass_the_doctor(cli: Cli, plan: Altered) -> None:
    """A service that answers `{}` is not Kaggle."""
    plan.answers["*"] = (200, b"{}")
    result = cli("doctor")
    assert result.code == 7, result.said
    assert "makes no sense" in result.out


def test_a_push_whose_answer_is_empty_is_found(cli: Cli, plan: Altered, account: Emulator) -> None:
    """It arrived: it is not reported as "/0" and not sent twice."""
    plan.changes["SaveKernel"] = lambda _: b"{}"
    result = cli("push")
    assert result.code == 0, result.said
    assert f"Pushed {FIRST}/1" in result.out
    assert plan.calls.count("SaveKernel") == 1


def test_a_push_that_nobody_took_is_not_reported(cli: Cli, plan: Altered, account: Emulator) -> None:
    """After `{}` and without a kernel, nothing is reported as pushed."""
    plan.answers["SaveKernel"] = (200, b"{}")
    result = cli("push", clock=HastyClock())
    assert result.code == 7, result.said
    assert "Pushed" not in result.out
    assert account.backend.kernels.all() == []


def test_a_push_that_nobody_can_find_is_left_open(cli: Cli, plan: Altered, account: Emulator) -> None:
    """Its answer is lost, and then the kernel is refused: pushing again is not called safe, and finds it."""
    refused = (403, b'{"error": {"code": 403, "message": "Permission denied"}}')

    def lose(_: bytes) -> bytes:
        plan.answers |= dict.fromkeys(("GetKernel", "ListKernels", "GetKernelSessionStatus"), refused)
        return b"{}"

    plan.changes["SaveKernel"] = lose
    first = cli("push", clock=HastyClock())
    assert first.code == 7, first.said
    assert "is safe" not in first.said
    plan.answers.clear()
    again = cli("push", clock=HastyClock())
    assert (again.code, plan.calls.count("SaveKernel")) == (2, 1), again.said
    assert f"{FIRST}/1" in again.said


def test_escapes_in_titles_do_not_reach_the_terminal(cli: Cli, plan: Altered, trained: Emulator) -> None:
    """`list --all` shows titles without escapes; a huge quota is an error."""

    def change(body: bytes) -> bytes:
        listing = json.loads(body)
        listing["kernels"][0]["title"] = "\x1b[2J\x1b]0;owned\x07evil\ud800"
        return json.dumps(listing).encode()

    plan.changes["ListKernels"] = change
    shown = cli("list", "--all")
    assert (shown.code, "\x1b" in shown.out, "evil" in shown.out) == (0, False, True)
    plan.answers["GetAcceleratorQuotaStatistics"] = (200, b'{"gpuQuota": {"totalTimeAllowed": "1e99s"}}')
    assert cli("quota").code == 7


def test_a_name_with_half_a_character_is_refused_in_words(cli: Cli, plan: Altered, trained: Emulator) -> None:
    """The other files are downloaded, and nothing crashes."""

    def change(body: bytes) -> bytes:
        listing = json.loads(body)
        listing["files"].append({"fileName": "\ud800.pth", "url": listing["files"][0]["url"]})
        return json.dumps(listing).encode()

    plan.changes["ListKernelSessionOutput"] = change
    result = cli("pull", FIRST, "--all")
    assert "kgtts itself failed" not in result.err
    assert "ud800" in result.said


def test_remote_text_is_no_workflow_command(
    cli: Cli, plan: Altered, trained: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a job's log only our own annotations are commands, whatever titles and errors say."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    attack = "::error::owned ##[error]owned"

    def change(body: bytes) -> bytes:
        listing = json.loads(body)
        listing["kernels"][0]["title"] = attack
        return json.dumps(listing).encode()

    plan.changes["ListKernels"] = change
    as_json = cli("list", "--all", "--json")
    assert as_json.json[0]["title"] == attack
    plan.answers["GetKernelSessionStatus"] = (
        400,
        json.dumps({"error": {"code": 400, "message": f"x\n{attack}"}}).encode(),
    )
    for result in (as_json, cli("list", "--all"), cli("status", FIRST), cli("sync"), cli("doctor")):
        assert "##[" not in result.said
        for line in result.said.splitlines():
            if line.strip().startswith("::"):
                assert line.startswith(("::error title=kgtts::", "::warning title=kgtts::"))


def test_escapes_in_the_words_of_a_failure_do_not_reach_the_terminal(
    cli: Cli, account: Emulator, workplace: Path
) -> None:
    """A script's words come through state.json and the log into a pass's message."""
    script = workplace.parent / "kaggle/datasets" / USER / "datahrbnn/MyTTSDataset/train_tts.py"
    script.write_text(
        r"raise ValueError('\x1b[2J\x1b]0;owned\x07 bad luck ##[error]')" + "\n", encoding="utf-8"
    )
    assert cli("push").code == 0
    wait_for_end(account)
    said = ""
    for arguments in (["sync"], ["status"], ["sync", "--json"], ["push"], ["list"]):
        result = cli(*arguments)
        assert "\x1b" not in result.said, arguments
        assert "\x07" not in result.said, arguments
        said += result.said
    assert "bad luck" in said
