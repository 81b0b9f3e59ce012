"""A run is watched to its end, through waits and hours without Kaggle."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from orchestrator.errors import RunFailedError, ServiceError, WaitTimeoutError
from orchestrator.models import KernelRef, SessionState, SessionStatus
from orchestrator.run.context import RunContext, Target
from orchestrator.run.decide import RunState
from orchestrator.run.look import Pass
from orchestrator.run.progress import Progress
from orchestrator.run.watch import Passes, SessionEnd, watch
from tests.fakes.sessions import FOREVER, hours
from tests.run.conftest import Play

HOUR_S = 3600.0


@dataclass
class Spectator:
    """Records what it is told, and ends each session as the test says."""

    end: Callable[[str], SessionEnd]
    states: list[RunState] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)
    unreached: int = 0

    def passed(self, done: Pass) -> None:
        """Record the run's state after a pass."""
        self.states.append(done.state)

    def unreachable(self, error: ServiceError) -> None:
        """Count the passes that could not reach Kaggle."""
        self.unreached += 1

    def follow(self, target: Target, timeout: timedelta | None) -> SessionEnd:
        """Let the session end."""
        self.followed.append(str(target.ref))
        return self.end(str(target.ref))


@pytest.fixture
def passes(play: Play) -> Iterator[Passes]:
    """Return passes over a run of three epochs."""
    play.changes["training.epochs"] = 3
    with play.ledger() as ledger:
        yield Passes(play.settings, RunContext(play.kaggle, ledger, play.clock, play.folder))


@pytest.fixture
def spectator(play: Play) -> Spectator:
    """A spectator of sessions that train one epoch each; the third is the last."""

    def end(version: str) -> SessionEnd:
        step = 100 * len(play.kaggle.pushes)
        last = {"done": True, "done_reason": "epochs"} if step == 300 else {}
        play.kaggle.complete(version, step, **last)
        return ended(version, SessionState.COMPLETE)

    return Spectator(end)


def ended(version: str, state: SessionState, *tail: str) -> SessionEnd:
    """Return how a session ended."""
    return SessionEnd(Target(KernelRef.parse(version), None), SessionStatus(state), Progress(), tail)


def test_a_run_is_watched_from_session_to_session(passes: Passes, spectator: Spectator) -> None:
    """Each is followed, the next one is pushed when it has ended, and the end is no error."""
    watch(passes, spectator)
    assert spectator.followed == ["asha/bangla-tts-a/1", "asha/bangla-tts-b/1", "asha/bangla-tts-a/2"]
    assert spectator.states == [*[RunState.RUNNING] * 3, RunState.DONE]


def test_a_kaggle_that_is_never_reached_is_given_up(play: Play, passes: Passes, spectator: Spectator) -> None:
    """After about four hours of growing waits it ends; nothing was pushed or followed."""
    play.kaggle.connection.down = [(0.0, FOREVER)]
    with pytest.raises(ServiceError, match="network is gone"):
        watch(passes, spectator)
    assert 3 * HOUR_S < play.clock.passed < 6 * HOUR_S
    assert play.clock.waits == sorted(play.clock.waits)
    assert max(play.clock.waits) == 900
    assert (spectator.unreached, spectator.followed, play.kaggle.pushes) == (20, [], [])


def test_a_network_that_comes_back_is_forgiven(play: Play, passes: Passes, spectator: Spectator) -> None:
    """Every outage counts on its own."""
    spectator_end = spectator.end

    def end(version: str) -> SessionEnd:
        now = play.clock.passed
        play.kaggle.connection.down = [(now, now + 3 * HOUR_S)]
        return spectator_end(version)

    spectator.end = end
    watch(passes, spectator)
    assert spectator.states[-1] is RunState.DONE
    assert spectator.unreached > 30


def test_short_quota_is_waited_for_in_steps(play: Play, passes: Passes, spectator: Spectator) -> None:
    """It looks at least every quarter of an hour, since hours may be given back."""
    turns = play.clock.now() + timedelta(hours=2)
    play.kaggle.week = lambda: hours(0, refreshes_at=turns) if play.clock.now() < turns else hours(30)
    watch(passes, spectator)
    assert spectator.states[-1] is RunState.DONE
    assert spectator.states.count(RunState.WAITING) in (8, 9)
    assert max(play.clock.waits) <= 900


def test_a_watch_ends_when_its_time_is_over(play: Play, passes: Passes, spectator: Spectator) -> None:
    """It ends on time even in a wait, and the hint says how to return."""
    play.kaggle.week = hours(0)
    with pytest.raises(WaitTimeoutError) as caught:
        watch(passes, spectator, timeout=timedelta(minutes=40))
    assert "kgtts watch" in (caught.value.hint or "")
    assert play.clock.passed == pytest.approx(40 * 60, abs=30)


def test_a_failed_session_ends_the_watch_with_the_end_of_its_log(
    play: Play, passes: Passes, spectator: Spectator
) -> None:
    """The error has the last lines of the log."""

    def end(version: str) -> SessionEnd:
        play.kaggle.fail(version, "The disk is full.")
        return ended(version, SessionState.ERROR, "saving", "No space left on device")

    spectator.end = end
    with pytest.raises(RunFailedError, match="No space left on device") as caught:
        watch(passes, spectator)
    assert caught.value.hint == "kgtts logs asha/bangla-tts-a/1"
    assert len(play.kaggle.pushes) == 1
