"""What a step takes on one rank, on two, and on two that average nothing: rounds of all three in turn.

Seconds say something on an idle machine only. A rank's processor time is about the same on a busy one: it
has what averaging costs this rank, but neither its waiting for the other nor what two ranks share.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scaling.voices import SmallVoice

_BATCH = 4
_STEPS, _WARM_UP = 18, 5
_WAYS: dict[str, dict[str, Any]] = {
    "one rank": {"ranks": 1},
    "two ranks": {"ranks": 2},
    "two ranks that average nothing": {"ranks": 2, "apart": True},
}


def of_a_step(result: dict[str, Any], clock: str) -> float:
    """Return the median of what this clock of rank 0 shows between the ends of two steps of one epoch."""
    steps = result["steps"][_WARM_UP:]
    pairs = [pair for pair in itertools.pairwise(steps) if pair[0]["epoch"] == pair[1]["epoch"]]
    middle: float = median(after[clock] - before[clock] for before, after in pairs)
    return middle


def rounds(folder: Path, count: int) -> Iterator[str]:
    """Yield a line for each round, and the medians of the ratios.

    Args:
        folder: for all files.
        count: how many rounds.
    """
    small = SmallVoice.make(folder, utterances=96, held_out=2, speaking=False)
    changes = {"batch_size": _BATCH, "epochs": 1000}
    yield f"A step of {_BATCH} utterances a rank: {', '.join(_WAYS)}; load: that of the machine before"
    yield "| round | load | seconds | processor of a rank | utterances a second | averaging, processor |"
    found: list[tuple[float, float]] = []
    for number in range(count):
        load = os.getloadavg()[0]
        results = {
            way: small.train(f"time-{number}", changes, steps=_STEPS, **asked)
            for way, asked in list(_WAYS.items())[:: -1 if number % 2 else 1]
        }
        seconds = [of_a_step(results[way], "ended") for way in _WAYS]
        processor = [of_a_step(results[way], "processor") for way in _WAYS]
        found.append((2 * seconds[0] / seconds[1], processor[1] / processor[2] - 1))
        cells = [" / ".join(f"{value:.3f}" for value in values) for values in (seconds, processor)]
        ratios = f"x {found[-1][0]:.2f} | {found[-1][1]:+.1%}"
        yield f"| {number + 1} | {load:.1f} | {' | '.join(cells)} | {ratios} |"
    gain, averaging = (median(values) for values in zip(*found, strict=True))
    yield f"medians: {gain:.2f} times the utterances a second; averaging {averaging:+.1%} of the processor"
