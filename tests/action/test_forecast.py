"""When a run will be done: with the numbers of a real run, and with invalid ones."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.models import KernelRef, Quota, SessionState, SessionStatus, SessionSummary
from orchestrator.render.stamp import RunStamp
from orchestrator.run.forecast import Forecast, Terms, Work, forecast, terms_of, work_left
from orchestrator.run.state import SessionResult
from orchestrator.run.view import RunView, SessionView
from orchestrator.settings import Settings

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)  # A Wednesday.
SATURDAY = datetime(2026, 11, 21, tzinfo=UTC)
HOUR = timedelta(hours=1)


def week(left: float, *, allowed: float = 30.0, refreshes_at: datetime | None = SATURDAY) -> Quota:
    """Return a week with this many hours left."""
    return Quota((allowed - left) * HOUR, timedelta(0), allowed * HOUR, refreshes_at)


def view(**changes: object) -> RunView:
    """Return a run whose one session trained 10 epochs of 60 steps in 6,000 s."""
    history = (SessionSummary(1, "asha/voice-a", 0, 600, 0, 10, "budget", 6600.0),)
    result = SessionResult(
        run="3f9c", session=1, status="complete", reason="budget", message="", global_step=600, epoch=10,
        checkpoint="c.pth", sha256=None, done=False, done_reason=None, best_loss=9.0, seconds_per_epoch=600.0,
        seconds=6600.0, history=history,
    )  # fmt: skip
    session = SessionView(
        KernelRef("asha", "voice-a", 1),
        RunStamp("3f9c", 1, None, "0" * 64, "asha/voice-a", "0.1.0"),
        SessionStatus(SessionState.COMPLETE),
        NOW,
        result.model_copy(update=changes),
    )
    return RunView(KernelRef("asha", "voice"), session, session)


def test_without_quota_sessions_follow_each_other() -> None:
    """Whole epochs fill each session, which also needs time to start and end."""
    ahead = forecast(Work(10, 3600), Terms(timedelta(hours=4.5)), NOW)
    assert ahead == Forecast(10, 3, 10.5 * HOUR, NOW + 10.5 * HOUR)


def test_epochs_of_an_odd_length_fill_one_session() -> None:
    """Times are rounded to microseconds, which must not cost the last epoch a session of its own."""
    assert forecast(Work(1000, 1.6655), Terms(timedelta(hours=11), week(30)), NOW).sessions == 1


def test_nothing_left_is_done_now() -> None:
    """A run with nothing left needs no session."""
    assert forecast(Work(0, 60), Terms(HOUR), NOW) == Forecast(0, 0, timedelta(0), NOW)


def test_a_week_that_is_used_up_is_waited_for() -> None:
    """The session that does not fit starts when the quota refreshes, every seven days."""
    terms = Terms(timedelta(hours=10), week(12))
    ahead = forecast(Work(20, 3600), terms, NOW)
    assert (ahead.sessions, ahead.done_at) == (2, SATURDAY + 10 * HOUR + timedelta(minutes=10))
    real = forecast(Work(1000, 465), Terms(timedelta(hours=10, minutes=50), week(30)), NOW)
    assert real.sessions == 13
    assert real.gpu_time == timedelta(seconds=465_000) + 13 * timedelta(minutes=10)
    assert real.done_at is not None
    # Two sessions fit into a week; the last, short one comes after the fifth refresh.
    assert timedelta(days=31) < real.done_at - NOW < timedelta(days=32)


def test_a_session_may_be_shortened_to_the_week() -> None:
    """With `shorten` the week's rest is used if it is worth a session."""
    terms = Terms(timedelta(hours=10), week(5), shorten=True)
    assert forecast(Work(10, 3600), terms, NOW).sessions == 2
    assert forecast(Work(10, 3600), replace(terms, shorten=False), NOW).sessions == 1
    assert forecast(Work(10, 3600), replace(terms, quota=week(0.5)), NOW).sessions == 1


def test_a_date_that_nobody_can_know_is_not_told() -> None:
    """Without a refresh time, or if no week can hold a session, there is no date."""
    for quota in (week(1, refreshes_at=None), week(1, allowed=5)):
        ahead = forecast(Work(10, 3600), Terms(timedelta(hours=10), quota), NOW)
        assert (ahead.sessions, ahead.done_at) == (1, None)


def test_a_running_session_counts_from_its_start() -> None:
    """Its hours are already reserved; a late one ends now at the earliest."""
    terms = Terms(timedelta(hours=10), week(0))
    ahead = forecast(Work(10, 3600), terms, NOW, running_since=NOW - 4 * HOUR)
    assert ahead.done_at == NOW + 6 * HOUR + timedelta(minutes=10)
    assert forecast(Work(1, 60), terms, NOW, running_since=NOW - 40 * HOUR).done_at == NOW
    never = datetime.max.replace(tzinfo=UTC)
    assert forecast(Work(1, 60), terms, NOW, running_since=never).done_at is not None


def test_epochs_longer_than_a_session_are_cut() -> None:
    """If not even one epoch fits, parts of it are trained."""
    assert forecast(Work(1, 7200), Terms(HOUR), NOW).sessions == 2


def test_what_is_left_comes_from_the_newest_result() -> None:
    """The epochs to the target count, or to the step that ends the run sooner."""
    settings = Settings()
    assert work_left(settings, view()) == Work(990, 600)
    assert work_left(settings, view(seconds_per_epoch=None)) == Work(990, 660)
    run = settings.run.model_copy(update={"until_step": 1200})
    assert work_left(settings.model_copy(update={"run": run}), view()) == Work(10, 600)
    assert work_left(settings, None) is None


@pytest.mark.parametrize("pace", [1e-300, 9e15, -1.0, float("inf"), float("nan")])
def test_a_pace_that_makes_no_sense_is_none(pace: float) -> None:
    """An impossible number from a server gives no forecast and no overflow."""
    assert work_left(Settings(), view(seconds_per_epoch=pace)) is None


def test_terms_are_those_of_the_settings() -> None:
    """The training ends by its limit and within its session's budget; a CPU needs no quota."""
    terms = terms_of(Settings(), week(3))
    assert (terms.training, terms.quota, terms.shorten) == (6 * HOUR, week(3), False)
    kernel = Settings().kernel.model_copy(update={"accelerator": "none"})
    assert terms_of(Settings().model_copy(update={"kernel": kernel}), week(3)).quota is None
