"""The kernel's events are combined into one picture of its progress."""

import json
import math
from typing import Any

import pytest

from orchestrator.run.progress import Progress, parse_event, read_progress


def event(kind: str, **fields: Any) -> str:
    """Return a line as the kernel prints it."""
    return "@kgtts " + json.dumps({"event": kind, "t": 7.25, **fields})


STEP = {
    "epoch": 1,
    "epochs": 4,
    "step": 5,
    "steps_per_epoch": 10,
    "global_step": 15,
    "losses": {"loss_mel": 30.5},
    "eta_s": 60.0,
}


def test_a_step_is_told_with_everything() -> None:
    """Epoch, step, losses, time left and the fraction done are known."""
    progress = read_progress(
        ["noise", event("stage", name="train", state="start"), event("progress", **STEP)]
    )
    assert (progress.stage, progress.epoch, progress.step, progress.global_step) == ("train", 1, 5, 15)
    assert (dict(progress.losses), progress.eta_s, progress.elapsed_s) == ({"loss_mel": 30.5}, 60.0, 7.25)
    assert progress.fraction == pytest.approx(1.5 / 4)


def test_the_end_of_an_epoch_counts_it_as_done() -> None:
    """After the last epoch everything is done."""
    lines = [event("progress", **STEP), event("epoch", epoch=3, epochs=4, seconds=1.0, losses={})]
    progress = read_progress(lines)
    assert (progress.epoch, progress.step, progress.fraction) == (4, 0, 1.0)


def test_evaluation_checkpoint_warning_and_end_are_kept() -> None:
    """Each event changes only its own part."""
    progress = read_progress(
        [
            event("progress", **STEP),
            event("eval", epoch=1, global_step=15, losses={"avg_loss_mel": 28.0, "bad": None}),
            event("checkpoint", path="training/x/checkpoint_12.pth", global_step=12, best=False),
            event("warning", message="hot"),
            event("end", status="failed", reason="disk_full", message="The disk is full.", global_step=12),
        ]
    )
    assert dict(progress.losses) == {"loss_mel": 30.5, "avg_loss_mel": 28.0}
    assert progress.checkpoint == "training/x/checkpoint_12.pth"
    assert progress.warnings == ("hot",)
    assert (progress.end_status, progress.end_reason) == ("failed", "disk_full")
    assert (progress.end_message, progress.global_step) == ("The disk is full.", 12)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "@kgtts",
        "@kgtts {torn",
        "@kgtts []",
        '@kgtts {"event": 3}',
        ' @kgtts {"event": "end"}',
        "@kgtts " + "[" * 100_000,
        'said: @kgtts {"event": "end"}',
    ],
)
def test_what_is_no_event_changes_nothing(line: str) -> None:
    """A torn line, and one that only quotes an event, are ignored."""
    assert parse_event(line) is None
    assert read_progress([line]) == Progress()


@pytest.mark.parametrize(
    "kind", ["progress", "epoch", "eval", "checkpoint", "warning", "end", "stage", "new"]
)
def test_an_event_of_another_version_does_no_harm(kind: str) -> None:
    """Missing fields, wrong types and unknown kinds are accepted."""
    odd = {name: ["odd"] for name in ("epoch", "epochs", "step", "losses", "eta_s", "global_step", "t")}
    for line in (event(kind), "@kgtts " + json.dumps({"event": kind, **odd})):
        progress = read_progress([event("progress", **STEP), line])
        assert progress.epochs == 4
        assert progress.fraction is None or 0 <= progress.fraction <= 1


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 10**400, 1e300, -(10**400)], ids=str)
def test_a_number_that_makes_no_sense_is_not_told(number: float) -> None:
    """No time, step or loss is infinite, so that nobody else has to check."""
    odd = dict.fromkeys(("t", "epoch", "epochs", "step", "steps_per_epoch", "global_step", "eta_s"), number)
    progress = read_progress([event("progress", **{**odd, "losses": {"loss_mel": number, "loss_gen": 2.5}})])
    assert progress == Progress(losses={"loss_gen": 2.5})
    assert progress.fraction is None


def test_half_a_character_is_replaced() -> None:
    """JSON can contain half a character, and no terminal or file can."""
    lines = [
        '@kgtts {"event": "warning", "message": "\\ud800 hot"}',
        '@kgtts {"event": "end", "message": "\\udfff"}',
    ]
    progress = read_progress(lines)
    assert (progress.warnings, progress.end_message) == (("? hot",), "?")
