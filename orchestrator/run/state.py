"""`state.json`: what a session left, as far as the chain needs it.

It comes from a server: nothing in it is trusted. A file that is not one of ours is none; a field that makes
no sense in one of ours is missing.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.models import SessionSummary

STATE_FILE = "state.json"
_LONGEST_TEXT = 2000
_MOST = 1 << 53  # Steps, epochs and seconds beyond that are nobody's.


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A checkpoint as the session lists it: its path below the outputs, its step, bytes and SHA-256 (hex).

    The path is as the file has it: good for finding an output, and not for writing one.
    """

    path: str
    global_step: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SessionResult:
    """What a session's `state.json` says."""

    run: str
    session: int
    status: str
    reason: str
    message: str
    global_step: int | None
    epoch: int | None
    checkpoint: str | None
    sha256: str | None
    done: bool
    done_reason: str | None
    best_loss: float | None
    seconds_per_epoch: float | None
    seconds: float
    history: tuple[SessionSummary, ...]
    epochs: int | None = None
    steps_per_epoch: int | None = None
    checkpoints: tuple[SavedCheckpoint, ...] = ()
    best_model: str | None = None


def read_state(data: bytes | None) -> SessionResult | None:
    """The content of a `state.json`; None where it is none that the chain can use."""
    try:
        state = json.loads(data or b"")
        if not isinstance(state, dict) or state.get("schema") != 1:
            return None
        return _result(state)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def one_line(text: object) -> str:
    """A server's text as it can be shown anywhere: one line, printable, not endless."""
    flat = " ".join(str(text)[: 2 * _LONGEST_TEXT].split())
    return "".join(letter for letter in flat if letter.isprintable())[:_LONGEST_TEXT]


def _result(state: Mapping[str, Any]) -> SessionResult:
    checkpoint = _text(state.get("checkpoint"))
    hashes = {item["path"]: item["sha256"] for item in state.get("checkpoints") or []}
    session = _count(state["run"]["session"])
    if session is None:
        raise ValueError(session)
    return SessionResult(
        run=one_line(state["run"]["id"]),
        session=session,
        status=one_line(state["status"]),
        reason=one_line(state.get("reason") or ""),
        message=one_line(state.get("message") or ""),
        global_step=_count(state.get("global_step")),
        epoch=_count(state.get("epoch")),
        checkpoint=checkpoint,
        sha256=_text(hashes.get(checkpoint)),
        done=state.get("done") is True,
        done_reason=_text(state.get("done_reason")),
        best_loss=_number(state.get("best_loss")),
        seconds_per_epoch=_span(state.get("seconds_per_epoch")),
        seconds=_span((state.get("seconds") or {}).get("total")) or 0.0,
        history=tuple(_summary(item) for item in state.get("history") or []),
        epochs=_count(state.get("epochs")),
        steps_per_epoch=_count(state.get("steps_per_epoch")),
        checkpoints=tuple(_checkpoints(state.get("checkpoints"))),
        best_model=_text(state.get("best_model")),
    )


def _checkpoints(listed: object) -> Iterator[SavedCheckpoint]:
    """Those of the list that can be checked."""
    for item in listed if isinstance(listed, list) else []:
        path, sha256 = item.get("path"), _text(item.get("sha256"))
        step, size = _count(item.get("global_step")), _count(item.get("size"))
        if isinstance(path, str) and sha256 is not None and step is not None and size is not None:
            yield SavedCheckpoint(path, step, size, sha256)


def _summary(item: Mapping[str, Any]) -> SessionSummary:
    return SessionSummary(
        session=_count(item["session"]) or 0,
        kernel=one_line(item["kernel"]),
        from_step=_count(item.get("from_step")) or 0,
        to_step=_count(item.get("to_step")) or 0,
        from_epoch=_count(item.get("from_epoch")) or 0,
        to_epoch=_count(item.get("to_epoch")) or 0,
        reason=one_line(item.get("reason") or ""),
        seconds=_span(item.get("seconds")) or 0.0,
    )


def _text(value: object) -> str | None:
    return one_line(value) if isinstance(value, str) else None


def _count(value: object) -> int | None:
    """A number of steps, epochs or sessions."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST:
        return None
    return value


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < _MOST:
        return None
    return float(value) if math.isfinite(value) else None


def _span(value: object) -> float | None:
    """Seconds that something took."""
    number = _number(value)
    return None if number is None or number < 0 else number
