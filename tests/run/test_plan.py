"""What surrounds a session: its plan, earlier sessions, and the quota."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.errors import ServiceError
from orchestrator.models import KernelRef, Quota
from orchestrator.render.kernel import render_kernel
from orchestrator.render.stamp import RunStamp
from orchestrator.results import Results
from orchestrator.run.context import RunContext
from orchestrator.run.ledger import Ledger
from orchestrator.run.plan import Background, BackgroundReader, Plan, read_plan
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
def source(tmp_path: Path) -> str:
    """Return a kernel as it is rendered."""
    overrides = ["training.epochs=50", "run.until_step=9000", "session.budget=6h", "training.time_limit=5h"]
    settings = load_settings(None, overrides, environ={}, cwd=tmp_path).settings.with_owner("asha")
    return render_kernel(settings, STAMP).source


@pytest.fixture
def kaggle(source: str) -> FakeKaggle:
    """A Kaggle with the run's second session, and the state of the first."""
    kaggle = FakeKaggle(week=WEEK)
    kaggle.have(PARENT.rpartition("/")[0], 3)
    leave(kaggle, STATE)
    kaggle.have(str(REF.kernel), 1, source=source)
    return kaggle


@pytest.fixture
def reader(kaggle: FakeKaggle, tmp_path: Path) -> Iterator[BackgroundReader]:
    """Reads what surrounds the second session, with results in a folder of the test's."""
    with Ledger(tmp_path / "ledger.db", kaggle.service) as ledger:
        yield BackgroundReader(
            RunContext(kaggle, ledger, kaggle.clock), REF, lambda: Results(tmp_path / "runs")
        )


def leave(kaggle: FakeKaggle, state: object) -> None:
    """Let the first session have left this `state.json`."""
    kaggle.version(PARENT).outputs = {"state.json": json.dumps(state).encode()}


def test_the_plan_is_read_from_the_kernel(source: str) -> None:
    """The pushed source says what the session is to do, so that no kgtts.toml is needed."""
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
    """A source comes from a server: it is never run, and nothing in it is trusted."""
    assert read_plan(text) == Plan()


def test_the_run_around_a_session_is_read(reader: BackgroundReader) -> None:
    """Its stamp, its plan, the sessions before it and its quota are read."""
    found = reader.read()
    assert found.stamp == STAMP
    assert found.plan.epochs == 50
    assert [(item.session, item.to_step) for item in found.history] == [(1, 600)]
    assert found.quota == WEEK
    assert found.earlier == {}


def test_what_cannot_be_read_is_left_out(kaggle: FakeKaggle, reader: BackgroundReader) -> None:
    """The session is still shown, whatever else Kaggle fails to answer."""
    kaggle.always("quota", ServiceError("Kaggle failed (503)."))
    kaggle.version(PARENT).outputs = {}
    found = reader.read()
    assert (found.stamp, found.quota, list(found.history)) == (STAMP, None, [])
    kaggle.always("kernel", ServiceError("Kaggle failed (503)."))
    assert reader.read() == Background()


def test_another_runs_state_is_not_this_runs_history(kaggle: FakeKaggle, reader: BackgroundReader) -> None:
    """Another run may have been pushed to the kernel since."""
    other = {**STATE, "run": {"id": "another", "session": 1}}
    leave(kaggle, other)
    assert list(reader.read().history) == []


def test_curves_of_pulled_sessions_come_before(reader: BackgroundReader, tmp_path: Path) -> None:
    """Curves begin with pulled sessions of this run, and of no other."""
    folder = tmp_path / "runs/bangla-tts/session-01"
    folder.mkdir(parents=True)
    (folder / ".kgtts-complete").write_text(f"{PARENT} 600 {STAMP.id}\n", encoding="utf-8")
    (folder / "state.json").write_text(json.dumps(STATE), encoding="utf-8")
    line = {"event": "progress", "t": 1.0, "epoch": 0, "step": 5, "global_step": 5, "session": 1}
    losses = {"loss_mel": 31.5, "lr": 0.1}
    (folder / "metrics.jsonl").write_text(json.dumps({**line, "losses": losses}) + "\n", encoding="utf-8")
    earlier = reader.read().earlier
    assert {name: curve.values for name, curve in earlier["train"].items()} == {"loss_mel": [31.5]}
    (folder / "state.json").write_text(json.dumps({**STATE, "run": {"id": "x", "session": 1}}), "utf-8")
    assert reader.read().earlier == {}
