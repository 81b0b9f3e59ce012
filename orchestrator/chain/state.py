"""`state.json`: what a session left, as far as the chain needs it.

It comes from a server: nothing in it is trusted.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STATE_FILE = "state.json"


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One line of a run's history. Steps and epochs are the run's own counts; times are seconds."""

    session: int
    kernel: str
    from_step: int
    to_step: int
    from_epoch: int
    to_epoch: int
    reason: str
    seconds: float

    @property
    def advanced(self) -> bool:
        """Whether the session saved anything new."""
        return self.to_step > self.from_step


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


def read_state(data: bytes | None) -> SessionResult | None:
    """The content of a `state.json`; None where it is none that the chain can use."""
    try:
        state = json.loads(data or b"")
        if not isinstance(state, dict) or state.get("schema") != 1:
            return None
        return _result(state)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _result(state: Mapping[str, Any]) -> SessionResult:
    checkpoint = _text(state.get("checkpoint"))
    hashes = {item["path"]: item["sha256"] for item in state.get("checkpoints") or []}
    return SessionResult(
        run=str(state["run"]["id"]),
        session=int(state["run"]["session"]),
        status=str(state["status"]),
        reason=str(state.get("reason") or ""),
        message=str(state.get("message") or ""),
        global_step=_integer(state.get("global_step")),
        epoch=_integer(state.get("epoch")),
        checkpoint=checkpoint,
        sha256=_text(hashes.get(checkpoint)),
        done=state.get("done") is True,
        done_reason=_text(state.get("done_reason")),
        best_loss=_number(state.get("best_loss")),
        seconds_per_epoch=_number(state.get("seconds_per_epoch")),
        seconds=_number((state.get("seconds") or {}).get("total")) or 0.0,
        history=tuple(_summary(item) for item in state.get("history") or []),
    )


def _summary(item: Mapping[str, Any]) -> SessionSummary:
    return SessionSummary(
        session=int(item["session"]),
        kernel=str(item["kernel"]),
        from_step=int(item.get("from_step") or 0),
        to_step=int(item.get("to_step") or 0),
        from_epoch=int(item.get("from_epoch") or 0),
        to_epoch=int(item.get("to_epoch") or 0),
        reason=str(item.get("reason") or ""),
        seconds=float(item.get("seconds") or 0.0),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
