"""The charts of a page: curves on the same axes, and the same in words and rows."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from orchestrator.metrics import watched_loss
from orchestrator.report.curves import (
    AVERAGE,
    GPU_BUSY,
    GPU_MEMORY,
    SAMPLES,
    SHARES,
    Curve,
    Track,
    make_curve,
    resource,
)

_ROWS = 12
_DETAIL = ("loss_disc_real_", "grad_norm", "amp_scaler", "step_time", "loader_time")
_RATE = "current_lr"
_KNOWN = (
    *("loss_mel", "loss_gen", "loss_disc", "loss_kl", "loss_feat", "loss_duration"),
    *(GPU_BUSY, GPU_MEMORY, SHARES, SAMPLES),
)
Group = Literal["loss", "rate", "detail", "resource"]
_GROUPS: tuple[Group, ...] = ("loss", "rate", "detail", "resource")


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves on the same axes, with a text that says what they show."""

    id: str
    title: str
    group: Group
    curves: tuple[Curve, ...]
    words: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def make_charts(tracks: Sequence[Track]) -> list[Chart]:
    """All charts: the watched loss first, then the other losses, the learning rate, details and resources."""
    collected: dict[tuple[Group, str], list[Curve]] = {}
    for number, track in enumerate(tracks):
        offsets = track.offsets()
        for (name, split), series in track.table.series().items():
            base = name.removeprefix(AVERAGE)
            group: Group = "resource" if split == "system" else _group(base)
            if split == "system":
                base, scale = resource(name)
            else:
                scale = 1.0
            curve = make_curve(number, track.label, series, offsets, scale)
            # A resource is drawn over time, all else over steps.
            if base and any(
                place is not None for place in (curve.hours if split == "system" else curve.steps)
            ):
                collected.setdefault((group, base), []).append(curve)
    names = [name for track in tracks for name, split in track.table.series() if split == "eval"]
    first = (watched_loss(names) or "loss_mel").removeprefix(AVERAGE)
    keys = sorted(collected, key=lambda key: (_GROUPS.index(key[0]), key[1] != first, _place(key[1]), key[1]))
    return [_chart(number, key, collected[key]) for number, key in enumerate(keys)]


def _group(base: str) -> Group:
    if base.startswith(_RATE):
        return "rate"
    return "loss" if "loss" in base and not base.startswith(_DETAIL) else "detail"


def _place(name: str) -> int:
    return _KNOWN.index(name) if name in _KNOWN else len(_KNOWN)


def _chart(number: int, key: tuple[Group, str], curves: list[Curve]) -> Chart:
    group, title = key
    order = ("train", "epoch", "eval", "system")
    curves = sorted(curves, key=lambda curve: (curve.run, order.index(curve.kind), curve.label))
    columns, rows = _rows(curves, by_hours=group == "resource")
    words = " ".join(_in_words(curve, by_hours=group == "resource") for curve in curves)
    return Chart(f"chart-{number}", title, group, tuple(curves), words=words, columns=columns, rows=rows)


def _in_words(curve: Curve, *, by_hours: bool) -> str:
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


def _where(curve: Curve, index: int, *, by_hours: bool) -> str:
    hour = curve.hours[index]
    if by_hours:
        return "" if hour is None else f"{hour:.2f} h"
    return f"step {curve.steps[index]:,}" if curve.steps[index] >= 0 else ""


def _rows(curves: Sequence[Curve], *, by_hours: bool) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """A few rows of the curves side by side, at evenly spaced points of the scarcest of them."""
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


def _places(curve: Curve, *, by_hours: bool) -> list[float]:
    """Where the curve's points stand, never going back: an unknown place is that of the point before."""
    places: Iterable[float] = (hour or 0.0 for hour in curve.hours) if by_hours else curve.steps
    return list(accumulate(places, max))


def as_data(charts: Sequence[Chart], tracks: Sequence[Track]) -> dict[str, Any]:
    """What the page's script draws, as JSON; axes that several curves share stand in it once."""
    axes: dict[tuple[tuple[int, ...], tuple[float | None, ...]], int] = {}

    def axis(curve: Curve) -> int:
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
        "runs": [_marks(track) for track in tracks],
    }


def _marks(track: Track) -> dict[str, Any]:
    """A run's session borders and best model, by steps and by hours."""
    offsets = track.offsets()
    best = track.table.best_steps()
    return {
        "label": track.label,
        "borders": [
            {
                "session": border.session,
                "step": border.step,
                "hour": round(offsets.get(border.session, 0.0) / 3600, 4),
            }
            for border in track.table.session_starts()
        ],
        "best": best[-1] if best else None,
    }


def thinned(charts: Iterable[Chart]) -> Iterator[tuple[str, int]]:
    """The titles of charts that do not show every point, and how many points one of their curves has."""
    for chart in charts:
        most = max((curve.thinned_from or 0 for curve in chart.curves), default=0)
        if most:
            yield chart.title, most
