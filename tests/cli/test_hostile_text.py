"""Words from Kaggle that a terminal, a job's log or a page would obey: every command shows them as text."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator import Emulator
from tests.altered import Altered, altered
from tests.fakes.clock import HastyClock
from tests.support import USER, Cli, Result

FIRST = f"{USER}/bangla-tts-a"
# A title, one-byte and two-byte sequences, marks that turn the direction, a line that GitHub would obey.
ATTACK = "\x1b]0;owned\x07\x9b2J\x1b[31m\u202e\u2066\u200f\u061cevil\x08\x7f\r\n::error::owned ##[group]owned"
JOINERS = "\u200c\u200d"

Change = Callable[[Any], None]


@pytest.fixture
def plan(account: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Altered]:
    """A server in front of the emulator, with its address in the environment."""
    with altered(account.url) as server:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", server.url)
        yield server


def is_harmless(result: Result) -> bool:
    """Whether everything that was printed can be seen, and nothing is a command."""
    letters = set(result.said) - {"\n"}
    return all(letter.isprintable() or letter in JOINERS for letter in letters)


def changed(change: Change) -> Callable[[bytes], bytes]:
    """Change an answer's JSON."""

    def make(body: bytes) -> bytes:
        answer = json.loads(body)
        change(answer)
        return json.dumps(answer).encode()

    return make


def error(status: int) -> tuple[int, bytes]:
    """Return an answer that refuses in those words."""
    return status, json.dumps({"error": {"code": status, "message": ATTACK}}).encode()


def put(*path: str, value: object) -> Change:
    """Set a value of an answer."""

    def change(answer: Any) -> None:
        *way, last = path
        for part in way:
            answer = answer.get(part, {})  # An error has none.
        answer[last] = value

    return change


TITLED = put("kernels", value=[{"ref": FIRST, "title": ATTACK}])
NEAR_FILE = put("files", value=[{"name": "model/config.json-evil\x9b2J\x1b]0;\x07\u202e"}])
NEAR_DATASET = put("datasets", value=[{"ref": f"{USER}/datahrbm-evil\x9b2J\u202e"}])
MACHINE = put("metadata", "machineShape", value=ATTACK)
CHANGED: dict[str, tuple[str, Change, tuple[str, ...]]] = {
    "titles": ("ListKernels", TITLED, ("list", "--all")),
    "titles as JSON": ("ListKernels", TITLED, ("list", "--all", "--json")),
    "a machine": ("GetKernel", MACHINE, ("push", "--set", "kernel.accelerator=NvidiaTeslaT4")),
    "a source": ("SaveKernel", put("invalidDatasetSources", value=[ATTACK]), ("push",)),
    "the name of a file": ("ListModelInstanceVersionFiles", NEAR_FILE, ("doctor",)),
    "that name as JSON": ("ListModelInstanceVersionFiles", NEAR_FILE, ("doctor", "--json")),
    "the name of a dataset": ("ListDatasets", NEAR_DATASET, ("push", "--set", "inputs.dataset=datahrbm")),
}
ANSWERED: dict[str, tuple[str, tuple[int, bytes], tuple[str, ...]]] = {
    "a refusal": ("SaveKernel", error(400), ("push",)),
    "a refusal in an answer": ("SaveKernel", (200, json.dumps({"error": ATTACK}).encode()), ("push",)),
    "a failure": ("GetAcceleratorQuotaStatistics", error(500), ("quota",)),
    "a failure that a doctor finds": ("GetAcceleratorQuotaStatistics", error(403), ("doctor",)),
    "a failure in a pass": ("GetKernel", error(403), ("sync",)),
    "a login": ("ListKernels", error(401), ("list", "--all")),
    "an odd word": (
        "GetKernelSessionStatus",
        (200, json.dumps({"status": ATTACK}).encode()),
        ("status", FIRST),
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_words_in_an_answer(cli: Cli, plan: Altered, name: str) -> None:
    """Titles, names and machines are shown without what a terminal obeys."""
    method, change, arguments = CHANGED[name]
    plan.changes[method] = changed(change)
    result = cli(*arguments, clock=HastyClock())
    assert "evil" in result.said, result.said
    assert is_harmless(result), repr(result.said)


@pytest.fixture(params=[False, True], ids=["terminal", "actions"])
def summary(request: pytest.FixtureRequest, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The summary of a job of GitHub Actions, for half of the tests."""
    place = workplace / "summary.md"
    if request.param:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(place))
    return place


@pytest.mark.parametrize("name", ANSWERED)
def test_words_of_a_refusal(cli: Cli, plan: Altered, summary: Path, name: str) -> None:
    """Errors, annotations and the job's summary are harmless, too."""
    method, answer, arguments = ANSWERED[name]
    plan.answers[method] = answer
    result = cli(*arguments, clock=HastyClock())
    assert "evil" in result.said or "odd" in name, result.said
    assert is_harmless(result), repr(result.said)
    assert "##[" not in result.said or "GITHUB_ACTIONS" not in os.environ
    if summary.exists():
        text = summary.read_text(encoding="utf-8")
        assert all(letter.isprintable() or letter == "\n" for letter in text), repr(text)


def test_words_of_a_session(cli: Cli, plan: Altered, trained: Emulator, workplace: Path) -> None:
    """A failure's message and the names of its outputs; as JSON they keep their letters."""
    failed = json.dumps({"status": "ERROR", "failureMessage": ATTACK}).encode()
    plan.answers["GetKernelSessionStatus"] = (200, failed)

    def named(answer: Any) -> None:
        answer["files"] += [{**answer["files"][0], "fileName": name} for name in ("left\u200f.txt", ATTACK)]

    plan.changes["ListKernelSessionOutput"] = changed(named)
    for arguments in (
        ("status", FIRST),
        ("list",),
        ("sync",),
        ("pull", FIRST, "--all", "--dry-run"),
        ("pull", FIRST, "--all", "--dry-run", "--json"),
        ("pull", FIRST, "--all"),
        ("delete", FIRST, "--yes"),
    ):
        if arguments[0] == "delete":
            plan.answers["DeleteKernel"] = (200, json.dumps({"errorMessage": ATTACK}).encode())
        result = cli(*arguments, clock=HastyClock())
        assert is_harmless(result), (arguments, repr(result.said))
        if "--json" in arguments:
            assert "left\u200f.txt" in [item["path"] for item in json.loads(result.out)["files"]]
