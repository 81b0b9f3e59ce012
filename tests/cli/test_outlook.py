"""The forecast for a session and its run, in words."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.cli.show.passes import ends_in_words, what_next
from orchestrator.kaggle.logs import LogLine
from orchestrator.models import Quota
from orchestrator.run.decide import Decision, RunState
from orchestrator.run.live import Feed
from orchestrator.run.outlook import Outlook
from orchestrator.run.plan import Background, Plan, ends
from orchestrator.run.progress import Progress

CLOCK = datetime(2026, 11, 22, 12, tzinfo=UTC)
WEEK = Quota(timedelta(hours=4), timedelta(hours=6), timedelta(hours=30), CLOCK + timedelta(days=2))


def training(eta_s: float | None, **changes: object) -> Feed:
    """A session that has trained for an hour: epoch 10 of 50, 100 steps each."""
    feed = Feed()
    step = {"epoch": 10, "epochs": 50, "step": 0, "steps_per_epoch": 100, "global_step": 1000}
    events = [
        {"event": "stage", "t": 600.0, "name": "train", "state": "start"},
        {"event": "progress", "t": 4200.0, "losses": {}, "eta_s": eta_s, **step, **changes},
    ]
    for event in events:
        feed.take(LogLine("stdout", 0.0, "@kgtts " + json.dumps(event)), 4200.0)
    return feed


PLAN = Plan(has_gpu=True, epochs=50, budget_s=21600.0, limit_s=18000.0)


def in_words(feed: Feed, plan: Plan = PLAN, quota: Quota | None = WEEK) -> tuple[str | None, str | None]:
    """Return both phrases, at noon on a Sunday."""
    around = Background(plan=plan, quota=quota)
    return ends_in_words(ends(feed, around, now=4200.0, clock=CLOCK))


def test_a_target_within_the_session() -> None:
    """The last epoch ends before the session does."""
    assert in_words(training(7200.0)) == (
        "in about 2 h 0 min, within this session",
        "ends in at most 4 h 50 min",
    )


def test_a_target_beyond_the_session() -> None:
    """What this session cannot do is forecast with the week's quota."""
    target, session = in_words(training(40000.0))
    assert target is not None
    assert target.startswith("about Mon 23 Nov 00:2")
    assert target.endswith("UTC, 2 more sessions")
    assert session == "ends in at most 4 h 50 min"


def test_a_week_without_hours_says_so() -> None:
    """If the quota never suffices there is no date."""
    poor = Quota(timedelta(0), timedelta(0), timedelta(hours=1), None)
    target, _ = in_words(training(40000.0), quota=poor)
    assert target == "needs 2 more sessions; with this quota it cannot be said when"


def test_a_step_may_be_the_target() -> None:
    """If `run.until_step` comes before the last epoch, half the steps take half the time."""
    until = replace(PLAN, until_step=3000)
    assert in_words(training(8000.0), until)[0] == "in about 1 h 6 min, within this session"
    assert in_words(training(8000.0), replace(PLAN, until_step=10**6))[0] == in_words(training(8000.0))[0]


@pytest.mark.parametrize("plan", [Plan(), replace(PLAN, limit_s=0.0), replace(PLAN, budget_s=1.0)])
@pytest.mark.parametrize(
    "feed",
    [
        Feed(),
        training(None),
        training(1e14),
        training(0.0),
        training(40000.0, steps_per_epoch=0),
        training(40000.0, epoch=99),
        training(1e-12, epoch=49),
    ],
)
def test_what_is_not_known_is_not_said(feed: Feed, plan: Plan) -> None:
    """Odd numbers and missing plans give fewer words, never an error."""
    for phrase in in_words(feed, plan):
        assert phrase is None or phrase


def test_what_comes_after_a_session() -> None:
    """The run's decision is shown, or the session's own last word."""
    ended = Progress(end_status="complete", end_reason="budget")
    assert what_next(None, ended) == "continues: `kgtts watch` starts its next session"
    assert what_next(None, replace(ended, end_reason="finished")) is None
    for state, words in (
        (RunState.READY, "continues: Why. `kgtts watch` or `kgtts sync` starts it."),
        (RunState.RUNNING, "continues already: Why. `kgtts watch` follows it."),
        (RunState.DONE, "done: Why."),
        (RunState.WAITING, "waiting: Why."),
    ):
        assert what_next(Outlook(50, decision=Decision(state, "Why.")), ended) == words
