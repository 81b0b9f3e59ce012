"""The time-lapse brings runs of few epochs to their end, through faults too."""

from datetime import timedelta

from benchmarks import timelapse
from benchmarks.simulated_kaggle import EPOCH, START_UP


def test_a_run_of_two_sessions_is_nearly_all_training() -> None:
    """Watched, the second begins as soon as the first has ended, and takes no longer than it needs."""
    outcome = timelapse.automatic("watch", 100, None, faulty=False)
    assert outcome.sessions == 2
    assert outcome.trained == outcome.kept == timedelta(minutes=775)
    assert outcome.training >= timelapse.LEAST_TRAINING
    assert outcome.calendar < outcome.billed + timedelta(minutes=10)


def test_a_killed_session_is_trained_again() -> None:
    """The third is late, the fourth is killed: the run still ends, in the next week, with all its epochs."""
    outcome = timelapse.automatic("sync", 300, timedelta(hours=2), faulty=True)
    assert outcome.kept == 300 * EPOCH
    assert outcome.trained - outcome.kept == timedelta(hours=4) - START_UP
    assert outcome.training >= timelapse.LEAST_TRAINING
    assert outcome.calls is not None
    assert outcome.passes is not None
    assert outcome.calls < 8 * outcome.passes


def test_by_hand_steps_after_the_last_checkpoint_are_lost() -> None:
    """Each day's partial interval is made again the next day."""
    outcome = timelapse.manual(100)
    assert outcome.sessions == 3
    assert timedelta(0) < outcome.trained - outcome.kept < 2 * 500 / 630 * EPOCH
