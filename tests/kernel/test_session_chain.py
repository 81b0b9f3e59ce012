"""Whole sessions that follow each other: budgets, the host's report, and the second session of a run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import HostStop
from kernel_template.host.protocol import HostReport
from kernel_template.tools.process import ChildEnd, StopCause
from kernel_template.train.host_link import SessionBudget
from kernel_template.train.outcome import TrainingResult, training_outcome
from tests.kernel.kit import Log, settings
from tests.kernel.sessions import HEAD, TRAINS, Played, resume_of, stamp

ON = """
say("CONTINUES " + str(args.continue_path) + " RESTORES " + str(args.restore_path))
say(" > EPOCH: 2/3"); step(5, 1, 80.0)
say("  --> EVAL PERFORMANCE\\n     | > avg_loss_mel: 88.0 (+0.0)\\n")
save(6)
"""


@pytest.fixture
def first(tmp_path: Path) -> Played:
    """The first session of a run."""
    (tmp_path / "one").mkdir()
    return Played(tmp_path / "one", Log(), HEAD + TRAINS, run=stamp(1))


def second(first: Played, root: Path, log: Log, script: str = HEAD + ON, **changes: Any) -> Played:
    """The following session, with the first one's output mounted."""
    mount = root / "input" / "notebooks" / "owner" / "voice-a"
    shutil.copytree(first.root / "working", mount)
    resume = resume_of(first.state, **changes.pop("resume", {}))
    return Played(root, log, script, run=stamp(2), resume=resume, **changes)


def test_the_second_session_goes_on(first: Played, root: Path, log: Log) -> None:
    """It continues in a copy of the run folder, with one log, one set of events and a history of both."""
    played = second(first, root, log, training={"epochs": 3, "coqui": {"lr_gen": 0.5}})
    working = root / "working"
    folder = working / "training" / "bangla আ-November-22"
    assert played.code == 0
    assert f"CONTINUES {folder} RESTORES {folder / 'best_model_4.pth'}" in log.lines
    assert json.loads((folder / "config.json").read_text())["lr_gen"] == 0.5
    state = played.state
    assert (state["global_step"], state["epochs"], state["done"], state["done_reason"]) == (
        6,
        3,
        True,
        "epochs",
    )
    assert [
        (item["session"], item["kernel"], item["from_step"], item["to_step"], item["reason"])
        for item in state["history"]
    ] == [(1, "owner/voice-a", 0, 4, "finished"), (2, "owner/voice-b", 4, 6, "finished")]
    assert state["losses"]["eval"] == {"avg_loss_mel": 88.0}
    events = [json.loads(line) for line in (working / "metrics.jsonl").read_text().splitlines()]
    assert [event["global_step"] for event in events if event["event"] == "progress"] == [0, 1, 2, 3, 5]
    assert {event["session"] for event in events} == {1, 2}
    log_text = (working / "train_log.txt").read_text()
    assert log_text.index("GLOBAL_STEP: 3") < log_text.index("CONTINUES")


def test_an_older_mount_ends_the_session(first: Played, root: Path, log: Log) -> None:
    """An older version of the parent ends the session before installing, and both sessions are named."""
    played = second(first, root, log, resume={"session": 2, "global_step": 9})
    assert (played.code, played.end["reason"]) == (1, "wrong_parent")
    assert "an older version, session 1 of the same run, at step 4" in played.end["message"]
    assert "install" not in {event["name"] for event in log.events("stage")}
    assert (played.state["done"], played.state["checkpoint"]) == (False, None)


def test_a_second_session_that_fails_keeps_what_it_was_given(first: Played, root: Path, log: Log) -> None:
    """Its state still names the checkpoint to resume from."""
    played = second(first, root, log, script=HEAD + "raise RuntimeError('x')")
    assert (played.code, played.state["global_step"]) == (1, 4)
    assert played.state["epoch"] == first.state["epoch"]
    assert played.state["losses"] == first.state["losses"]


def test_a_damaged_run_configuration_is_made_anew(first: Played, root: Path, log: Log) -> None:
    """A configuration that was truncated by a kill is replaced, with a warning."""
    (config,) = (first.root / "working").glob("training/*/config.json")
    config.write_text('{"half')
    assert second(first, root, log).code == 0
    assert any("voice's configuration is used" in event["message"] for event in log.events("warning"))


@pytest.mark.parametrize(
    ("stopped", "cut", "returncode", "reason", "done"),
    [
        ("budget", None, 0, "budget", None),
        ("budget", StopCause.TIME_LIMIT, 0, "budget", None),
        ("until_step", None, 0, "until_step", "until_step"),
        ("no_improvement", None, 0, "no_improvement", "no_improvement"),
        ("signal", StopCause.TIME_LIMIT, 0, "time_limit", None),
        (None, None, 0, "finished", "epochs"),
        ("budget", None, 1, "budget", None),
    ],
)
def test_what_the_host_reports_is_why_it_ended(  # noqa: PLR0913, PLR0917 - a table.
    root: Path,
    log: Log,
    stopped: str | None,
    cut: StopCause | None,
    returncode: int,
    reason: str,
    done: str | None,
) -> None:
    """The host's report gives the reason, whether the run is done, and the pace."""

    class Hosted:
        def __call__(self, plan: Any, on_line: Any, on_cut: Any = None) -> ChildEnd:
            control = json.loads((root / "temp" / "CONTROL.json").read_text())
            folder = root / "working" / "training" / "run"
            shutil.copytree(root / "input" / "models" / "owner", folder)
            (weights,) = folder.rglob("model_file.pth")
            weights.rename(folder / "checkpoint_8.pth")
            facts = {"stopped": stopped, "hooks": True, "epoch": 2, "start": {"epoch": 0}, "best_loss": 3.5}
            pace = {"seconds_per_epoch": 12.5, "steps_per_epoch": 4, "warnings": ["told"]}
            Path(control["report"]).write_text(json.dumps({**facts, **pace}))
            return ChildEnd(returncode, 1.0, cut)

    played = Played(root, log, "x", tools={"run": Hosted()}, samples={"sentences": [], "enabled": False})
    state = played.state
    assert (played.code, state["reason"], state["done_reason"]) == (0, reason, done)
    assert state["done"] is (done is not None)
    assert (state["seconds_per_epoch"], state["steps_per_epoch"], state["best_loss"]) == (12.5, 4, 3.5)
    (item,) = state["history"]
    assert (item["from_epoch"], item["to_epoch"], item["to_step"], item["reason"]) == (0, 2, 8, reason)
    assert "told" in {event["message"] for event in log.events("warning")}


def test_the_host_is_asked_for_what_was_set(root: Path, log: Log) -> None:
    """The host gets deadline, step and early stopping; by default only the time limit."""
    more = {"training": {"until_step": 500, "time_limit_s": 7200}, "stop": {"patience": 5}}
    Played(root, log, HEAD + TRAINS, session_budget_s=3600, **more)
    asked = json.loads((root / "temp" / "CONTROL.json").read_text())
    assert (asked["until_step"], asked["patience"]) == (500, 5)
    assert asked["budget_s"] == 3600 - 108 - 5


@pytest.mark.parametrize(
    ("budget", "reserve"), [(100.0, 20.0), (1000.0, 30.0), (43200.0, 300.0), (None, 0.0), (10.0, 20.0)]
)
def test_the_reserve(budget: float | None, reserve: float) -> None:
    """The reserve is 3 % of the session, between 20 s and 300 s; the training gets at least a second."""
    found = SessionBudget(settings(session_budget_s=budget), lambda: 0.0)
    assert found.reserve == reserve
    assert found.training_limit() == max(min(3600.0, (budget or 1e9) - reserve), 1.0)


def test_a_report_of_the_wrong_kinds() -> None:
    """Values of the wrong type in the report are ignored."""
    rubbish = {"stopped": "x", "epoch": "3", "start": [], "best_loss": "low", "warnings": 3, "hooks": 1}
    assert HostReport.read(rubbish) == HostReport.read([]) == HostReport()
    assert HostReport.read({"best_loss": float("nan"), "seconds_per_epoch": True}) == HostReport()


def test_a_stop_that_left_nothing_is_no_success() -> None:
    """A session without a checkpoint fails, whatever the host reports."""
    facts = TrainingResult(ChildEnd(0, 1.0), [], None, 0, 16, None, HostReport(stopped=HostStop.BUDGET))
    assert str(training_outcome(facts).reason) == "training_failed"


def test_sessions_that_left_nothing_are_in_the_history(first: Played, root: Path, log: Log) -> None:
    """The push lists them; they come after the parent's history, each once."""
    lost = {"session": 2, "kernel": "owner/voice-b", "reason": "killed", "seconds": 60.0}
    known = {"session": 1, "reason": "told twice"}
    state = second(first, root, log, before=[known, lost]).state
    assert [item["reason"] for item in state["history"]][:2] == ["finished", "killed"]
    assert state["history"][1] == lost
    assert len(state["history"]) == 3
