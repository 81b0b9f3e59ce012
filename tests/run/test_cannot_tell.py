"""Not seeing is not absence: one wrong answer of Kaggle's makes no pass push what it would not have."""

import copy
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import (
    ForbiddenError,
    NotFoundError,
    RefusedError,
    ServiceError,
    UsageError,
)
from orchestrator.models import KernelRef
from orchestrator.render.stamp import read_stamp
from orchestrator.run.context import RunContext
from orchestrator.run.decide import RunState
from orchestrator.run.snapshot import CannotTell, NotThere, Snapshot, There, certain
from tests.download.storage import Storage
from tests.fakes.kaggle import Answer, FakeKaggle
from tests.run.conftest import Play

After = Callable[..., Play]
FIRST = KernelRef("asha", "bangla-tts-a")
METHODS = {
    "kernel": "kernel",
    "status": "session_status",
    "output": "output_file",
    "outputs": "outputs",
    "log": "stored_log",
    "quota": "quota",
    "kernels": "my_kernels",
    "dataset": "dataset_files",
}
ERRORS = [
    ForbiddenError("Kaggle refused (403)."),
    NotFoundError("Kaggle knows no such thing (404)."),
    ServiceError("Kaggle failed (500)."),
    RefusedError("Kaggle refused (400)."),
]
ODD = {
    "output_file": [Answer(b"{}"), Answer(b"<html></html>"), Answer(None), Answer(b"")],
    "my_kernels": [Answer([])],
    "outputs": [Answer([])],
    "quota": [Answer(None)],
}
RUNS: dict[str, tuple[Sequence[int | str | None], bool]] = {
    "nothing was pushed": ((), False),
    "the first session is queued": ((), True),
    "one session has ended": ((100,), False),
    "the second is queued": ((100,), True),
    "two have ended": ((100, 200), False),
    "the second was killed": ((100, None), False),
    "the third is queued": ((100, 200), True),
}


def pushed(play: Play) -> list[tuple[str, int, str | None]]:
    """Kernel, session and parent of every push so far."""
    stamps = [read_stamp(push.source) for push in play.kaggle.pushes]
    return [(stamp.kernel, stamp.session, stamp.parent) for stamp in stamps if stamp is not None]


def start(play: Play, ends: Sequence[int | str | None], *, queued: bool) -> None:
    """Let a run have come so far, on an account with other kernels."""
    play.kaggle.storage = Storage()
    play.kaggle.save("asha/something-else")
    for end in ends:
        version = play.pushed(retry=True)
        if end is None:
            play.kaggle.kill(version)
        elif isinstance(end, int):
            play.kaggle.complete(version, end)
    if queued:
        play.pushed()
    play.kaggle.asked.clear()


def copied(play: Play, folder: Path) -> Play:
    """Give the same run to be played on, with a ledger of its own."""
    folder.mkdir()
    for ledger in play.folder.glob("*.db"):
        shutil.copy(ledger, folder)
    other = Play(folder, clock=copy.copy(play.clock), machine=play.machine)
    kernels = play.kaggle.kernels.items()
    other.kaggle.kernels = {ref: [copy.copy(version) for version in versions] for ref, versions in kernels}
    other.kaggle.pushes = [*play.kaggle.pushes]
    other.kaggle.storage = Storage()
    return other


def stale(kaggle: FakeKaggle, call: str) -> list[Answer]:
    """Give the answer of a moment ago to a look at a kernel, if it has more than one version."""
    ref = KernelRef.parse(call.split()[1])
    before = len(kaggle.kernels.get(ref.kernel, ())) - 1
    if ref.version is not None or before < 1:
        return []
    return [Answer(replace(kaggle.kernel(ref.at(before)), latest_version=before))]


@pytest.mark.parametrize("machine", [None, "laptop"], ids=["a fresh machine", "the machine that pushed"])
@pytest.mark.parametrize("name", RUNS)
def test_no_single_answer_makes_a_pass_push_another_session(
    tmp_path: Path, name: str, machine: str | None
) -> None:
    """Each call is answered wrongly in each way: the push is the due one or none, and made later if none."""
    (tmp_path / "start").mkdir()
    play = Play(tmp_path / "start", machine=machine)
    ends, queued = RUNS[name]
    start(play, ends, queued=queued)
    before, clean = pushed(play), copied(play, tmp_path / "clean")
    clean.sync()
    due, calls = pushed(clean), clean.kaggle.asked
    reads = calls[: next((i for i, text in enumerate(calls) if text.startswith("push")), len(calls))]
    tried, occurrences = 0, Counter[str]()
    for call in reads:
        method = METHODS[call.split()[0]]
        occurrences[method] += 1
        odd = stale(play.kaggle, call) if method == "kernel" else ODD.get(method, ())
        for fault in (*ERRORS, *odd):
            tried += 1
            other = copied(play, tmp_path / str(tried))
            other.kaggle.next(method, *[lambda: None] * (occurrences[method] - 1), fault)
            with suppress(ServiceError, UsageError):  # Others would be a refusal to wait.
                other.sync()
            assert pushed(other) in (before, due), (call, fault)
            other.sync()
            assert pushed(other) == due, (call, fault, "the pass after it")
    assert tried >= 12


def test_a_403_is_absence_only_if_the_accounts_list_agrees(play: Play) -> None:
    """A kernel that does not exist is answered so, and one that was pushed a moment ago, too."""
    play.kaggle.save("asha/something-else")
    play.kaggle.always("kernel", ForbiddenError("403"))
    snapshot = Snapshot(play.kaggle)
    assert snapshot.kernel(FIRST) == NotThere()
    play.kaggle.save(str(FIRST))
    assert isinstance(Snapshot(play.kaggle).kernel(FIRST), CannotTell)
    play.kaggle.always("my_kernels", ServiceError("500"))
    with pytest.raises(ServiceError, match="cannot be told"):
        certain(Snapshot(play.kaggle).kernel(FIRST))
    assert snapshot.kernel(FIRST) == NotThere()  # One look is one look.


def test_an_answer_older_than_what_was_pushed_from_here_is_not_believed(after: After) -> None:
    """The ledger is asked; a fresh machine cannot know."""
    play = after(100, 200)
    play.machine = "laptop"
    version = play.pushed()
    assert version == "asha/bangla-tts-a/2"
    (answer,) = stale(play.kaggle, f"kernel {FIRST}")
    play.kaggle.next("kernel", answer)
    with play.ledger() as ledger:
        seen = RunContext(play.kaggle, ledger, play.clock).snapshot().kernel(FIRST)
    assert isinstance(seen, CannotTell)
    assert "older" in seen.error.message
    play.kaggle.next("kernel", answer)
    assert isinstance(Snapshot(play.kaggle).kernel(FIRST), There)


def test_a_run_that_this_machine_pushed_is_not_begun_again(play: Play) -> None:
    """Not even if Kaggle shows nothing of it by two answers: a person has to ask for another run."""
    play.machine = "laptop"
    play.kaggle.save("asha/something-else")
    play.pushed()
    play.kaggle.kernels.pop(FIRST)
    with pytest.raises(UsageError, match="shows nothing of run") as caught:
        play.sync()
    assert "--new" in (caught.value.hint or "")
    assert play.sync(new=True).state is RunState.RUNNING


@pytest.mark.parametrize("data", [b"{}", b"<html></html>", b'{"schema": 1, "run": {"id": "x"}}'])
def test_a_damaged_state_of_a_completed_session_is_named_and_waited_for(after: After, data: bytes) -> None:
    """It is no session that saved nothing: up to twelve GPU hours lie in its outputs."""
    play = after(100)
    version = play.pushed()
    play.kaggle.complete(version, 200)
    play.kaggle.version(version).outputs = {"state.json": data}
    with pytest.raises(ServiceError, match=r"state\.json of asha/bangla-tts-b/1 cannot be used"):
        play.sync()
    assert len(play.kaggle.pushes) == 2


def test_a_damaged_state_of_a_killed_session_is_said_and_done_without(after: After) -> None:
    """Read twice the same, it is what the session left."""
    play = after(100)
    play.kaggle.kill(play.pushed(), keep=b"{")
    done = play.sync()
    assert done.pushed is not None
    (warning,) = done.warnings
    assert "state.json of asha/bangla-tts-b/1 cannot be used: it is not a JSON object" in warning


def test_a_quota_that_cannot_be_read_delays_a_push_and_nothing_else(after: After) -> None:
    """It is no fault of the run, and a running session does not need it."""
    play = after(100)
    play.kaggle.next("quota", ServiceError("Kaggle failed (500)."))
    done = play.sync()
    assert (done.state, done.pushed) == (RunState.WAITING, None)
    assert "not known" in done.decision.reason
    play.pushed()
    play.kaggle.next("quota", ServiceError("Kaggle failed (500)."))
    assert play.sync().state is RunState.RUNNING


def test_a_push_without_an_answer_and_then_a_403_is_not_safe_to_repeat(play: Play) -> None:
    """Right after a push, Kaggle has answered 403 for a while."""
    kaggle: FakeKaggle = play.kaggle
    kaggle.next("push", ServiceError("The connection broke."))
    play.machine = "laptop"
    kaggle.save("asha/something-else")
    kaggle.next("kernel", lambda: None, ForbiddenError("403"))
    with pytest.raises(ServiceError, match="is not known") as caught:
        play.sync()
    assert "do not push again" in (caught.value.hint or "")
