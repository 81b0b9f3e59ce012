"""The measurements of runs as curves, as a page's script draws them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.metrics import MetricsTable, Series

# A run of 1000 epochs of 630 steps, of which every 25th is printed, has 26,000 points a curve. A browser
# draws that; with many more it stutters, so those are thinned in such a way that every peak stays.
MOST_POINTS = 60_000
AVERAGE = "avg_"
GPU_BUSY, GPU_MEMORY = "GPU busy (%)", "GPU memory (GiB)"
SHARES, SAMPLES = "Share of the time", "Samples a second"
_BYTES = 1e9
_MIB = 1024.0
Kind = Literal["train", "eval", "epoch", "system"]
_WORDS: Mapping[Kind, str] = {"train": "training", "epoch": "epoch's average", "eval": "evaluation"}


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart.

    Attributes:
        run: which of the page's runs it is of.
        kind: `train`, `eval`, `epoch` (an average over one) or `system`.
        label: its name in the legend.
        steps: steps of the run, for `system` -1.
        hours: hours of the run's sessions, one after the other.
        values: what is drawn; what is not finite leaves a gap.
    """

    run: int
    kind: Kind
    label: str
    steps: list[int]
    hours: list[float | None]
    values: list[float | None]
    thinned_from: int | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """A run's table with what places it: a label, and the seconds of its sessions."""

    table: MetricsTable
    label: str = ""
    session_seconds: Mapping[int, float] = field(default_factory=dict)

    def offsets(self) -> dict[int, float]:
        """The seconds of all sessions before each."""
        longest = dict(self.session_seconds)
        for index in range(self.table.moment_count):
            moment = self.table.moment_at(index)
            if moment.session is not None and moment.time is not None:
                longest[moment.session] = max(moment.time, longest.get(moment.session, 0.0))
        before, total = {}, 0.0
        for session in sorted(longest):
            before[session] = total
            total += longest[session]
        return before


def resource(name: str) -> tuple[str, float]:
    """The chart that a resource's curve goes into, and what its values are divided by.

    The second card's memory is as large as the first one's: it has no chart.
    """
    endings = {
        "_utilisation": (GPU_BUSY, 1.0),
        "_memory_used_mb": (GPU_MEMORY, _MIB),
        "gpus_0_memory_total_mb": (GPU_MEMORY, _MIB),
        "_memory_total_mb": ("", 1.0),
        "disk_used_bytes": ("Disk (GB)", _BYTES),
        "disk_limit_bytes": ("Disk (GB)", _BYTES),
        "ram_used_bytes": ("Memory (GB)", _BYTES),
        "loader_wait_share": (SHARES, 1.0),
        "goodput": (SHARES, 1.0),
        "goodput_since_first_step": (SHARES, 1.0),
        "samples_per_s": (SAMPLES, 1.0),
        "epoch_seconds": ("Seconds an epoch", 1.0),
    }
    return next((value for ending, value in endings.items() if name.endswith(ending)), (name, 1.0))


def make_curve(run: int, label: str, series: Series, offsets: Mapping[int, float], scale: float) -> Curve:
    """A curve of a series.

    Args:
        run: which of the page's runs it is of.
        label: that run's letter, or nothing.
        series: the values.
        offsets: the seconds before each session.
        scale: what values are divided by.
    """
    train: Kind = "epoch" if series.name.startswith(AVERAGE) else "train"
    kind: Kind = train if series.split == "train" else series.split
    words = {**_WORDS, "system": _use(series.name)}
    chosen = thin(series.values, MOST_POINTS)
    return Curve(
        run=run,
        kind=kind,
        label=" ".join(part for part in (label, words[kind]) if part),
        steps=[series.steps[index] for index in chosen],
        hours=[_hour(series, index, offsets) for index in chosen],
        values=[_number(series.values[index] / scale) for index in chosen],
        thinned_from=len(series) if len(chosen) < len(series) else None,
    )


def _use(name: str) -> str:
    """A resource's name in a legend."""
    card = re.fullmatch(r"gpus_(\d+)_(.*)", name)
    name = name if card is None else f"GPU {card[1]} {card[2].replace('utilisation', '')}"
    name = "limit" if card is not None and "memory_total" in name else name
    for ending, word in (("_bytes", ""), ("_mb", ""), ("memory_used", "")):
        name = name.replace(ending, word)
    return " ".join(name.replace("_", " ").split())


def _hour(series: Series, index: int, offsets: Mapping[int, float]) -> float | None:
    time = series.times[index]
    if math.isnan(time):
        return None
    return round((time + offsets.get(series.sessions[index], 0.0)) / 3600, 4)


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def thin(values: Sequence[float], most: int) -> Sequence[int]:
    """Which points to draw: all of them up to `most`; else each stretch's first, lowest and highest."""
    if len(values) <= most:
        return range(len(values))
    width = -(-len(values) * 3 // most)
    chosen = {len(values) - 1}
    for begin in range(0, len(values), width):
        stretch = range(begin, min(begin + width, len(values)))
        finite = [index for index in stretch if math.isfinite(values[index])]
        chosen.add(begin)
        if finite:
            chosen |= {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
    return sorted(chosen)
