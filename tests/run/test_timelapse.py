"""The time-lapse plays short runs to their end, with faults too."""

from datetime import timedelta

from benchmarks import timelapse
from benchmarks.simulated_kaggle import EPOCH, START_UP


def test_a_run_of_two_sessions_is_nearly_all_training() -> None:
    """If watched, the second starts as soon as the first ends, and is as long as needed."""
    outcome = timelapse.automatic("watch", 100, None, faulty=False)
    assert outcome.sessions == 2
    assert outcome.trained == outcome.kept == timedelta(minutes=775)
    assert outcome.training >= timelapse.LEAST_TRAINING
    assert outcome.calendar < outcome.billed + timedelta(minutes=10)


def test_a_killed_session_is_trained_again() -> None:
    """The third is late and the fourth is killed: the run still ends in the next week with all epochs."""
    outcome = timelapse.automatic("sync", 300, timedelta(hours=2), faulty=True)
    assert outcome.kept == 300 * EPOCH
    assert outcome.trained - outcome.kept == timedelta(hours=4) - START_UP
    assert outcome.training >= timelapse.LEAST_TRAINING
    assert outcome.calls is not None
    assert outcome.passes is not None
    assert outcome.calls < 8 * outcome.passes


def test_by_hand_steps_after_the_last_checkpoint_are_lost() -> None:
    """By hand, each day's partial interval is trained again the next day."""
    outcome = timelapse.manual(100)
    assert outcome.sessions == 3
    assert timedelta(0) < outcome.trained - outcome.kept < 2 * 500 / 630 * EPOCH
