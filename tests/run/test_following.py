"""Following for one hour: every line once, few calls, and the end noticed in time."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.errors import NotFoundError, ServiceError, WaitTimeoutError
from orchestrator.kaggle.logs import LogLine
from orchestrator.models import KernelRef, LogEvent, SessionState
from orchestrator.run.context import FollowCost, RunContext, Target
from orchestrator.run.follow import follow_session
from orchestrator.run.ledger import Ledger
from tests.fakes.clock import FakeClock
from tests.fakes.kaggle import FakeKaggle
from tests.fakes.sessions import Connection, Life

TARGET = Target(KernelRef("asha", "bangla-tts", 3), None)
HOUR_S = 3600.0
GONE = NotFoundError("There is no such log.")
BUSY = ServiceError("Kaggle asks for fewer calls (429).", retry_after_s=300)


def hour(
    *, every_s: float = 10.0, saving_s: float = 0.0, stored_late_s: float = 0.0, **connection: Any
) -> FakeKaggle:
    """Return a Kaggle with a session of one hour that prints every `every_s` seconds."""
    travels = Connection(**{"latency_s": 0.2, "idle_cut_s": 180.0, **connection})
    kaggle = FakeKaggle(FakeClock(), connection=travels)
    version = kaggle.have("asha/bangla-tts", 3)
    version.life = Life(queued_s=40.0, runs_s=HOUR_S, saving_s=saving_s, stored_late_s=stored_late_s)
    version.log = [
        LogEvent("stdout", number * every_s, f"line {number}\n")
        for number in range(1, int(HOUR_S / every_s) + 1)
    ]
    return kaggle


def followed(kaggle: FakeKaggle, ledger: Ledger) -> tuple[FollowCost, float]:
    """Follow to the end, until every line was reported; returns the cost and how late the end was noticed."""
    context = RunContext(kaggle, ledger, kaggle.clock)
    version = kaggle.version("asha/bangla-tts/3")
    lines = [event.text for event in follow_session(context, TARGET) if isinstance(event, LogLine)]
    assert lines == [event.text.rstrip("\n") for event in version.log]
    assert context.cost.calls == kaggle.calls
    assert version.life is not None
    over_s = version.life.over_s
    return context.cost, next(look for look in kaggle.at["session_status"] if look >= over_s) - over_s


STREAMS: dict[str, dict[str, Any]] = {
    "talks all the time": {},
    "talks very much": {"every_s": 0.5},
    "is cut off in every silence": {"every_s": 200.0},
    "is silent for the whole hour": {"every_s": 3600.0},
    "is silent and never cut off": {"every_s": 3600.0, "idle_cut_s": 1e9},
    "is cut off every three minutes": {"life_s": 180.0},
    "is cut off and its replay lags": {"life_s": 180.0, "replay_lag_s": 45.0},
    "ends before its session": {"saving_s": 40.0},
    "is cut off, and ends before its session": {"every_s": 200.0, "saving_s": 15.0},
    "is stored late": {"stored_late_s": 5.0, "every_s": 200.0},
}


@pytest.mark.parametrize("name", STREAMS)
def test_an_hour_with_a_live_log_takes_few_calls(ledger: Ledger, name: str) -> None:
    """It takes at most 40 calls, and the end is noticed within 5 seconds, however often the log breaks."""
    load, late_s = followed(hour(**STREAMS[name]), ledger)
    assert load.calls <= 40
    assert load.per_hour <= 40
    assert late_s <= 5


WITHOUT: dict[str, dict[str, Any]] = {
    "there is none": {"error": GONE},
    "it always fails": {"error": ServiceError("Kaggle failed (503).")},
    "it is busy": {"error": BUSY},
    "it ends at once": {"ends_empty": True},
    "it is cut off at once": {"life_s": 0.5},
    "it is cut off after ten seconds": {"life_s": 10.0},
    "it is cut off after half a minute": {"life_s": 30.0},
    "it is cut off at once and its replay lags": {"life_s": 2.0, "replay_lag_s": 100.0},
    "it is cut off at once, and stored late": {"life_s": 0.5, "stored_late_s": 5.0},
}


@pytest.mark.parametrize("name", WITHOUT)
def test_an_hour_without_a_live_log_takes_more_calls(ledger: Ledger, name: str) -> None:
    """It takes at most 120 calls, and the end is noticed within a minute."""
    manners = dict(WITHOUT[name])
    error = manners.pop("error", None)
    kaggle = hour(**manners)
    kaggle.always("log_stream", error)
    load, late_s = followed(kaggle, ledger)
    assert load.calls <= 120
    assert late_s <= 62


def test_no_pause_between_looks_is_longer_than_a_minute(ledger: Ledger) -> None:
    """Pauses grow from a fifth of a second to a minute."""
    kaggle = hour()
    kaggle.always("log_stream", GONE)
    followed(kaggle, ledger)
    assert max(kaggle.clock.waits) == pytest.approx(60)
    looks = kaggle.at["session_status"]
    assert max(after - before for before, after in pairwise(looks)) <= 61


def test_what_kaggle_asks_for_is_given(ledger: Ledger) -> None:
    """A live log that asks for five minutes is requested at most every five minutes."""
    kaggle = hour()
    kaggle.always("log_stream", BUSY)
    followed(kaggle, ledger)
    tries = kaggle.at["log_stream"]
    assert all(after - before >= 300 for before, after in pairwise(tries))


def test_a_network_that_comes_back_brings_the_live_log_back(ledger: Ledger) -> None:
    """Ten minutes without network cost a look a minute, and the log is live within one."""
    kaggle = hour(down=[(1000.0, 1600.0)])
    load, late_s = followed(kaggle, ledger)
    assert late_s <= 5
    assert len([moment for moment in kaggle.at["session_status"] if 1000 <= moment < 1600]) <= 22
    assert 1600 <= next(moment for moment in kaggle.at["log_stream"] if moment >= 1600) <= 1661
    assert load.calls <= 50


def test_a_wait_that_ends_is_counted_too(ledger: Ledger) -> None:
    """The cost of following is known however it ends."""
    kaggle = hour()
    context = RunContext(kaggle, ledger, kaggle.clock)
    with pytest.raises(WaitTimeoutError):
        list(follow_session(context, TARGET, timeout=timedelta(minutes=30)))
    assert context.cost.calls == kaggle.calls
    assert context.cost.seconds == pytest.approx(1800, abs=11)


def test_the_costs_of_several_followings_add_up() -> None:
    """The costs of a run's sessions are added."""
    assert FollowCost(30, 1800) + FollowCost(10, 1800) == FollowCost(40, 3600)
    assert FollowCost(40, 3600).per_hour == 40
    assert FollowCost().per_hour == 0


def test_a_version_that_is_never_started_is_not_followed_for_ever(ledger: Ledger) -> None:
    """A copy saved on the website looked like a session for a moment; after an hour the run is read again."""
    kaggle = FakeKaggle(FakeClock())
    kaggle.have("asha/bangla-tts", 3).state = SessionState.NEW_SCRIPT
    context = RunContext(kaggle, ledger, kaggle.clock)
    with pytest.raises(ServiceError, match="1 hour that asha/bangla-tts/3 is new_script"):
        list(follow_session(context, TARGET))
    assert 3600 < kaggle.clock.passed < 3700
