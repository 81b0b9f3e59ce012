"""Reads the state.json of the session before. It may be damaged or edited, so no value in it is trusted."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kernel_template.contract import BEST_SCORE_PREFIX, STATE_SCHEMA

_LARGEST_FILE = 16 * 1024 * 1024
_LARGEST = 1 << 53  # A float holds every integer up to here exactly.
_LONGEST_TEXT = 200
_CHECKPOINT_NAME = re.compile(rf"(?:checkpoint_|best_model_|{BEST_SCORE_PREFIX})[0-9]{{1,15}}\.pth")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBERS = ("seconds_per_epoch", "best_loss")
_COUNTS = ("global_step", "epoch", "epochs", "steps_per_epoch")
_COUNTS_OF_A_SESSION = ("from_step", "to_step", "from_epoch", "to_epoch")
_NUMBERS_OF_A_SESSION = ("seconds", "train_seconds")


class ParentStateError(Exception):
    """The file is no state.json that this session understands; the message is the end of "it …"."""


@dataclass(frozen=True, slots=True)
class CheckpointEntry:
    """A checkpoint that state.json lists; its path is relative and stays inside the mount."""

    path: PurePosixPath
    global_step: int
    size: int
    sha256: str

    @classmethod
    def read(cls, values: Any) -> "CheckpointEntry | None":
        """Read an entry of `checkpoints`; None if it does not safely name a checkpoint."""
        values = _object(values)
        step, size = _count(values.get("global_step")), _count(values.get("size"))
        path, sha256 = values.get("path"), values.get("sha256")
        if step is None or size is None or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            return None
        if not isinstance(path, str) or not _can_be_a_path(path):
            return None
        found = PurePosixPath(path)
        inside = not found.is_absolute() and ".." not in found.parts and len(found.parts) > 1
        return cls(found, step, size, sha256) if inside and _CHECKPOINT_NAME.fullmatch(found.name) else None


def read_parent_state(place: Path) -> dict[str, Any]:
    """Read what a session uses of a state.json; a value of another type than it should have is dropped.

    Raises:
        ParentStateError: it cannot be read, or has another schema.
    """
    try:
        if not place.is_file() or place.stat().st_size > _LARGEST_FILE:
            raise ParentStateError(f"is no file of at most {_LARGEST_FILE >> 20} MB")
        state = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ParentStateError(f"is damaged ({error})") from error
    if not isinstance(state, dict) or state.get("schema") != STATE_SCHEMA:
        schema = state.get("schema") if isinstance(state, dict) else None
        raise ParentStateError(f"has schema {shown(schema)} instead of {STATE_SCHEMA}")
    run, losses, export = (_object(state.get(name)) for name in ("run", "losses", "export"))
    history = state.get("history")
    return {
        "run": {
            "session": _count(run.get("session")),
            **{name: _text(run.get(name)) for name in ("id", "kernel", "fingerprint")},
        },
        "done": state.get("done") is True,
        "done_reason": _text(state.get("done_reason")),
        **{name: _count(state.get(name)) for name in _COUNTS},
        **{name: _number(state.get(name)) for name in _NUMBERS},
        "losses": {split: _losses(losses.get(split)) for split in ("train", "eval")},
        "learned": _plain(state.get("learned")),
        "export": {"base": _plain(export.get("base"))},
        "scores": state.get("scores"),  # kernel_template.scores.book reads it.
        "checkpoint": _text(state.get("checkpoint")),
        "best_model": _text(state.get("best_model")),
        "checkpoints": state.get("checkpoints"),
        "history": [item for item in map(_session, history) if item] if isinstance(history, list) else [],
    }


def shown(value: object) -> str:
    """Any value of the file on one line, for a message."""
    if not isinstance(value, str | int | float | None):
        return f"<{type(value).__name__}>"
    text = value[:_LONGEST_TEXT] if isinstance(value, str) else f"{value!r:.20}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _session(values: Any) -> dict[str, Any] | None:
    """A session of `history`; None if it has no number."""
    values = _object(values)
    number, kernel, reason = _count(values.get("session")), values.get("kernel"), values.get("reason")
    if number is None:
        return None
    session: dict[str, Any] = {"session": number}
    if isinstance(kernel, str):
        session["kernel"] = kernel[:_LONGEST_TEXT]
    session |= {
        name: found for name in _COUNTS_OF_A_SESSION if (found := _count(values.get(name))) is not None
    }
    session["reason"] = reason[:_LONGEST_TEXT] if isinstance(reason, str) else None
    spans = {name: _number(values.get(name)) for name in _NUMBERS_OF_A_SESSION}
    return session | {name: span for name, span in spans.items() if span is not None and span >= 0}


def _can_be_a_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # Half of a character, which JSON can hold.
        return False


def _losses(values: Any) -> dict[str, float]:
    found = {name: _number(value) for name, value in _object(values).items()}
    return {name[:_LONGEST_TEXT]: value for name, value in found.items() if value is not None}


def _plain(value: Any, depth: int = 2) -> Any:
    """A value without what could not be written again: deep, huge, or no number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth - 1) for key, item in value.items()} if depth else None
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return value if _number(value) is not None else None
    return value[:_LONGEST_TEXT] if isinstance(value, str) else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _LARGEST else None


def _number(value: Any) -> float | None:
    # NaN compares as false, and a huge integer is not converted.
    return value if type(value) in (int, float) and abs(value) <= _LARGEST else None
