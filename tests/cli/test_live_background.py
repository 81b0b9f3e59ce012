"""What the page knows besides the log: the plan in the kernel's source, earlier sessions, and what comes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.cli.show.live_background import Background, Plan, Surroundings, read_plan
from orchestrator.cli.show.live_feed import Feed
from orchestrator.cli.show.live_outlook import ends, ends_in_words
from orchestrator.cli.show.outlook import what_next
from orchestrator.errors import ServiceError
from orchestrator.kaggle.logs import LogLine
from orchestrator.models import KernelRef, Quota
from orchestrator.render import render_kernel
from orchestrator.render.stamp import RunStamp
from orchestrator.run.decide import Decision, RunState
from orchestrator.run.outlook import Outlook
from orchestrator.run.progress import Progress
from orchestrator.settings import load_settings
from tests.fakes.kaggle import FakeKaggle

REF = KernelRef("asha", "bangla-tts-b", 1)
PARENT = "asha/bangla-tts-a/3"
STAMP = RunStamp("3f9c12ab", 2, PARENT, "0" * 64, "asha/bangla-tts-b", "0.1.0")
CLOCK = datetime(2026, 11, 22, 12, tzinfo=UTC)
WEEK = Quota(timedelta(hours=4), timedelta(hours=6), timedelta(hours=30), CLOCK + timedelta(days=2))
SUMMARY = {"session": 1, "kernel": "asha/bangla-tts-a", "from_step": 0, "to_step": 600, "seconds": 900.0}
STATE = {
    "schema": 1,
    "run": {"id": STAMP.id, "session": 1},
    "status": "complete",
    "history": [SUMMARY],
}


@pytest.fixture
def source(workplace: Path) -> str:
    """A kernel as it is rendered."""
    overrides = ["training.epochs=50", "run.until_step=9000", "session.budget=6h", "training.time_limit=5h"]
    settings = load_settings(None, overrides, environ={}, cwd=workplace).settings.with_owner("asha")
    return render_kernel(settings, STAMP).source


@pytest.fixture
def kaggle(source: str) -> FakeKaggle:
    """A Kaggle with the run's second session, whose first one left its state."""
    kaggle = FakeKaggle(week=WEEK)
    kaggle.have(PARENT.rpartition("/")[0], 3)
    leave(kaggle, STATE)
    kaggle.have(str(REF.kernel), 1, source=source)
    return kaggle


def leave(kaggle: FakeKaggle, state: object) -> None:
    """Let the first session have left this `state.json`."""
    kaggle.version(PARENT).outputs = {"state.json": json.dumps(state).encode()}


def test_the_plan_is_read_from_the_kernel(source: str) -> None:
    """No kgtts.toml is needed: the pushed source says what the session is to do."""
    wanted = Plan(has_gpu=True, epochs=50, until_step=9000, budget_s=21600.0, limit_s=18000.0)
    assert read_plan(source) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\nSETTINGS = ",
        "\nSETTINGS = {",
        "\nSETTINGS = [1]\n",
        "\nSETTINGS = {'training': 3}\n",
        "\nSETTINGS = __import__('os')\n}\n",
        "\nSETTINGS = " + "[" * 5000 + "\n}\n",
        "\nSETTINGS = {'session_budget_s': 1e999, 'training': {'epochs': True, 'time_limit_s': -1}}\n",
        "\nSETTINGS = {'session_budget_s': 'x', 'training': {'epochs': 10**400, 'time_limit_s': None}}\n",
    ],
)
def test_a_source_that_is_none_of_ours_tells_no_plan(text: str) -> None:
    """It comes from a server, is never run, and nothing in it is trusted."""
    assert read_plan(text) == Plan()


def test_the_run_around_a_session_is_read(kaggle: FakeKaggle) -> None:
    """Its stamp, its plan, the sessions before it, and the quota that it takes of."""
    found = Surroundings(kaggle, REF).read()
    assert found.stamp == STAMP
    assert found.plan.epochs == 50
    assert [(item.session, item.to_step) for item in found.history] == [(1, 600)]
    assert found.quota == WEEK
    assert found.earlier == {}


def test_what_cannot_be_read_is_left_out(kaggle: FakeKaggle) -> None:
    """The session is what was asked for: the rest is a courtesy, whatever Kaggle does."""
    kaggle.always("quota", ServiceError("Kaggle failed (503)."))
    kaggle.version(PARENT).outputs = {}
    found = Surroundings(kaggle, REF).read()
    assert (found.stamp, found.quota, list(found.history)) == (STAMP, None, [])
    kaggle.always("kernel", ServiceError("Kaggle failed (503)."))
    assert Surroundings(kaggle, REF).read() == Background()


def test_another_runs_state_is_not_this_runs_history(kaggle: FakeKaggle) -> None:
    """A kernel may have been pushed to by another run since."""
    other = {**STATE, "run": {"id": "another", "session": 1}}
    leave(kaggle, other)
    assert list(Surroundings(kaggle, REF).read().history) == []


def test_curves_of_pulled_sessions_come_before(kaggle: FakeKaggle, workplace: Path) -> None:
    """What passes brought here of this run's earlier sessions, and of no other run."""
    (workplace / "kgtts.toml").write_text('[kernel]\nowner = "asha"\nslug = "bangla-tts"\n', encoding="utf-8")
    folder = workplace / "runs/bangla-tts/session-01"
    folder.mkdir(parents=True)
    (folder / ".kgtts-complete").write_text(f"{PARENT} 600 {STAMP.id}\n", encoding="utf-8")
    (folder / "state.json").write_text(json.dumps(STATE), encoding="utf-8")
    line = {"event": "progress", "t": 1.0, "epoch": 0, "step": 5, "global_step": 5, "session": 1}
    losses = {"loss_mel": 31.5, "lr": 0.1}
    (folder / "metrics.jsonl").write_text(json.dumps({**line, "losses": losses}) + "\n", encoding="utf-8")
    earlier = Surroundings(kaggle, REF).read().earlier
    assert {name: curve.values for name, curve in earlier["train"].items()} == {"loss_mel": [31.5]}
    (folder / "state.json").write_text(json.dumps({**STATE, "run": {"id": "x", "session": 1}}), "utf-8")
    assert Surroundings(kaggle, REF).read().earlier == {}


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
    """Both phrases, at noon on a Sunday."""
    around = Background(plan=plan, quota=quota)
    return ends_in_words(ends(feed, around, now=4200.0, clock=CLOCK))


def test_a_target_within_the_session() -> None:
    """The last epoch comes before the time is over."""
    assert in_words(training(7200.0)) == (
        "in about 2 h 0 min, within this session",
        "ends in at most 4 h 50 min",
    )


def test_a_target_beyond_the_session() -> None:
    """What this session leaves is played through with the week's quota."""
    target, session = in_words(training(40000.0))
    assert target is not None
    assert target.startswith("about Mon 23 Nov 00:2")
    assert target.endswith("UTC, 2 more sessions")
    assert session == "ends in at most 4 h 50 min"


def test_a_week_without_hours_says_so() -> None:
    """A quota that never suffices has no date."""
    poor = Quota(timedelta(0), timedelta(0), timedelta(hours=1), None)
    target, _ = in_words(training(40000.0), quota=poor)
    assert target == "needs 2 more sessions; when cannot be said with this quota"


def test_a_step_may_be_the_target() -> None:
    """`run.until_step` where it comes before the last epoch: half the steps, half the time."""
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
    """The decision about the run where it is known, else the session's own last word."""
    ended = Progress(end_status="complete", end_reason="budget")
    assert what_next(None, ended) == "goes on: `kgtts watch` starts its next session"
    assert what_next(None, replace(ended, end_reason="finished")) is None
    for state, words in (
        (RunState.READY, "goes on: Why. `kgtts watch` starts it, and so does the next `kgtts sync`."),
        (RunState.RUNNING, "goes on already: Why. `kgtts watch` follows it."),
        (RunState.DONE, "done: Why."),
        (RunState.WAITING, "waiting: Why."),
    ):
        assert what_next(Outlook(50, decision=Decision(state, "Why.")), ended) == words
