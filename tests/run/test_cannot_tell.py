"""Not seeing is not absence: one wrong answer of Kaggle's makes no pass push what it would not have."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.errors import (
    ForbiddenError,
    NotFoundError,
    ServiceError,
    UsageError,
)
from orchestrator.models import KernelInfo, KernelRef, SessionState, SessionStatus
from orchestrator.run.context import RunContext
from orchestrator.run.decide import RunState
from orchestrator.run.ledger import Intent
from orchestrator.run.snapshot import CannotTell, NotThere, Snapshot, There, certain
from tests.fakes.kaggle import FakeKaggle
from tests.fakes.sessions import LOST, Answer, Happening, Lost
from tests.run.conftest import Play

After = Callable[..., Play]
FIRST = KernelRef("asha", "bangla-tts-a")


def stale(kaggle: FakeKaggle, call: str) -> list[Answer]:
    """Answer a look at a kernel with its state of a moment ago, if it has more than one version."""
    ref = KernelRef.parse(call.split()[1])
    before = len(kaggle.kernels.get(ref.kernel, ())) - 1
    if ref.version is not None or before < 1:
        return []
    return [Answer(replace(kaggle.kernel(ref.at(before)), latest_version=before))]


def test_a_403_is_absence_only_if_the_accounts_list_agrees(play: Play) -> None:
    """Kaggle answers 403 for a kernel that does not exist, and for one that was just pushed."""
    play.kaggle.save("asha/something-else")
    play.kaggle.always("kernel", ForbiddenError("403"))
    snapshot = Snapshot(play.kaggle)
    assert snapshot.kernel(FIRST) == NotThere(is_hidden=True)
    play.kaggle.save(str(FIRST))
    assert isinstance(Snapshot(play.kaggle).kernel(FIRST), CannotTell)
    play.kaggle.always("my_kernels", ServiceError("500"))
    with pytest.raises(ServiceError, match="does not show whether"):
        certain(Snapshot(play.kaggle).kernel(FIRST))
    assert snapshot.kernel(FIRST) == NotThere(is_hidden=True)  # One look is one look.


@pytest.mark.parametrize(
    ("method", "happening"),
    [
        ("kernel", ServiceError("503", status=503)),
        ("kernel", ServiceError("cut off")),
        ("my_kernels", ServiceError("500", status=500)),
        ("session_status", Answer(SessionStatus(SessionState.COMPLETE))),
        ("session_status", ForbiddenError("403")),
        ("session_status", ServiceError("500", status=500)),
    ],
    ids=["503", "cut off", "no list", "a session", "a 403 for the session", "no status"],
)
def test_a_kernel_that_kaggle_fails_to_read_is_absent_only_if_three_answers_agree(
    play: Play, method: str, happening: Happening
) -> None:
    """A push that a limit refused leaves a name without a version, of which Kaggle answers 500."""
    play.kaggle.save("asha/something-else")
    play.kaggle.always("kernel", ServiceError("500", status=500))
    assert Snapshot(play.kaggle).kernel(FIRST) == NotThere(is_hidden=True, is_half_made=True)
    play.kaggle.always(method, happening)
    assert isinstance(Snapshot(play.kaggle).kernel(FIRST), CannotTell)


def test_a_kernel_that_is_listed_or_was_pushed_from_here_is_not_half_made(play: Play) -> None:
    """Kaggle fails to read it for another reason, and has its session."""
    play.machine = "laptop"
    play.kaggle.save("asha/something-else")
    without = Answer(play.kaggle.my_kernels())
    play.pushed()
    play.kaggle.always("kernel", ServiceError("500", status=500))
    play.kaggle.always("session_status", NotFoundError("404"))
    assert isinstance(Snapshot(play.kaggle).kernel(FIRST), CannotTell)
    play.kaggle.always("my_kernels", without)
    assert isinstance(Snapshot(play.kaggle).kernel(FIRST), NotThere)
    with play.ledger() as ledger:
        assert isinstance(Snapshot(play.kaggle, ledger).kernel(FIRST), CannotTell)


def test_an_answer_older_than_what_was_pushed_from_here_is_not_believed(after: After) -> None:
    """The ledger knows a newer version; a fresh machine cannot know."""
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


def test_however_long_kaggle_calls_an_older_version_the_newest_it_is_not_continued(after: After) -> None:
    """All looks may lag alike; only a question for the version after it shows that there is one."""
    play = after(100, 200, 300)
    (answer,) = stale(play.kaggle, f"kernel {FIRST}")
    look = play.kaggle._info

    def info(ref: KernelRef, *, with_source: bool = True) -> KernelInfo:
        return answer.value if ref == FIRST else look(ref, with_source=with_source)

    play.kaggle._info = info  # type: ignore[method-assign] # A fake of the tests.
    with pytest.raises(ServiceError, match="it has a version 2"):
        play.sync()
    assert len(play.kaggle.pushes) == 3


def test_a_session_of_a_kernel_that_no_answer_shows_keeps_a_first_push_back(play: Play) -> None:
    """Neither the kernel nor the list may show a push of a moment ago yet; its session may."""
    play.kaggle.save("asha/something-else")
    play.kaggle.always("my_kernels", Answer(play.kaggle.my_kernels()))
    play.kaggle.always("kernel", NotFoundError("404"))
    play.kaggle.save(str(FIRST)).state = SessionState.COMPLETE
    with pytest.raises(ServiceError, match="it has a session"):
        play.sync()
    assert play.kaggle.pushes == []


@pytest.mark.parametrize("sibling", FIRST.base.siblings, ids=str)
def test_a_version_that_is_saved_while_inputs_are_looked_at_keeps_a_push_back(
    after: After, sibling: KernelRef
) -> None:
    """The last look has to show the versions of the looks before it, of both kernels."""
    play = after(100, 200)

    def save() -> None:
        play.kaggle.save(str(sibling))

    play.kaggle.next("model_files", save)
    with pytest.raises(ServiceError, match="its newest version is 2 now"):
        play.sync(overwrite=True)
    assert len(play.kaggle.pushes) == 2


def test_a_run_that_this_machine_pushed_is_not_begun_again(play: Play) -> None:
    """Even if two answers show nothing of it, only a person can start another run."""
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
    """Its outputs may hold twelve GPU hours, so it does not count as a session that saved nothing."""
    play = after(100)
    version = play.pushed()
    play.kaggle.complete(version, 200)
    play.kaggle.version(version).outputs = {"state.json": data}
    with pytest.raises(ServiceError, match=r"state\.json of asha/bangla-tts-b/1 cannot be used"):
        play.sync()
    assert len(play.kaggle.pushes) == 2


def test_an_empty_state_is_read_twice_too(after: After) -> None:
    """What a killed session saved counts for nothing only if the file is damaged at both reads."""
    play = after(100)
    version = play.pushed()
    play.kaggle.kill(version, keep=json.dumps(play.kaggle.state_of(version, 150)).encode())
    ref = KernelRef.parse(version)
    play.kaggle.next("output_file", Answer(b""))
    seen = Snapshot(play.kaggle).state(ref)
    assert isinstance(seen, There)
    assert seen.value.global_step == 150
    play.kaggle.next("output_file", Answer(b""), Answer(b""))
    assert isinstance(Snapshot(play.kaggle).state(ref), NotThere)


def test_a_damaged_state_of_a_killed_session_is_said_and_done_without(after: After) -> None:
    """If it is read twice the same, it is what the session left."""
    play = after(100)
    play.kaggle.kill(play.pushed(), keep=b"{")
    done = play.sync()
    assert done.pushed is not None
    (warning,) = done.warnings
    assert "state.json of asha/bangla-tts-b/1 cannot be used: it is not a JSON object" in warning


def test_a_quota_that_cannot_be_read_delays_a_push_and_nothing_else(after: After) -> None:
    """The run is not to blame, and a running session does not need it."""
    play = after(100)
    play.kaggle.next("quota", ServiceError("Kaggle failed (500)."))
    done = play.sync()
    assert (done.state, done.pushed) == (RunState.WAITING, None)
    assert "not known" in done.decision.reason
    play.pushed()
    play.kaggle.next("quota", ServiceError("Kaggle failed (500)."))
    assert play.sync().state is RunState.RUNNING


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed"])
def test_a_push_without_an_answer_and_then_a_403(play: Play, *, listed: bool) -> None:
    """Kaggle answers so after a push and for what is absent: the list decides, after a while."""
    kaggle: FakeKaggle = play.kaggle
    play.machine = "laptop"
    kaggle.save("asha/something-else")
    kaggle.next("push", Lost(LOST) if listed else LOST)
    kaggle.next("kernel", *[lambda: None] * 4)  # What a first push looks at.
    kaggle.always("kernel", ForbiddenError("403"))
    waited = play.clock.passed
    with pytest.raises(ServiceError, match="is not known" if listed else "did not arrive") as caught:
        play.sync()
    assert ("do not push again" in (caught.value.hint or "")) is listed
    assert (play.clock.passed - waited > 30) is not listed
    if listed:  # The intent stands: no pass pushes before it is known.
        with pytest.raises(ServiceError):
            play.sync()
    assert len(kaggle.pushes) == listed
    kaggle.always("kernel", None)
    assert (play.sync().pushed is not None) is not listed


def test_an_open_push_is_looked_for_before_another(play: Play) -> None:
    """A pass was killed right after its push; if the next sees nothing of it, it waits."""
    play.machine = "laptop"
    play.kaggle.save("asha/something-else")
    play.pushed()
    with play.ledger() as ledger:
        (record,) = ledger.all()
        stamp = Intent(record.run_id, 1, FIRST, record.accelerator, record.fingerprint)
        ledger.intend(stamp, play.clock.now())
    unseen = [NotFoundError("404"), *[ForbiddenError("403")] * 3]
    play.kaggle.next("kernel", *unseen)
    play.kaggle.always("my_kernels", Answer([play.kaggle._info(KernelRef("asha", "something-else"))]))
    play.kaggle.next("session_status", *[NotFoundError("404")] * 2)
    with pytest.raises(ServiceError):
        play.sync()
    assert len(play.kaggle.pushes) == 1
