"""Before a kernel's first push: other sessions of the account that leave no machine."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from orchestrator.errors import ServiceError
from orchestrator.models import SessionState
from orchestrator.run.decide import RunState
from tests.run.conftest import Play

After = Callable[..., Play]
T4 = "NvidiaTeslaT4"


def occupy(play: Play, count: int, state: SessionState = SessionState.RUNNING) -> None:
    """Let other kernels of the account have a session in this state."""
    for number in range(count):
        play.kaggle.save(f"asha/other-kernel-{number}", state=state)


@pytest.mark.parametrize("state", [SessionState.RUNNING, SessionState.QUEUED, SessionState.CANCEL_REQUESTED])
@pytest.mark.parametrize("sessions", [0, 1])
def test_two_gpu_sessions_delay_a_first_push(after: After, sessions: int, state: SessionState) -> None:
    """Nothing is sent, since Kaggle would refuse it and keep the name; the pass after their end pushes."""
    play = after(*[100] * sessions)
    play.kaggle.machine = T4
    occupy(play, 2, state)
    done = play.sync()
    assert (done.state, done.pushed, len(play.kaggle.pushes)) == (RunState.WAITING, None, sessions)
    assert "2 sessions with a GPU" in done.decision.reason
    assert "asha/other-kernel-0" in done.decision.reason
    play.kaggle.version("asha/other-kernel-1/1").state = SessionState.COMPLETE
    assert play.pushed() == f"asha/bangla-tts-{'ab'[sessions]}/1"


def test_sessions_without_a_gpu_do_not_count_for_one_with(play: Play) -> None:
    """Kaggle counts them apart, and lends five at once."""
    occupy(play, 4)
    play.pushed()
    play.kaggle.kernels.clear()
    play.changes["kernel.accelerator"] = '"none"'
    occupy(play, 5)
    assert "5 sessions without a GPU" in play.sync().decision.reason


def test_a_kernel_that_has_a_version_is_pushed_to(after: After) -> None:
    """A refusal does no harm there, and Kaggle knows best whether a machine is free."""
    play = after(100, 200)
    play.kaggle.machine = T4
    occupy(play, 2)
    assert play.pushed() == "asha/bangla-tts-a/2"


def test_sessions_of_yesterday_are_not_asked_about(play: Play) -> None:
    """None takes so long."""
    play.kaggle.machine = T4
    occupy(play, 3)
    play.clock.advance(timedelta(hours=14).total_seconds())
    play.pushed()
    assert not [call for call in play.kaggle.asked if "other-kernel" in call]


@pytest.mark.parametrize(
    ("machine", "state"),
    [("None", SessionState.RUNNING), (T4, SessionState.NEW_SCRIPT)],
    ids=["CPU", "saved"],
)
def test_what_uses_no_gpu_now_delays_nothing(play: Play, machine: str, state: SessionState) -> None:
    """Kaggle calls having no GPU a machine, too; and a version that was only saved has not run."""
    play.kaggle.machine = machine
    occupy(play, 3, state)
    play.pushed()


def test_a_state_that_is_not_told_delays_nothing(play: Play) -> None:
    """Kaggle refuses the push if there is no machine."""
    play.kaggle.machine = T4
    occupy(play, 2)
    own = (lambda: None, lambda: None)  # The states of the run's two kernels are told.
    play.kaggle.next("session_status", *own, ServiceError("The network is gone."))
    play.pushed()
