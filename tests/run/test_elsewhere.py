"""What happens beside a pass: pushes from other machines at the same moment, and runs that are deleted."""

from collections.abc import Callable

import pytest

from orchestrator.errors import UsageError
from orchestrator.models import KernelRef, SessionState
from orchestrator.run.context import RunContext, Target
from orchestrator.run.decide import RunState
from orchestrator.run.follow import session_status
from orchestrator.run.target import delete
from orchestrator.run.watch import Passes, SessionEnd, watch
from tests.run.conftest import Play
from tests.run.test_watch import Spectator, ended

FIRST = KernelRef("asha", "bangla-tts-a")
After = Callable[..., Play]


@pytest.fixture
def elsewhere(play: Play) -> Play:
    """Another machine on the same run."""
    play.machine = "laptop"
    other = Play(play.folder, clock=play.clock, machine="elsewhere")
    other.kaggle = play.kaggle
    return other


def test_two_first_pushes_at_the_same_moment_are_told(play: Play, elsewhere: Play) -> None:
    """The later one names the other at once, and the other machine does so with every pass until it ends."""
    play.kaggle.next("push", elsewhere.pushed)
    done = play.sync()
    assert done.pushed is not None
    assert str(done.pushed.target.ref) == f"{FIRST}/2"
    assert [f"`kgtts stop {FIRST}/1` ends the other" in words for words in done.warnings] == [True]
    assert play.sync().warnings == ()
    assert f"{FIRST}/1 of run " in elsewhere.sync().warnings[0]
    play.kaggle.kill(f"{FIRST}/1")
    assert elsewhere.sync().warnings == ()
    calls = len(play.kaggle.pushes)
    assert (calls, elsewhere.sync().pushed) == (2, None)


def test_two_next_sessions_at_the_same_moment_are_told(after: After, elsewhere: Play) -> None:
    """Both are session 2 of one run; the run goes on with the later one."""
    play = after(100)
    play.kaggle.next("push", elsewhere.pushed)
    done = play.sync()
    assert done.pushed is not None
    assert any("was pushed at the same moment from elsewhere" in words for words in done.warnings)
    play.kaggle.complete(str(done.pushed.target.ref), 200)
    assert elsewhere.look().decision.reason.startswith("Session 3 continues from step 200")


def gone(play: Play, version: str) -> None:
    """Delete a kernel as `kgtts delete` does on this machine."""
    with play.ledger() as ledger:
        ref = KernelRef.parse(version)
        delete(RunContext(play.kaggle, ledger, play.clock), Target(ref, ledger.of_kernel(ref)))


def test_what_was_deleted_from_here_is_begun_again_only_by_a_push(play: Play) -> None:
    """No pass of a schedule, and no watch, trains again what a person removed."""
    play.machine = "laptop"
    gone(play, play.pushed())
    with pytest.raises(UsageError, match="was deleted from here") as caught:
        play.sync()
    assert caught.value.hint == "`kgtts push` begins another run"
    assert play.pushed(retry=True) == f"{FIRST}/1"
    assert play.sync().state is RunState.RUNNING


def test_a_run_that_vanishes_while_it_is_watched_is_not_begun_again(play: Play) -> None:
    """It was deleted elsewhere, and this machine's ledger never had it."""
    version = play.pushed()

    def end(_: str) -> SessionEnd:
        play.kaggle.have("asha/another", 1)
        play.kaggle.delete(FIRST)
        return ended(version, SessionState.CANCEL_ACKNOWLEDGED)

    with play.ledger() as ledger:
        passes = Passes(play.settings, RunContext(play.kaggle, ledger, play.clock, play.folder))
        with pytest.raises(UsageError, match="any more, so nothing was pushed"):
            watch(passes, Spectator(end))
    assert len(play.kaggle.pushes) == 1


def test_a_session_that_took_a_deleted_ones_place_is_not_taken_for_it(play: Play) -> None:
    """Version numbers start again: whoever still follows the deleted one is told."""
    play.machine = "laptop"
    version = play.pushed()
    with play.ledger() as ledger:
        context = RunContext(play.kaggle, ledger, play.clock)
        old = Target(KernelRef.parse(version), ledger.of_kernel(KernelRef.parse(version)))
        gone(play, version)
        with pytest.raises(UsageError, match="was deleted from here"):
            session_status(context, old)
        assert play.pushed(retry=True) == version
        with pytest.raises(UsageError, match="was deleted from here"):
            session_status(context, old)
        assert session_status(context, Target(old.ref, ledger.of_kernel(old.ref))).state is not None
