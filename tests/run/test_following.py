"""A following of one hour: every line once, few calls, and its end noticed in time."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.errors import ServiceError, WaitTimeoutError
from orchestrator.kaggle.logs import LogLine
from orchestrator.models import KernelRef
from orchestrator.run.campaign import Campaign, Target
from orchestrator.run.follow import Load
from orchestrator.run.ledger import Ledger
from tests.run.hour import GONE, HourKaggle

TARGET = Target(KernelRef("asha", "bangla-tts", 3), None)
BUSY = ServiceError("Kaggle asks for fewer calls (429).", retry_after_s=300)


def followed(kaggle: HourKaggle, ledger: Ledger) -> tuple[Load, float]:
    """Follow to the end, which every line is told by; gives the cost and how late the end was noticed."""
    campaign = Campaign(kaggle, ledger, kaggle.clock)
    lines = [event.text for event in campaign.follow(TARGET) if isinstance(event, LogLine)]
    assert lines == [event.text.rstrip("\n") for event in kaggle.whole()]
    assert campaign.load.calls == kaggle.calls
    seen = next(moment for moment in kaggle.at["status"] if moment >= kaggle.over_s)
    return campaign.load, seen - kaggle.over_s


STREAMS: dict[str, dict[str, Any]] = {
    "talks all the time": {},
    "talks very much": {"every_s": 0.5},
    "is cut off in every silence": {"every_s": 200.0},
    "is silent for the whole hour": {"every_s": 3600.0},
    "is silent and never cut off": {"every_s": 3600.0, "idle_cut_s": 1e9},
    "is cut off every three minutes": {"life_s": 180.0},
    "is cut off and its replay lags": {"life_s": 180.0, "lag_s": 45.0},
    "ends before its session": {"saving_s": 40.0},
    "is cut off, and ends before its session": {"every_s": 200.0, "saving_s": 15.0},
    "is stored late": {"stored_after_s": 5.0, "every_s": 200.0},
}


@pytest.mark.parametrize("name", STREAMS)
def test_an_hour_with_a_live_log_takes_few_calls(ledger: Ledger, name: str) -> None:
    """At most 40 calls, and the end is noticed within 5 seconds, however quiet or often cut off it is."""
    load, late_s = followed(HourKaggle(**STREAMS[name]), ledger)
    assert load.calls <= 40
    assert load.per_hour <= 40
    assert late_s <= 5


WITHOUT: dict[str, dict[str, Any]] = {
    "there is none": {"stream_error": GONE},
    "it always fails": {"stream_error": ServiceError("Kaggle failed (503).")},
    "it is busy": {"stream_error": BUSY},
    "it ends at once": {"stream_ends_empty": True},
    "it is cut off at once": {"life_s": 0.5},
    "it is cut off after ten seconds": {"life_s": 10.0},
    "it is cut off after half a minute": {"life_s": 30.0},
    "it is cut off at once and its replay lags": {"life_s": 2.0, "lag_s": 100.0},
    "it is cut off at once, and stored late": {"life_s": 0.5, "stored_after_s": 5.0},
}


@pytest.mark.parametrize("name", WITHOUT)
def test_an_hour_without_a_live_log_takes_more_calls(ledger: Ledger, name: str) -> None:
    """At most 120 calls, and the end is noticed within one interval between two looks, a minute at most."""
    kaggle = HourKaggle(**WITHOUT[name])
    load, late_s = followed(kaggle, ledger)
    assert load.calls <= 120
    assert late_s <= 62


def test_no_pause_between_looks_is_longer_than_a_minute(ledger: Ledger) -> None:
    """They grow to it, from a fifth of a second."""
    kaggle = HourKaggle(stream_error=GONE)
    followed(kaggle, ledger)
    assert max(kaggle.clock.waits) == pytest.approx(60)
    looks = kaggle.at["status"]
    assert max(after - before for before, after in pairwise(looks)) <= 61


def test_what_kaggle_asks_for_is_given(ledger: Ledger) -> None:
    """A live log that asks for five minutes is asked every five minutes at most."""
    kaggle = HourKaggle(stream_error=BUSY)
    followed(kaggle, ledger)
    tries = kaggle.at["stream"]
    assert all(after - before >= 300 for before, after in pairwise(tries))


def test_a_network_that_comes_back_brings_the_live_log_back(ledger: Ledger) -> None:
    """Ten minutes without network cost a look a minute, and the log is live again within one."""
    kaggle = HourKaggle(down=[(1000.0, 1600.0)])
    load, late_s = followed(kaggle, ledger)
    assert late_s <= 5
    assert len([moment for moment in kaggle.at["status"] if 1000 <= moment < 1600]) <= 22
    assert 1600 <= next(moment for moment in kaggle.at["stream"] if moment >= 1600) <= 1661
    assert load.calls <= 50


def test_a_wait_that_ends_is_counted_too(ledger: Ledger) -> None:
    """What a following costs is known however it ends."""
    kaggle = HourKaggle()
    campaign = Campaign(kaggle, ledger, kaggle.clock)
    with pytest.raises(WaitTimeoutError):
        list(campaign.follow(TARGET, timeout=timedelta(minutes=30)))
    assert campaign.load.calls == kaggle.calls
    assert campaign.load.seconds == pytest.approx(1800, abs=11)


def test_the_costs_of_several_followings_add_up() -> None:
    """A run has many sessions."""
    assert Load(30, 1800) + Load(10, 1800) == Load(40, 3600)
    assert Load(40, 3600).per_hour == 40
    assert Load().per_hour == 0
