"""The eval loss over a run's sessions, from files that are not trusted."""

import json
from pathlib import Path

from orchestrator.run.outlook import Evaluation, evaluations, read_pulled


def line(session: object, step: object, losses: object, event: str = "eval") -> str:
    """Return a line of metrics.jsonl."""
    return json.dumps({"event": event, "session": session, "global_step": step, "losses": losses}) + "\n"


def read_curve(folder: Path) -> list[Evaluation]:
    """The evaluations of the sessions below a folder."""
    return list(evaluations(read_pulled(folder)))


def pulled(folder: Path, number: int, text: str) -> None:
    """Make a session's folder with its metrics.jsonl."""
    place = folder / f"session-{number:02}" / "metrics.jsonl"
    place.parent.mkdir()
    place.write_text(text)


def test_sessions_make_one_curve(tmp_path: Path) -> None:
    """Repeated steps count once, in the order of steps."""
    first = line(1, 10, {"avg_loss_mel": 9})
    pulled(tmp_path, 1, first)
    pulled(tmp_path, 2, first + line(2, 20, {"avg_loss_mel": 5, "avg_loss_gen": 1}))
    (tmp_path / "session-03" / "metrics.jsonl").mkdir(parents=True)
    assert read_curve(tmp_path) == [Evaluation(1, 10, 9.0), Evaluation(2, 20, 5.0)]
    assert read_curve(tmp_path / "nowhere") == []


def test_what_is_no_measurement_is_passed_over(tmp_path: Path) -> None:
    """Torn lines, other events and values that are not numbers are ignored."""
    lines = [
        "{half\n",
        "[" * 100_000 + "\n",
        "[]\n",
        line(1, 1, {"avg_loss": 1}, event="progress"),
        line(1, -1, {"avg_loss": 1}),
        line(1, 1, {"avg_loss": "x"}),
        line(1, 1, {"avg_loss": float("nan")}),
        line(1, 1, {"avg_loss": 10**400}),
        line(1, 1, {}),
        line(1, 1, None),
        line(1, 2, {"avg_loss": 2.5}),
    ]
    pulled(tmp_path, 1, "".join(lines))
    assert read_curve(tmp_path) == [Evaluation(1, 2, 2.5)]
