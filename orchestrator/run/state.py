"""`state.json`: what a session left, as far as the chain needs it.

It comes from a server: nothing in it is trusted. A file that is not one of ours is none; a field that makes
no sense in one of ours is missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator import untrusted
from orchestrator.models import SessionSummary

STATE_FILE = "state.json"


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
    state = untrusted.json_object(data)
    if state is None or state.get("schema") != 1:
        return None
    try:
        return _result(state)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _result(state: Mapping[str, Any]) -> SessionResult:
    checkpoint = untrusted.text(state.get("checkpoint"))
    hashes = {item["path"]: item["sha256"] for item in state.get("checkpoints") or []}
    session = untrusted.count(state["run"]["session"])
    if session is None:
        raise ValueError(session)
    return SessionResult(
        run=untrusted.one_line(state["run"]["id"]),
        session=session,
        status=untrusted.one_line(state["status"]),
        reason=untrusted.one_line(state.get("reason") or ""),
        message=untrusted.one_line(state.get("message") or ""),
        global_step=untrusted.count(state.get("global_step")),
        epoch=untrusted.count(state.get("epoch")),
        checkpoint=checkpoint,
        sha256=untrusted.text(hashes.get(checkpoint)),
        done=state.get("done") is True,
        done_reason=untrusted.text(state.get("done_reason")),
        best_loss=untrusted.number(state.get("best_loss")),
        seconds_per_epoch=untrusted.seconds(state.get("seconds_per_epoch")),
        seconds=untrusted.seconds((state.get("seconds") or {}).get("total")) or 0.0,
        history=tuple(_summary(item) for item in state.get("history") or []),
        epochs=untrusted.count(state.get("epochs")),
        steps_per_epoch=untrusted.count(state.get("steps_per_epoch")),
        checkpoints=tuple(_checkpoints(state.get("checkpoints"))),
        best_model=untrusted.text(state.get("best_model")),
    )


def _checkpoints(listed: object) -> Iterator[SavedCheckpoint]:
    """Those of the list that can be checked."""
    for item in listed if isinstance(listed, list) else []:
        path, sha256 = item.get("path"), untrusted.text(item.get("sha256"))
        step, size = untrusted.count(item.get("global_step")), untrusted.count(item.get("size"))
        if isinstance(path, str) and sha256 is not None and step is not None and size is not None:
            yield SavedCheckpoint(path, step, size, sha256)


def _summary(item: Mapping[str, Any]) -> SessionSummary:
    return SessionSummary(
        session=untrusted.count(item["session"]) or 0,
        kernel=untrusted.one_line(item["kernel"]),
        from_step=untrusted.count(item.get("from_step")) or 0,
        to_step=untrusted.count(item.get("to_step")) or 0,
        from_epoch=untrusted.count(item.get("from_epoch")) or 0,
        to_epoch=untrusted.count(item.get("to_epoch")) or 0,
        reason=untrusted.one_line(item.get("reason") or ""),
        seconds=untrusted.seconds(item.get("seconds")) or 0.0,
    )
