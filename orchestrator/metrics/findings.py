"""What a training's measurements warn of: numbers that are none, losses that explode, a lost balance.

Pure functions over the table. Their limits are rules of thumb, told with each; a finding is a reason to look
and to listen, never a verdict.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median

from kernel_template.contract import EventName
from orchestrator.metrics.table import MetricsTable, Series

# What an ear hears, first.
_WATCHED = ("avg_loss_mel", "avg_loss", "avg_loss_1", "avg_loss_gen")
_NO_LOSS = ("grad_norm", "current_lr", "step_time", "loader_time", "amp_scaler")
_UNSTABLE_NORM = ("grad_norm", "amp_scaler")  # Under fp16 they overflow now and then; such steps are skipped.

_WINDOW = 50  # How many measurements before one it is compared with.
_FEWEST = 10  # Before so many nothing is said.
_EXPLODED = 5.0  # Times the highest of the window.
_LASTING = 3  # Measurements in a row: one wild batch is no explosion.
_SMALL = 1.0  # A loss below it cannot explode.

_DISCRIMINATORS = 6  # VITS: one by scale, five by period; the log tells where it lists them.
_REAL = "loss_disc_real_"
# Least-squares GAN, for each discriminator: 0.5 and 0.25 where it cannot tell voice from copy, 0 and 1 where
# it always can.
_DISC_WON = 0.1
_GEN_LOST = 0.75
_WON_FOR = 10  # Measurements in a row.

_WORSE_FOR = 5  # Evaluations since the best.
_WORSE_BY = 0.03  # The median of the last three, relative to the best.


class FindingKind(StrEnum):
    """What was found."""

    NOT_FINITE = "not_finite"
    EXPLODING = "exploding"
    DISCRIMINATOR_WINS = "discriminator_wins"
    EVAL_WORSE = "eval_worse"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Finding:
    """A warning.

    Attributes:
        kind: what was found.
        message: a sentence for people; names and a kernel's own words in it come from outside.
        name: the measurement, where it is one's.
        step: where it began, in steps of the run.
        session: the session of that step.
        value: what was measured there.
    """

    kind: FindingKind
    message: str
    name: str | None = None
    step: int | None = None
    session: int | None = None
    value: float | None = None


def find_warnings(table: MetricsTable) -> list[Finding]:
    """All findings of a table, in order of steps; those without a step last.

    What the kernel itself warned of comes in its own words, each once.
    """
    series = table.series()
    found = [
        *not_finite(series.values()),
        *exploding(series.values()),
        *discriminator_wins(table),
        *eval_worse(table),
        *_told(table),
    ]
    return sorted(found, key=lambda finding: (finding.step is None, finding.step or 0))


def watched_loss(names: Sequence[str]) -> str | None:
    """Which evaluation loss tells how good the voice is: the mel loss where there is one."""
    known = [name for name in _WATCHED if name in names]
    return next(iter(known or sorted(name for name in names if "loss" in name)), None)


def not_finite(all_series: Iterable[Series]) -> Iterator[Finding]:
    """Where a series first is NaN or infinite, and how often; norms that overflow under fp16 are left out."""
    for series in all_series:
        if series.split == "system" or series.name.startswith(_UNSTABLE_NORM):
            continue
        bad = [index for index, value in enumerate(series.values) if not math.isfinite(value)]
        if bad:
            times = "once" if len(bad) == 1 else f"{len(bad)} times"
            yield _at(
                series,
                bad[0],
                FindingKind.NOT_FINITE,
                f"{series.name} is {series.values[bad[0]]}{_where(series, bad[0])}, {times} in all: the "
                f"training has become unstable. A lower learning rate or mixed_precision = false helps.",
            )


def exploding(all_series: Iterable[Series]) -> Iterator[Finding]:
    """Where a training loss first is five times the highest of 50 values before it, three times running."""
    for series in all_series:
        if series.split != "train" or series.name.startswith(_NO_LOSS) or "loss" not in series.name:
            continue
        values = [abs(value) if math.isfinite(value) else math.inf for value in series.values]
        for index in _jumps(values):
            yield _at(
                series,
                index,
                FindingKind.EXPLODING,
                f"{series.name} jumps to {series.values[index]:.4g}{_where(series, index)}, from "
                f"{median(values[max(0, index - _WINDOW) : index]):.4g}, and stays there.",
            )
            break


def _jumps(values: Sequence[float]) -> Iterator[int]:
    highest = 0.0
    for index in range(_FEWEST, len(values) - _LASTING + 1):
        if values[index] <= _SMALL or values[index] <= _EXPLODED * values[index - 1]:
            continue  # A cheap look first: a jump is one from the value before.
        highest = max(values[max(0, index - _WINDOW) : index])
        if min(values[index : index + _LASTING]) > _EXPLODED * highest:
            yield index


def discriminator_wins(table: MetricsTable) -> Iterator[Finding]:
    """Where a discriminator begins to tell every copy from a recording, ten measurements in a row."""
    series = table.series()
    disc, gen = table.of("loss_disc", "train"), table.of("loss_gen", "train")
    count = sum(name.startswith(_REAL) for name, split in series if split == "train") or _DISCRIMINATORS
    generated: Mapping[int, float] = dict(zip(gen.steps, gen.values, strict=True))
    since = None
    for index, (step, value) in enumerate(zip(disc.steps, disc.values, strict=True)):
        lost = generated.get(step, 0.0) / count
        if value / count >= _DISC_WON or not lost > _GEN_LOST:
            since = None
        else:
            since = index if since is None else since
            if index - since + 1 == _WON_FOR:
                yield _at(
                    disc,
                    since,
                    FindingKind.DISCRIMINATOR_WINS,
                    f"The discriminator wins{_where(disc, since)}: loss_disc is {disc.values[since]:.3g} "
                    f"({count} discriminators) and loss_gen {generated[disc.steps[since]]:.3g}. The voice "
                    f"learns little from a judge that is always right; a lower lr_disc helps.",
                )
                return


def eval_worse(table: MetricsTable) -> Iterator[Finding]:
    """Whether the watched evaluation loss has been getting worse since its best, five evaluations or more."""
    name = watched_loss([name for name, split in table.series() if split == "eval"])
    if name is None:
        return
    series = table.of(name, "eval")
    finite = [index for index, value in enumerate(series.values) if math.isfinite(value)]
    if not finite:
        return
    best = min(finite, key=lambda index: series.values[index])
    since = [series.values[index] for index in finite if index > best]
    if len(since) < _WORSE_FOR:
        return
    now, then = median(since[-_LASTING:]), series.values[best]
    if now - then > _WORSE_BY * abs(then) and fmean(since[-_LASTING:]) > fmean(since[:_LASTING]):
        yield _at(
            series,
            best,
            FindingKind.EVAL_WORSE,
            f"{name} has been getting worse since{_where(series, best)}: {then:.4g} then, {now:.4g} now, "
            f"{len(since)} evaluations later. The best model is the one to keep.",
        )


def _told(table: MetricsTable) -> Iterator[Finding]:
    told: set[str] = set()
    for event in table.events:
        message = event.data.get("message")
        if event.kind == EventName.WARNING and isinstance(message, str) and message not in told:
            told.add(message)
            yield Finding(FindingKind.KERNEL, message, step=event.step, session=event.session)


def _where(series: Series, index: int) -> str:
    return f" at step {series.steps[index]:,}" if series.steps[index] >= 0 else ""


def _at(series: Series, index: int, kind: FindingKind, message: str) -> Finding:
    step, session = series.steps[index], series.sessions[index]
    return Finding(
        kind,
        message,
        series.name,
        None if step < 0 else step,
        None if session < 0 else session,
        series.values[index],
    )
