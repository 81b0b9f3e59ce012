"""The length of the next session: the limits of the run, the week's quota, the pace."""

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.models import Quota
from orchestrator.run.decide import Circumstances, RunState, decide
from orchestrator.run.view import RunView
from tests.fakes.sessions import hours
from tests.run.deciding import BASE, KILLED, NOW, SATURDAY, Make, decided, ended, result, then


def test_max_sessions_ends_a_run(settings: Make) -> None:
    """Killed sessions count, since they cost hours too."""
    limited = settings(run__max_sessions=2)
    assert decided(limited, ended(100)).state is RunState.READY
    assert decided(limited, then(ended(100), KILLED)).state is RunState.LIMITED
    assert decided(limited, then(ended(100), KILLED), retry=True).state is RunState.LIMITED


def test_max_gpu_hours_shortens_the_last_session_and_ends_the_run(settings: Make) -> None:
    """The first session respects the limit too."""
    limited = settings(run__max_gpu_hours=4, training__epochs=1000)
    first = decided(limited, None).start
    assert first is not None
    assert first.budget == timedelta(hours=4)
    third = decided(limited, ended(100, 200)).start
    assert third is not None
    assert third.budget == timedelta(hours=2)
    over = decided(limited, ended(100, 200, 300, 400))
    assert (over.state, over.reason) == (
        RunState.LIMITED,
        "The run took 4h of its 4 hours (run.max_gpu_hours).",
    )


@pytest.mark.parametrize(
    ("view", "took"),
    [
        (then(ended(100), KILLED, seconds=7200.0), "3h"),
        (then(ended(100), KILLED, seconds=1e9), "13h"),
        (then(ended(100), KILLED), "5h"),
        (then(ended(100), KILLED, KILLED, seconds=7200.0), "7h"),
        (then(ended(100), KILLED, result=result(2, 100, 150), seconds=7200.0), "3h"),
        (then(ended(100), KILLED, result=result(2, 100, 150), seconds=60.0), "2h"),
    ],
)
def test_killed_sessions_count_among_the_gpu_hours(settings: Make, view: RunView, took: str) -> None:
    """Their log's end counts, or their state if it is later, otherwise their time limit."""
    limited = settings(run__max_gpu_hours=1, session__budget='"4h"', training__time_limit='"3h50m"')
    over = decided(limited, view, retry=True)
    assert over.state is RunState.LIMITED
    assert f"The run took {took} of its 1 hours" in over.reason


def test_a_session_asks_for_no_more_time_than_it_needs(settings: Make) -> None:
    """Its length follows the training's limit, and the pace to the last epoch or step."""
    limit = timedelta(hours=6, minutes=15)

    def budget(view: RunView | None, **changes: Any) -> timedelta:
        start = decided(settings(**changes), view).start
        assert start is not None
        return start.budget

    assert budget(None) == limit
    assert budget(None, session__budget='"11h"', training__time_limit='"10h50m"') == timedelta(hours=11)
    assert budget(ended(100), training__epochs=1000) == limit
    # Four epochs of ten minutes with a fifth more, and a quarter of an hour for all that is no epoch.
    assert budget(ended(600)) == timedelta(minutes=48 + 15)
    assert budget(ended(600), run__until_step=700) == timedelta(minutes=12 + 15)
    assert budget(ended(600, seconds_per_epoch=None)) == limit
    assert budget(ended(600, seconds_per_epoch=1e15)) == limit


def test_quota_that_is_short_is_waited_for(settings: Make) -> None:
    """A GPU waits until the quota refreshes, and says so; a CPU needs none."""
    short = hours(2, refreshes_at=SATURDAY)
    decision = decided(settings(training__epochs=1000), ended(100), quota=short)
    assert (decision.state, decision.until, decision.start) == (RunState.WAITING, SATURDAY, None)
    assert "waiting until Saturday 00:00 UTC" in decision.reason
    on_cpu = settings(training__epochs=1000, kernel__accelerator='"none"')
    assert decided(on_cpu, ended(100), quota=short).state is RunState.READY
    unknown = decide(settings(), BASE, None, Circumstances(NOW, None))
    assert unknown.state is RunState.NEW


@pytest.mark.parametrize(("left", "minutes"), [(6.5, 375), (6.25, 370), (2, 115), (1.05, None), (0, None)])
def test_quota_that_is_short_may_shorten_the_session(
    settings: Make, left: float, minutes: int | None
) -> None:
    """It gets what is left less a reserve, unless that is below run.shortest_session."""
    shorten = settings(run__when_quota_is_short='"shorten"', training__epochs=1000)
    start = decided(shorten, ended(100), quota=hours(left)).start
    assert (None if start is None else start.budget) == (minutes and timedelta(minutes=minutes))


def test_a_session_is_never_too_short_to_save_in(settings: Make) -> None:
    """However short the settings allow it, the grace and some minutes fit."""
    tiny = settings(run__when_quota_is_short='"shorten"', run__shortest_session='"1s"', training__epochs=1000)
    assert decided(tiny, ended(100), quota=hours(0.2)).start is None


def test_hours_that_running_sessions_reserve_are_not_left(settings: Make) -> None:
    """Used and reserved hours together shorten the week."""
    reserved = Quota(timedelta(hours=13), timedelta(hours=12), timedelta(hours=30), SATURDAY)
    assert decided(settings(training__epochs=1000), ended(100), quota=reserved).state is RunState.WAITING


def test_a_week_that_can_hold_no_session_shortens_it(settings: Make) -> None:
    """Waiting for the refresh would never end."""
    start = decided(settings(), None, quota=hours(3, allowed=3)).start
    assert start is not None
    assert start.budget == timedelta(hours=2, minutes=55)
