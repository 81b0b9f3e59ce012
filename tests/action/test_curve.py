"""The eval loss over a run's sessions, from files of which nothing is trusted."""

import json
from pathlib import Path

from orchestrator.chain.curve import Evaluation, evaluations, read_curve


def line(session: object, step: object, losses: object, event: str = "eval") -> str:
    """A line of metrics.jsonl."""
    return json.dumps({"event": event, "session": session, "global_step": step, "losses": losses}) + "\n"


def test_sessions_make_one_curve(tmp_path: Path) -> None:
    """What several files repeat counts once, in the order of steps."""
    for number, text in (
        (2, line(1, 10, {"avg_loss_mel": 9}) + line(2, 20, {"avg_loss_mel": 5, "avg_loss_gen": 1})),
        (1, line(1, 10, {"avg_loss_mel": 9})),
    ):
        folder = tmp_path / f"session-{number:02}"
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(text)
    (tmp_path / "session-03" / "metrics.jsonl").mkdir(parents=True)
    assert read_curve(tmp_path) == [Evaluation(1, 10, 9.0), Evaluation(2, 20, 5.0)]
    assert read_curve(tmp_path / "nowhere") == []


def test_what_is_no_measurement_is_passed_over() -> None:
    """Half lines, other events, and values that are no numbers are left out."""
    lines = [
        "{half\n",
        "[" * 100_000,
        "[]\n",
        line(1, 1, {"avg_loss": 1}, event="progress"),
        line(None, 1, {"avg_loss": 1}),
        line(1, -1, {"avg_loss": 1}),
        line(True, 1, {"avg_loss": 1}),
        line(1, 1, {"avg_loss": "x"}),
        line(1, 1, {"avg_loss": float("nan")}),
        line(1, 1, {"avg_loss": 10**400}),
        line(1, 1, {}),
        line(1, 1, None),
        line(1, 2, {"some_loss": 2.5}),
    ]
    assert list(evaluations(lines)) == [Evaluation(1, 2, 2.5)]
