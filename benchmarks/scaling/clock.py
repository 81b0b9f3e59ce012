"""Seconds of a step on one rank, on two, and on two that average nothing: rounds of all three in turn."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scaling.voices import SmallVoice

_BATCH = 4
_STEPS, _WARM_UP = 20, 6
_WAYS: dict[str, dict[str, Any]] = {
    "one rank": {"ranks": 1},
    "two ranks": {"ranks": 2},
    "two ranks that average nothing": {"ranks": 2, "apart": True},
}


def step_seconds(result: dict[str, Any]) -> float:
    """Return the median of the seconds between the ends of two steps of one epoch."""
    steps = result["steps"][_WARM_UP:]
    pairs = [pair for pair in itertools.pairwise(steps) if pair[0]["epoch"] == pair[1]["epoch"]]
    seconds: float = median(after["ended"] - before["ended"] for before, after in pairs)
    return seconds


def rounds(folder: Path, count: int) -> Iterator[str]:
    """Yield a line for each round, and the medians of the ratios.

    Args:
        folder: for all files.
        count: how many rounds.
    """
    small = SmallVoice.make(folder, utterances=96, held_out=2, speaking=False)
    changes = {"batch_size": _BATCH, "epochs": 1000}
    found: list[list[float]] = []
    yield f"seconds an utterance, batch {_BATCH}; load of the machine: other work too, of the last minute"
    yield f"| round | load | {' | '.join(_WAYS)} | gain | averaging |"
    for number in range(count):
        load = os.getloadavg()[0]
        order = list(_WAYS.items())[:: -1 if number % 2 else 1]
        seconds = {
            way: step_seconds(small.train(f"time-{number}", changes, steps=_STEPS, **asked))
            for way, asked in order
        }
        one, two, apart = (seconds[way] for way in _WAYS)
        found.append([2 * one / two, two / apart - 1])
        each = (one / _BATCH, two / _BATCH / 2, apart / _BATCH / 2)
        cells = " | ".join(f"{value:.4f}" for value in each)
        yield f"| {number + 1} | {load:.1f} | {cells} | {found[-1][0]:.2f} | {found[-1][1]:+.1%} |"
    gain, averaging = (median(values) for values in zip(*found, strict=True))
    yield f"medians: two ranks are {gain:.2f} times as fast as one; averaging adds {averaging:.1%} to a step"
