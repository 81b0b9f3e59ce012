"""The eval loss over a run, from the `metrics.jsonl` of the sessions that were pulled.

The files come from a server: nothing in them is trusted, and what is no measurement is passed over.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

METRICS_FILE = "metrics.jsonl"
_MOST = 1e30  # No loss; and neither infinite, nor no number, nor too long for a float.
_WATCHED = ("avg_loss_mel", "avg_loss", "avg_loss_1", "avg_loss_gen")  # What an ear hears, first.


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation: its session, its step and the loss that is watched."""

    session: int
    step: int
    loss: float


def read_curve(folder: Path) -> list[Evaluation]:
    """The evaluations of all sessions below `folder`, in order of steps; none where nothing was pulled."""
    found: dict[tuple[int, int], Evaluation] = {}
    for path in sorted(folder.glob(f"session-*/{METRICS_FILE}")):
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                found |= {(item.session, item.step): item for item in evaluations(file)}
        except OSError:
            continue  # A curve is a convenience; the pass itself has succeeded.
    return [found[key] for key in sorted(found, key=lambda key: (key[1], key[0]))]


def evaluations(lines: Iterable[str]) -> Iterator[Evaluation]:
    """The evaluations in the lines of a `metrics.jsonl`."""
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict) or event.get("event") != "eval":
            continue
        session, step, loss = event.get("session"), event.get("global_step"), _watched(event.get("losses"))
        if _is_count(session) and _is_count(step) and loss is not None:
            yield Evaluation(session, step, loss)


def _watched(losses: object) -> float | None:
    if not isinstance(losses, dict):
        return None
    names = [name for name in _WATCHED if name in losses] or sorted(
        name for name in losses if isinstance(name, str) and "loss" in name
    )
    value = losses[names[0]] if names else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MOST:
        return None
    return float(value)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
