"""A session is stopped by the id that it prints, and only a person starts the next one."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from kernel_template.events import SessionEvent
from orchestrator.errors import (
    ForbiddenError,
    RefusedError,
    ServiceError,
    UsageError,
    WaitTimeoutError,
)
from orchestrator.models import KernelRef, OutputFile, SessionState
from orchestrator.run.context import RunContext, Target
from orchestrator.run.decide import RunState
from orchestrator.run.stop import Stopped, session_at_work, stop_session
from orchestrator.run.target import delete
from tests.fakes.kaggle import FakeKaggle
from tests.fakes.sessions import Answer, Lost, said
from tests.run.conftest import Play

STOPS_BY_S = 36_000


def introduced(number: int | None, *, at_s: float = 0.0, stops_by_s: int = STOPS_BY_S) -> list[object]:
    """Return the log of a session that prints Kaggle's id, and something else `at_s` seconds later."""
    event = {"event": "session", "t": 0.0, **SessionEvent(number, stops_by_s).fields()}
    return [*said("Booting", f"@kgtts {json.dumps(event)}", "Training"), *said("still here", start=at_s)]


def at_work(play: Play, **log: float) -> str:
    """Push a session that runs and has printed its id; returns its version."""
    ref = play.pushed(retry=True)
    version = play.kaggle.version(ref)
    version.state, version.log = SessionState.RUNNING, introduced(version.session, **log)  # type: ignore[assignment, arg-type]
    return ref


def stop(play: Play, ref: str, tell: Callable[[str], None] = lambda _: None) -> Stopped:
    """Stop a version from a machine without a ledger."""
    with play.ledger() as ledger:
        context = RunContext(play.kaggle, ledger, play.clock)
        return stop_session(context, Target(KernelRef.parse(ref), None), tell=tell)


def listing(*names: str) -> Answer:
    """Return a listing of outputs."""
    return Answer([OutputFile(name, f"https://fake.example/{name}") for name in names])


def test_a_session_is_stopped_by_the_id_that_it_tells(play: Play) -> None:
    """Its kernel and everything it saved stay, and the step is that of its checkpoint."""
    ref = at_work(play)
    play.kaggle.version(ref).outputs = {"state.json": json.dumps(play.kaggle.state_of(ref, 200)).encode()}
    done = stop(play, ref)
    assert (str(done.target.ref), done.step, done.already) == (ref, 200, False)
    assert f"cancel {play.kaggle.version(ref).session}" in play.kaggle.asked
    assert play.kaggle.version(ref).state is SessionState.CANCEL_ACKNOWLEDGED


def test_what_is_being_saved_is_waited_for(play: Play) -> None:
    """CANCEL_REQUESTED lasts while the listing grows; two equal listings at the end are needed."""
    ref = at_work(play)
    requested = SessionState.CANCEL_REQUESTED
    play.kaggle.next("cancel_session", Answer(None))
    play.kaggle.next_states(SessionState.RUNNING, requested, requested, SessionState.CANCEL_ACKNOWLEDGED)
    many = [f"{number}.txt" for number in range(54)]
    play.kaggle.next("outputs", listing(), listing(*many[:29]), listing(*many[:29]), listing(*many))
    play.kaggle.always("outputs", listing(*many))
    told: list[str] = []
    assert stop(play, ref, told.append).outputs == 54
    assert told[-1] == "Kaggle has saved 29 files so far."


def test_a_listing_that_fails_in_between_is_not_counted(play: Play) -> None:
    """After an error two equal listings are needed again; an empty one is not believed at once."""
    ref = at_work(play)
    gone = ServiceError("gone")
    answers: Sequence[object] = [listing(), listing(), listing("a"), gone, listing("a"), listing("a", "b")]
    play.kaggle.next("outputs", *answers)  # type: ignore[arg-type]
    play.kaggle.always("outputs", listing("a", "b"))
    assert stop(play, ref).outputs == 2


def test_a_kernel_that_is_deleted_meanwhile_is_not_waited_for(play: Play) -> None:
    """Another command of this machine deletes it while its outputs are awaited."""
    play.machine = "laptop"
    ref = KernelRef.parse(at_work(play))
    with play.ledger() as ledger:
        context, target = RunContext(play.kaggle, ledger, play.clock), Target(ref, ledger.of_kernel(ref))
        play.kaggle.next("outputs", lambda: delete(context, target))
        with pytest.raises(UsageError, match="was deleted from here"):
            stop_session(context, target, tell=lambda _: None)
    assert play.clock.passed < timedelta(minutes=5).total_seconds()


def test_kaggle_may_not_be_done_within_half_an_hour(play: Play) -> None:
    """Then the wait ends with the session's state; the command can be repeated."""
    ref = at_work(play)
    play.kaggle.next_states(SessionState.RUNNING, SessionState.CANCEL_REQUESTED)
    with pytest.raises(ServiceError, match="half an hour later it is cancel_requested"):
        stop(play, ref)
    assert play.clock.passed < timedelta(minutes=40).total_seconds()


def test_a_login_that_may_not_stop_is_told_why_and_where_to_do_it(play: Play) -> None:
    """For a legacy key or another account, the error names the page."""
    ref = at_work(play)
    play.kaggle.always("cancel_session", ForbiddenError("no (403)"))
    with pytest.raises(RefusedError, match="never a username with a key") as caught:
        stop(play, ref)
    assert f"kgtts open {ref}" in (caught.value.hint or "")
    play.kaggle.username = "omar"
    with pytest.raises(RefusedError, match="belongs to asha, and you are omar"):
        stop(play, ref)
    assert play.kaggle.version(ref).state is SessionState.RUNNING


def test_a_lost_answer_counts_if_the_session_ends(play: Play) -> None:
    """A stop that did not arrive is an error, and the session continues."""
    ref = at_work(play)
    play.kaggle.next("cancel_session", ServiceError("no network"))
    with pytest.raises(ServiceError, match="no network"):
        stop(play, ref)
    play.kaggle.next("cancel_session", Lost(ServiceError("no answer")))
    assert stop(play, ref).step == 0


def test_a_session_that_tells_no_id_cannot_be_stopped_from_here(play: Play) -> None:
    """For an older kernel, or a machine without the id, the error names the page."""
    for log in (introduced(None), said('@kgtts {"event": "stage", "name": "gpu"}')):
        ref = str(play.kaggle.saved_as or "asha/other-kernel")
        play.kaggle.have(ref, 1).state = SessionState.RUNNING
        play.kaggle.version(f"{ref}/1").log = log  # type: ignore[assignment]
        with pytest.raises(RefusedError, match="does not show Kaggle's id") as caught:
            stop(play, f"{ref}/1")
        assert "kgtts open" in (caught.value.hint or "")


def test_a_queued_session_has_no_id_yet(play: Play) -> None:
    """The wait for its id is bounded, and the message says so."""
    ref = play.pushed()
    told: list[str] = []
    with pytest.raises(WaitTimeoutError, match="within 120 seconds"):
        stop(play, ref, told.append)
    assert "queued" in told[0]
    assert play.clock.passed < timedelta(minutes=5).total_seconds()


def test_what_is_not_at_work_is_not_stopped(play: Play) -> None:
    """The error gives a finished session's state, also of one that was stopped before."""
    ref = at_work(play)
    play.kaggle.complete(ref, 100)
    with pytest.raises(UsageError, match="not running: Kaggle says complete"):
        stop(play, ref)
    second = at_work(play)
    stop(play, second)
    again = stop(play, second)
    assert (again.already, again.step) == (True, 100)
    assert sum(call.startswith("cancel") for call in play.kaggle.asked) == 1


def test_the_session_at_work_is_found_whoever_pushed_it(play: Play) -> None:
    """Another machine's session 2 is found; one of another run is never used."""
    play.machine = "laptop"
    first = at_work(play)
    play.kaggle.complete(first, 100)
    play.machine = None
    second = at_work(play)
    play.machine = "laptop"
    with play.ledger() as ledger:
        context = RunContext(play.kaggle, ledger, play.clock)
        target = Target(KernelRef.parse(first), ledger.newest())
        assert str(session_at_work(context, target, None).ref) == second
        assert str(session_at_work(context, target, first).ref) == first
        stop_session(context, Target(KernelRef.parse(second), None))
    play.machine = None
    other = at_work_as_another_run(play)
    play.machine = "laptop"
    with play.ledger() as ledger:
        context = RunContext(play.kaggle, ledger, play.clock)
        assert str(session_at_work(context, target, None).ref) == first != other


def at_work_as_another_run(play: Play) -> str:
    """Start another run on the same kernels."""
    ref = play.pushed(new=True)
    play.kaggle.version(ref).state = SessionState.RUNNING
    return ref


def test_a_passing_sync_does_not_continue_what_a_person_stopped(play: Play) -> None:
    """No machine's pass continues it; `kgtts push` does, from the last checkpoint."""
    first = at_work(play)
    play.kaggle.complete(first, 100)
    stop(play, at_work(play, at_s=5000))
    for _ in range(2):
        done = play.sync()
        assert (done.state, done.pushed) == (RunState.STOPPED, None)
        assert done.decision.reason == "Session 2 was stopped. `kgtts push` continues from step 100."
        assert done.state.is_over
    assert play.pushed(retry=True).endswith("-b/2")


@pytest.mark.parametrize(
    ("at_s", "stopped"),
    [(5000.0, True), (STOPS_BY_S - 700.0, True), (STOPS_BY_S - 500.0, False), (STOPS_BY_S + 300.0, False)],
)
def test_a_time_out_is_no_stop(play: Play, at_s: float, *, stopped: bool) -> None:
    """Kaggle calls both cancelled, but a session that reached its limit is continued."""
    play.kaggle.complete(at_work(play), 100)
    ref = at_work(play, at_s=at_s)
    play.kaggle.kill(ref, state=SessionState.CANCEL_ACKNOWLEDGED)
    assert (play.look().state is RunState.STOPPED) is stopped


def test_a_cancelled_session_without_a_word_is_continued(play: Play) -> None:
    """An older kernel does not say when it would have ended, so nothing shows a person's stop."""
    play.kaggle.complete(play.pushed(), 100)
    play.kaggle.kill(play.pushed(), state=SessionState.CANCEL_ACKNOWLEDGED)
    assert play.look().state is RunState.READY


def test_a_log_that_cannot_be_read_decides_nothing(play: Play) -> None:
    """Without the log nobody knows whether a person stopped it, so the pass changes nothing."""
    ref = at_work(play)
    play.kaggle.kill(ref, state=SessionState.CANCEL_ACKNOWLEDGED)
    play.kaggle.always("stored_log", ForbiddenError("no (403)"))
    with pytest.raises(ServiceError):
        play.sync()
    assert len(play.kaggle.pushes) == 1


def test_the_fake_has_its_own_ids() -> None:
    """No two sessions have the same id."""
    kaggle = FakeKaggle()
    assert len({kaggle.save("asha/some-kernel").session for _ in range(3)}) == 3
