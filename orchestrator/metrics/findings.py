"""Find what is wrong in a training's measurements: values that are not finite, losses that explode or rise.

Pure functions of the table. The limits are rules of thumb: a finding is a reason to look and to listen.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median

from kernel_template.contract import EventName
from orchestrator.metrics.losses import EVAL_LOSS, eval_loss
from orchestrator.metrics.table import Counters, MetricsTable, Series

_NO_LOSS = ("grad_norm", "current_lr", "step_time", "loader_time", "amp_scaler")
_UNSTABLE_NORM = (
    "grad_norm",
    "amp_scaler",
)  # In fp16 they overflow now and then; the trainer skips such steps.

_WINDOW = 50  # A value is compared with this many before it.
_FEWEST = 10  # Fewer values are not judged.
_EXPLODED = 5.0  # Times the highest value of the window.
_LASTING = 3  # Values in a row: a single bad batch is not an explosion.
_SMALL = 1.0  # A loss below it does not explode.

_DISCRIMINATORS = 6  # VITS has one by scale and five by period; used if the log does not list them.
_REAL = "loss_disc_real_"
# Least-squares GAN, the discriminator's and the generator's loss per discriminator: 0.5 and 0.25 if it cannot
# tell synthetic speech from recordings, 0 and 1 if it always can.
_DISC_WON = 0.1
_GEN_LOST = 0.75
_WON_FOR = 10  # Values in a row.

_FEWEST_LOST = 5  # Lines. Some are always torn where two programs print at once.
_SHARE_LOST = 0.02  # Of all lines.

_WORSE_FOR = 5  # Evaluations after the best one.
_WORSE_BY = 0.03  # How far the median of the last three is above the best, relative to it.


class FindingKind(StrEnum):
    """The kind of a finding."""

    NOT_FINITE = "not_finite"
    EXPLODING = "exploding"
    DISCRIMINATOR_WINS = "discriminator_wins"
    EVAL_WORSE = "eval_worse"
    NOT_UNDERSTOOD = "not_understood"  # Many lines of a log could not be read.
    KERNEL = "kernel"  # The kernel itself warned.


@dataclass(frozen=True, slots=True)
class Finding:
    """A warning about the training.

    Attributes:
        kind: what was found.
        message: a sentence for people. Names and words of the kernel in it come from a server.
        name: the measurement that it is about, if it is about one.
        step: where it began, in steps of the run.
        session: the session of that step.
        value: the value there.
    """

    kind: FindingKind
    message: str
    name: str | None = None
    step: int | None = None
    session: int | None = None
    value: float | None = None


def find_warnings(table: MetricsTable) -> list[Finding]:
    """All findings in a table, in the order of steps, those without a step last.

    A warning of the kernel comes in its own words, once.
    """
    series = table.series()
    found = [
        *not_finite(series.values()),
        *exploding(series.values()),
        *discriminator_wins(table),
        *eval_worse(table),
        *not_understood(table.counters),
        *_kernel_warnings(table),
    ]
    return sorted(found, key=lambda finding: (finding.step is None, finding.step or 0))


def not_finite(all_series: Iterable[Series]) -> Iterator[Finding]:
    """Series with NaN or infinite values. Norms do not count: in fp16 they may overflow."""
    for series in all_series:
        if series.split == "system" or series.name.startswith(_UNSTABLE_NORM):
            continue
        bad = [index for index, value in enumerate(series.values) if not math.isfinite(value)]
        if bad:
            value = "infinite" if math.isinf(series.values[bad[0]]) else "not a number (NaN)"
            often = f", and not finite {len(bad)} times in all" if len(bad) > 1 else ""
            yield _at(
                series,
                bad[0],
                FindingKind.NOT_FINITE,
                f"{series.name} is {value}{_where(series, bad[0])}{often}: the training has "
                f"become unstable. Try a lower learning rate, or set mixed_precision to false.",
            )


def exploding(all_series: Iterable[Series]) -> Iterator[Finding]:
    """Training losses that rise over five times the highest of the last 50 values, for three values."""
    for series in all_series:
        if series.split != "train" or series.name.startswith(_NO_LOSS) or "loss" not in series.name:
            continue
        values = [abs(value) if math.isfinite(value) else math.inf for value in series.values]
        for index in _jumps(values):
            yield _at(
                series,
                index,
                FindingKind.EXPLODING,
                f"{series.name} jumps from {median(values[max(0, index - _WINDOW) : index]):.4g} to "
                f"{series.values[index]:.4g}{_where(series, index)}, and stays there.",
            )
            break


def _jumps(values: Sequence[float]) -> Iterator[int]:
    highest = 0.0
    for index in range(_FEWEST, len(values) - _LASTING + 1):
        if values[index] <= _SMALL or values[index] <= _EXPLODED * values[index - 1]:
            continue  # A cheap check first: a jump also shows against the previous value.
        highest = max(values[max(0, index - _WINDOW) : index])
        if min(values[index : index + _LASTING]) > _EXPLODED * highest:
            yield index


def discriminator_wins(table: MetricsTable) -> Iterator[Finding]:
    """The step from which the discriminator recognises all synthetic speech, ten values in a row."""
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
                    f"({count} discriminators) and loss_gen {generated[disc.steps[since]]:.3g}. From a "
                    f"discriminator that is always right, the voice learns little. Try a lower lr_disc.",
                )
                return


def eval_worse(table: MetricsTable) -> Iterator[Finding]:
    """Whether the eval loss has risen since its best value, for five evaluations or more."""
    series = eval_loss(table)
    if series is None:
        return
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
            f"The {EVAL_LOSS} ({series.name}) has been rising since{_where(series, best)}: it was "
            f"{then:.4g}, and is {now:.4g} {len(since)} evaluations later. Use the best model, "
            f"not the newest.",
        )


def not_understood(counters: Counters) -> Iterator[Finding]:
    """Whether so many lines could not be read that the table may lack whole measurements."""
    if counters.lost_lines >= max(_FEWEST_LOST, _SHARE_LOST * counters.lines):
        yield Finding(
            FindingKind.NOT_UNDERSTOOD,
            f"{counters.lost_lines:,} of {counters.lines:,} lines could not be read, and their values are "
            f"missing here. The first are: {quoted_lines(counters)}. Use the log as the trainer wrote it: "
            f"trainer_0_log.txt of the run's outputs.",
        )


def quoted_lines(counters: Counters) -> str:
    """The examples of lines that could not be read, in quotation marks."""
    return ", ".join(f'"{line}"' if line else "(an empty line)" for line in counters.examples)


def _kernel_warnings(table: MetricsTable) -> Iterator[Finding]:
    seen: set[str] = set()
    for event in table.events:
        message = event.data.get("message")
        if event.kind == EventName.WARNING and isinstance(message, str) and message not in seen:
            seen.add(message)
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
