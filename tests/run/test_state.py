"""Reading any `state.json` is safe, whatever a server gives: a usable result, or none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import untrusted
from orchestrator.run.state import SavedCheckpoint, SessionResult, StateError, parse_state, read_state

GOOD: dict[str, Any] = {
    "schema": 1,
    "run": {"id": "3f9c", "session": 2},
    "status": "complete",
    "reason": "budget",
    "message": "The budget is used.",
    "global_step": 1260,
    "epoch": 2,
    "epochs": 10,
    "checkpoint": "training/checkpoint_1260.pth",
    "checkpoints": [{"path": "training/checkpoint_1260.pth", "sha256": "ab" * 32, "size": 1}],
    "seconds": {"total": 3600.5},
    "done": True,
    "done_reason": "epochs",
    "best_loss": 21.5,
    "seconds_per_epoch": 465.0,
    "steps_per_epoch": 630,
    "history": [
        {
            "session": 1,
            "kernel": "asha/x-a",
            "from_step": 0,
            "to_step": 630,
            "from_epoch": 0,
            "to_epoch": 1,
            "reason": "budget",
            "seconds": 600.0,
        },
        {"session": 2, "kernel": "asha/x-b", "from_step": 630, "to_step": 630, "seconds": 1},
    ],
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def read(**changes: Any) -> SessionResult | None:
    """Read the good state with some of it changed."""
    return read_state(json.dumps({**GOOD, **changes}).encode())


def test_a_whole_state_is_read_whole() -> None:
    """Every field that the chain uses is read, with the checkpoint's hash."""
    result = read()
    assert result is not None
    assert (result.run, result.session, result.status, result.reason) == ("3f9c", 2, "complete", "budget")
    assert (result.global_step, result.epoch, result.epochs, result.steps_per_epoch) == (1260, 2, 10, 630)
    assert (result.sha256, result.seconds, result.seconds_per_epoch) == ("ab" * 32, 3600.5, 465.0)
    assert (result.done, result.done_reason, result.best_loss) == (True, "epochs", 21.5)
    assert [(item.to_step, item.advanced) for item in result.history] == [(630, True), (630, False)]


@pytest.mark.parametrize(("saved_in", "made"), [(2, 3), (3, 3), (None, 3), (4, 4)])
def test_epochs_are_counted_to_the_end_of_the_last_one(saved_in: int | None, made: int) -> None:
    """The last checkpoint is saved within the last epoch, so its number is one too few at the end."""
    history = [{**GOOD["history"][0], "to_epoch": 3}]
    result = read(epoch=saved_in, history=history)
    assert result is not None
    assert result.epochs_done == made


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"1e999",
        b'{"schema": 2}',
        b'{"schema": 1}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"schema": 1, "run": ' + b"9" * 5000 + b"}",
        json.dumps({**GOOD, "run": None}).encode(),
        json.dumps({**GOOD, "run": {"id": "x", "session": "two"}}).encode(),
        json.dumps({**GOOD, "run": {"id": "x", "session": True}}).encode(),
        json.dumps({**GOOD, "history": {"a": 1}}).encode(),
        json.dumps({**GOOD, "checkpoints": [["path"]]}).encode(),
        json.dumps({**GOOD, "checkpoints": [{"path": [], "sha256": ""}]}).encode(),
        json.dumps({**GOOD, "seconds": [1]}).encode(),
    ],
)
def test_what_is_no_state_is_named(data: bytes | None) -> None:
    """A missing, truncated, too deep or foreign state is an error, never silently empty."""
    assert read_state(data) is None
    with pytest.raises(StateError) as caught:
        parse_state(data or b"")
    assert caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("value", [-1, True, "12", 1.5, 10**400, [1]])
def test_a_step_that_is_no_count_is_missing(value: object) -> None:
    """A session without a step is not continued."""
    result = read(global_step=value)
    assert result is not None
    assert result.global_step is None


@pytest.mark.parametrize("value", ["1e999", "-1e999", "NaN", "-5", "1" + "0" * 400, '"1"', "true"])
def test_times_that_make_no_sense_are_missing(value: str) -> None:
    """No time can overflow the arithmetic of limits."""
    text = json.dumps({**GOOD, "seconds_per_epoch": "?", "seconds": {"total": "?"}}).replace('"?"', value)
    result = read_state(text.encode())
    assert result is not None
    assert (result.seconds_per_epoch, result.seconds) == (None, 0.0)


def test_words_cannot_steer_a_terminal() -> None:
    """Control characters, line ends and lone surrogates are removed, and the length is bounded."""
    result = read(message="\x1b[2Jbad\r\nnews \ud800\u202eend" + "x" * 10_000)
    assert result is not None
    assert result.message.startswith("bad news end")
    assert len(result.message) == 2000


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    """Any bytes are read without an exception."""
    read_state(data)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), json_values))
def test_any_values_are_survived(changes: dict[str, Any]) -> None:
    """Each field may have any value; what is read has the declared types."""
    result = read(**{**changes, "schema": 1})
    if result is not None:
        assert result.global_step is None or result.global_step >= 0
        assert result.seconds >= 0
        assert result.message == untrusted.one_line(result.message)
        assert all(item.seconds >= 0 for item in result.history)


def test_checkpoints_that_cannot_be_checked_are_left_out() -> None:
    """A checkpoint needs a path, a step, a size and a hash; the others still count."""
    whole = {"path": "training/a  b/checkpoint_9.pth", "global_step": 9, "size": 5, "sha256": "cd" * 32}
    lacking = [{**whole, key: None} for key in whole if key != "path"]
    result = read(checkpoints=[*lacking, whole], best_model="training/best_model_9.pth")
    assert result is not None
    assert result.checkpoints == (SavedCheckpoint(**whole),)
    assert result.best_model == "training/best_model_9.pth"
