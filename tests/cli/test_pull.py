"""What `kgtts pull` and passes call complete, if Kaggle does not show everything at once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.kaggle import connect
from orchestrator.models import KernelPush, KernelRef
from tests.altered import Altered, altered
from tests.cli.conftest import wait_for_end
from tests.support import KEY, USER, Cli

FIRST = f"{USER}/bangla-tts-a"
LISTING = "ListKernelSessionOutput"
NAMES = [f"{number}.json" for number in range(5)]
EXPIRED = {"what": "expired", "where": "storage", "first": 1, "per_name": True}
SESSION = "runs/bangla-tts/session-01"


@pytest.fixture
def plan(trained: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Altered]:
    """A server in front of the emulator, where a session has ended well."""
    with altered(trained.url) as server:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", server.url)
        yield server


def without(*gone: str) -> Callable[[bytes], bytes]:
    """Return a change to listings that hides these files; all if none is named."""

    def change(body: bytes) -> bytes:
        listing = json.loads(body)
        kept = [file for file in listing["files"] if gone and not file["fileName"].endswith(gone)]
        return json.dumps({**listing, "files": kept}).encode()

    return change


def marked(workplace: Path) -> bool:
    """Return whether the session's folder is marked as complete."""
    return (workplace / SESSION / ".kgtts-complete").is_file()


@pytest.mark.parametrize("command", ["pull", "sync"])
def test_an_empty_listing_is_never_complete(cli: Cli, plan: Altered, workplace: Path, command: str) -> None:
    """Kaggle may list nothing right after the end: that is an error, and the next try gets everything."""
    plan.changes[LISTING] = without()
    early = cli(command, "--json")
    assert (early.code, marked(workplace)) == (7, False), early.said
    assert "outputs" in early.err or "does not list all" in early.err
    if command == "pull":
        assert cli("pull", "--dry-run").code == 7
    plan.changes.clear()
    assert cli(command).code == 0
    assert marked(workplace)
    assert list((workplace / SESSION).glob("**/checkpoint_4.pth"))


@pytest.mark.parametrize("command", ["pull", "sync"])
@pytest.mark.parametrize("gone", ["checkpoint_4.pth", "manifest.json"])
def test_a_listing_that_still_grows_is_not_complete(
    cli: Cli, plan: Altered, workplace: Path, command: str, gone: str
) -> None:
    """The session's manifest says what there is, and without it the state.json."""
    plan.changes[LISTING] = without(gone, "state.json") if gone == "manifest.json" else without(gone)
    early = cli(command)
    assert (early.code, marked(workplace)) == (7, False), early.said
    assert "does not list all" in early.err
    plan.changes.clear()
    assert cli(command).code == 0
    assert marked(workplace)


def test_a_listing_without_an_end_is_an_error(cli: Cli, plan: Altered) -> None:
    """Its pages begin again with the first: it is given up after the second."""
    page = {"files": [{"fileName": "a", "url": "https://x.example/a"}], "nextPageToken": "again"}
    plan.answers[LISTING] = (200, json.dumps(page).encode())
    result = cli("pull")
    assert (result.code, "its pages repeat" in result.err) == (7, True), result.said
    assert plan.calls.count(LISTING) == 2


def test_pull_and_passes_mean_the_same_by_complete(cli: Cli, plan: Altered, workplace: Path) -> None:
    """A part of a session is incomplete; what `pull` completed, a pass does not download again."""
    assert cli("pull", "--include", "*.json").code == 0
    assert not marked(workplace)
    assert cli("pull").code == 0
    assert marked(workplace)
    plan.calls.clear()
    assert cli("sync", "--json").json["pulled"] is None
    assert LISTING not in plan.calls
    (workplace / SESSION / ".kgtts-complete").unlink()
    assert cli("sync", "--json").json["pulled"].endswith("session-01")
    assert marked(workplace)


def test_a_file_that_is_not_what_the_manifest_says_is_not_complete(
    cli: Cli, plan: Altered, workplace: Path
) -> None:
    """A file that the storage changed is not kept, and the session not marked."""
    kernel = workplace.parent / "kaggle/kernels" / USER / "bangla-tts-a/1/output"
    place = kernel / "config.json"
    place.write_bytes(place.read_bytes() + b" ")
    result = cli("pull")
    assert (result.code, marked(workplace)) == (7, False), result.said
    assert "config.json arrived damaged twice" in result.err
    assert not (workplace / SESSION / "config.json").exists()


def test_a_kernel_that_lists_nothing_is_an_error(cli: Cli, account: Emulator, workplace: Path) -> None:
    """Not "0 files", exit code 0: nobody can tell it from one whose files are still being saved."""
    client = connect({"KGTTS_KAGGLE_URL": account.url}, login=(USER, KEY))
    client.push(KernelPush(KernelRef(USER, "plain"), "Plain", "print('said')", accelerator=None))
    client.close()
    wait_for_end(account, "plain")
    for options in ([], ["--dry-run"]):
        result = cli("pull", f"{USER}/plain", *options)
        assert result.code == 7, result.said
        assert f"Kaggle lists no outputs of {USER}/plain/1" in result.err
    assert "said" in (workplace / f"runs/{USER}/plain/v1/session.log").read_text(encoding="utf-8")


def test_a_pull_never_mixes_two_versions(
    cli: Cli, account: Emulator, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version is pushed while URLs expire; without a version named, nothing is mixed."""
    client = connect({"KGTTS_KAGGLE_URL": account.url}, login=(USER, KEY))
    ref, pushed = KernelRef(USER, "plain"), list[str]()

    def push(word: str) -> None:
        pushed.append(word)
        source = "\n".join(f"open('{name}', 'w').write('{word}')" for name in NAMES)
        client.push(KernelPush(ref, "Plain", source, accelerator=None))
        wait_for_end(account, "plain")

    def change(body: bytes) -> bytes:
        if len(pushed) == 1:
            push("two")
        return body

    push("one")
    account.server.faults.set(FaultPlan.model_validate({"faults": [EXPIRED]}))
    with altered(account.url) as server:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", server.url)
        server.changes[LISTING] = change
        pulled = cli("pull", str(ref), "--all", "--json")
    account.server.faults.clear()
    client.close()
    assert (pulled.code, pulled.json["version"], pushed) == (0, 1, ["one", "two"]), pulled.said
    assert pulled.json["transfer"]["retries"] == len(NAMES)
    assert {(workplace / pulled.json["folder"] / name).read_text() for name in NAMES} == {"one"}
