"""The charts of a page: curves on the same axes, with the same facts in words and in a table."""

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal

from orchestrator.metrics import MetricsTable, Series, watched_loss
from orchestrator.metrics.hours import hour_at, session_offsets
from orchestrator.metrics.losses import meaning_of

# A run of 1000 epochs of 630 steps that prints every 25th step has 26,000 points per curve, which a browser
# can draw. With many more it becomes slow, so longer curves are thinned, in such a way that every peak stays.
MOST_POINTS = 60_000
_MEAN_PREFIX = "avg_"
_GPU_BUSY, _GPU_MEMORY = "GPU busy (%)", "GPU memory (GiB)"
_SHARES, _SPEED = "Share of the time", "Recordings per second"
_GB = 1e9
_MIB = 1024.0
Kind = Literal["train", "eval", "epoch", "system"]
_LABELS: Mapping[Kind, str] = {"train": "training", "epoch": "mean of the epoch", "eval": "evaluation"}
_RESOURCE_LABELS = {
    "goodput": "training",
    "goodput_since_first_step": "training, since the first step",
    "loader_wait_share": "waiting for data",
    "samples_per_s": "recordings per second",
    "epoch_seconds": "seconds",
}

_ROWS = 12
_DETAIL = ("loss_disc_real_", "grad_norm", "amp_scaler", "step_time", "loader_time")
_RATE = "current_lr"
_KNOWN = (
    *("loss_mel", "loss_gen", "loss_disc", "loss_kl", "loss_feat", "loss_duration"),
    *(_GPU_BUSY, _GPU_MEMORY, _SHARES, _SPEED),
)
Group = Literal["score", "loss", "rate", "detail", "resource"]
_GROUPS: tuple[Group, ...] = ("loss", "rate", "detail", "resource")


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of a chart.

    Attributes:
        run: the index of its run on the page.
        kind: `train`, `eval`, `epoch` (a mean over an epoch) or `system` (the machine).
        label: its name in the legend.
        steps: steps of the run; -1 for `system`.
        hours: hours since the run began, sessions added up; None if unknown.
        values: what is drawn; None, for a value that is not finite, leaves a gap.
        thinned_from: how many points it had; None if all of them are drawn.
    """

    run: int
    kind: Kind
    label: str
    steps: list[int]
    hours: list[float | None]
    values: list[float | None]
    thinned_from: int | None = None


@dataclass(frozen=True, slots=True)
class ChartedRun:
    """A run's measurements, its letter on a page of two runs, and how many seconds its sessions took."""

    table: MetricsTable
    label: str = ""
    session_seconds: Mapping[int, float] = field(default_factory=dict)

    def offsets(self) -> dict[int, float]:
        """The seconds of all sessions before each session."""
        return session_offsets(self.table, self.session_seconds)


def _resource(name: str) -> tuple[str, float]:
    """The chart that shows a resource, and the unit that its values are divided by.

    The memory of the second GPU is as large as that of the first: it has no chart.
    """
    endings = {
        "_utilisation": (_GPU_BUSY, 1.0),
        "_memory_used_mb": (_GPU_MEMORY, _MIB),
        "gpus_0_memory_total_mb": (_GPU_MEMORY, _MIB),
        "_memory_total_mb": ("", 1.0),
        "disk_used_bytes": ("Disk (GB)", _GB),
        "disk_limit_bytes": ("Disk (GB)", _GB),
        "ram_used_bytes": ("Main memory (GB)", _GB),
        "loader_wait_share": (_SHARES, 1.0),
        "goodput": (_SHARES, 1.0),
        "goodput_since_first_step": (_SHARES, 1.0),
        "samples_per_s": (_SPEED, 1.0),
        "epoch_seconds": ("Duration of an epoch (s)", 1.0),
    }
    return next((value for ending, value in endings.items() if name.endswith(ending)), (name, 1.0))


def _curve(run: int, label: str, series: Series, offsets: Mapping[int, float], scale: float) -> ChartLine:
    """A curve of a series.

    Args:
        run: the index of its run on the page.
        label: the run's letter, or nothing.
        series: the values.
        offsets: the seconds before each session.
        scale: the unit that values are divided by.
    """
    train: Kind = "epoch" if series.name.startswith(_MEAN_PREFIX) else "train"
    kind: Kind = train if series.split == "train" else series.split
    names = {**_LABELS, "system": _resource_label(series.name)}
    chosen = thin(series.values, MOST_POINTS)
    return ChartLine(
        run=run,
        kind=kind,
        label=" ".join(part for part in (label, names[kind]) if part),
        steps=[series.steps[index] for index in chosen],
        hours=[_hour(series, index, offsets) for index in chosen],
        values=[_rounded(series.values[index] / scale) for index in chosen],
        thinned_from=len(series) if len(chosen) < len(series) else None,
    )


def _resource_label(name: str) -> str:
    """A resource's name in the legend."""
    if name in _RESOURCE_LABELS:
        return _RESOURCE_LABELS[name]
    card = re.fullmatch(r"gpus_(\d+)_(.*)", name)
    name = name if card is None else f"GPU {card[1]} {card[2].replace('utilisation', '')}"
    name = "limit" if card is not None and "memory_total" in name else name
    for ending, word in (("_bytes", ""), ("_mb", ""), ("memory_used", "")):
        name = name.replace(ending, word)
    return " ".join(name.replace("_", " ").split())


def _hour(series: Series, index: int, offsets: Mapping[int, float]) -> float | None:
    hour = hour_at(series, index, offsets)
    return None if hour is None else round(hour, 4)


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def thin(values: Sequence[float], most: int) -> Sequence[int]:
    """Which points to draw: up to `most` all; of more the first, lowest and highest of each stretch."""
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


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves on the same axes, and the same as a sentence and a table.

    Attributes:
        id: its element on the page.
        meaning: a sentence about what it shows; empty if there is none.
        words: a sentence for people who do not see the chart.
        columns: the head of its table.
        rows: some rows of the table.
    """

    id: str
    title: str
    group: Group
    curves: tuple[ChartLine, ...]
    meaning: str = ""
    words: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def make_charts(runs: Sequence[ChartedRun]) -> list[Chart]:
    """All charts: the watched loss, the other losses, the learning rate, details, resources."""
    collected: dict[tuple[Group, str], list[ChartLine]] = {}
    for number, run in enumerate(runs):
        offsets = run.offsets()
        for (name, split), series in run.table.series().items():
            base = name.removeprefix(_MEAN_PREFIX)
            group: Group = "resource" if split == "system" else _group(base)
            if split == "system":
                base, scale = _resource(name)
            else:
                scale = 1.0
            curve = _curve(number, run.label, series, offsets, scale)
            # Resources are drawn over time, all else over steps.
            places = curve.hours if split == "system" else curve.steps
            if base and any(place is not None for place in places):
                collected.setdefault((group, base), []).append(curve)
    names = [name for run in runs for name, split in run.table.series() if split == "eval"]
    first = (watched_loss(names) or "loss_mel").removeprefix(_MEAN_PREFIX)
    keys = sorted(collected, key=lambda key: (_GROUPS.index(key[0]), key[1] != first, _place(key[1]), key[1]))
    return [
        make_chart(f"chart-{number}", title, group, collected[group, title], meaning_of(title))
        for number, (group, title) in enumerate(keys)
    ]


def _group(base: str) -> Group:
    if base.startswith(_RATE):
        return "rate"
    return "loss" if "loss" in base and not base.startswith(_DETAIL) else "detail"


def _place(name: str) -> int:
    return _KNOWN.index(name) if name in _KNOWN else len(_KNOWN)


def make_chart(id: str, title: str, group: Group, curves: Sequence[ChartLine], meaning: str) -> Chart:  # noqa: A002
    """A chart of some curves, with its words and its table."""
    order = ("train", "epoch", "eval", "system")
    curves = sorted(curves, key=lambda curve: (curve.run, order.index(curve.kind), curve.label))
    columns, rows = _rows(curves, by_hours=group == "resource")
    words = " ".join(_sentence(curve, by_hours=group == "resource") for curve in curves)
    return Chart(id, title, group, tuple(curves), meaning, words, columns, rows)


def _sentence(curve: ChartLine, *, by_hours: bool) -> str:
    finite = [index for index, value in enumerate(curve.values) if value is not None]
    if not finite:
        return f"{curve.label}: no finite values."
    low, high = (pick(finite, key=lambda index: curve.values[index] or 0.0) for pick in (min, max))

    def at(index: int) -> str:
        where = _where(curve, index, by_hours=by_hours)
        return f"{curve.values[index]:.4g}{f' at {where}' if where else ''}"

    return (
        f"{curve.label}: {len(curve.values):,} values, first {at(finite[0])}, last {at(finite[-1])}, "
        f"lowest {at(low)}, highest {at(high)}."
    )


def _where(curve: ChartLine, index: int, *, by_hours: bool) -> str:
    hour = curve.hours[index]
    if by_hours:
        return "" if hour is None else f"{hour:.2f} h"
    return f"step {curve.steps[index]:,}" if curve.steps[index] >= 0 else ""


def _rows(
    curves: Sequence[ChartLine], *, by_hours: bool
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Some rows of all curves side by side, evenly spaced along the curve with the fewest points."""
    main = min(curves, key=lambda curve: (curve.kind != "eval", -len(curve.values)))
    places = [_places(curve, by_hours=by_hours) for curve in curves]
    wanted = places[curves.index(main)]
    count = min(_ROWS, len(wanted))
    picks = sorted({round(item * (len(wanted) - 1) / max(1, count - 1)) for item in range(count)})
    rows = []
    for here in [wanted[pick] for pick in picks]:
        cells = [f"{here:.2f}" if by_hours else f"{here:,.0f}"]
        for curve, known in zip(curves, places, strict=True):
            index = bisect_right(known, here) - 1
            value = curve.values[index] if index >= 0 else None
            cells.append("" if value is None else f"{value:.5g}")
        rows.append(tuple(cells))
    return ("Hours" if by_hours else "Step", *(curve.label for curve in curves)), tuple(rows)


def _places(curve: ChartLine, *, by_hours: bool) -> list[float]:
    """The places of the curve's points, never decreasing; an unknown one is that of the previous point."""
    places: Iterable[float] = (hour or 0.0 for hour in curve.hours) if by_hours else curve.steps
    return list(accumulate(places, max))


def chart_data(charts: Sequence[Chart], runs: Sequence[ChartedRun]) -> dict[str, Any]:
    """The data for the page's script, as JSON; axes shared by several curves are in it once."""
    axes: dict[tuple[tuple[int, ...], tuple[float | None, ...]], int] = {}

    def axis(curve: ChartLine) -> int:
        return axes.setdefault((tuple(curve.steps), tuple(curve.hours)), len(axes))

    drawn = [
        {
            "id": chart.id,
            "title": chart.title,
            "group": chart.group,
            "curves": [
                {
                    "run": curve.run,
                    "kind": curve.kind,
                    "label": curve.label,
                    "axis": axis(curve),
                    "y": curve.values,
                }
                for curve in chart.curves
            ],
        }
        for chart in charts
    ]
    return {
        "charts": drawn,
        "axes": [{"step": list(steps), "hour": list(hours)} for steps, hours in axes],
        "runs": [_marks(run) for run in runs],
    }


def _marks(run: ChartedRun) -> dict[str, Any]:
    """Where a run's sessions start, and its best model, by step and hour."""
    offsets = run.offsets()
    best = run.table.best_steps()
    return {
        "label": run.label,
        "starts": [
            {
                "session": start.session,
                "step": start.step,
                "hour": round(offsets.get(start.session, 0.0) / 3600, 4),
            }
            for start in run.table.session_starts()
        ],
        "best": best[-1] if best else None,
    }


def thinned(charts: Iterable[Chart]) -> Iterator[tuple[str, int]]:
    """The titles of charts that do not show all points, and how many points one of their curves has."""
    for chart in charts:
        most = max((curve.thinned_from or 0 for curve in chart.curves), default=0)
        if most:
            yield chart.title, most
