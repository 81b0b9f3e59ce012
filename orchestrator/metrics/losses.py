"""What the losses of a training mean, and which of them kgtts calls the eval loss: the one home of both."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from orchestrator.metrics.table import MetricsTable, Series

EVAL_LOSS: Final = "eval loss"  # What every page, line and message calls it.

# The mel loss first: it is the nearest to what one hears.
_EVAL_LOSSES = ("avg_loss_mel", "avg_loss", "avg_loss_1", "avg_loss_gen")
_MEAN_PREFIX = "avg_"
_MEANINGS = {
    "loss_mel": (
        "How far the sound of the voice is from the recordings. The one that you hear: lower is better."
    ),
    "loss_kl": (
        "How far the sounds that the voice expects from the text are from those of the recordings. Lower is "
        "better; it falls soon and then hardly moves."
    ),
    "loss_duration": "How far the length of each sound is from the recordings. Lower is better.",
    "loss_feat": (
        "How differently a second network, the critic, perceives voice and recordings. It rises as the "
        "critic learns, so a rise alone is no bad sign."
    ),
    "loss_gen": (
        "How easily the critic recognises the voice as artificial. It moves around one level: neither up nor "
        "down says that the voice is better."
    ),
    "loss_disc": (
        "How often the critic is wrong. It moves around one level; close to 0 means that the critic always "
        "wins, and the voice learns little."
    ),
    "loss_0": "The sum of the critic's losses. For the training itself, not for judging the voice.",
    "loss_1": (
        "The sum of all losses of the voice. It has the critic's in it, so it can rise while the "
        "voice gets better."
    ),
    "loss": "The sum of all losses.",
}


@dataclass(frozen=True, slots=True)
class EvalLoss:
    """The eval loss of a run.

    Attributes:
        name: what the trainer calls it.
        words: what it is.
        newest: its newest finite value.
        lowest: its lowest value,
        lowest_step: and the step of that.
    """

    name: str
    words: str
    newest: float
    lowest: float
    lowest_step: int | None


def watched_loss(names: Iterable[str]) -> str | None:
    """Choose the eval loss among the names of evaluation losses: the mel loss, if there is one."""
    names = list(names)
    known = [name for name in _EVAL_LOSSES if name in names]
    return next(iter(known or sorted(name for name in names if "loss" in name)), None)


def eval_loss(table: MetricsTable) -> Series | None:
    """The eval loss over the run; None if nothing was evaluated."""
    name = watched_loss(name for name, split in table.series() if split == "eval")
    return None if name is None else table.of(name, "eval")


def eval_loss_words(name: str) -> str:
    """Say which quantity the eval loss is: `mel loss on the evaluation recordings`."""
    plain = name.removeprefix(_MEAN_PREFIX)
    short = plain.removeprefix("loss_").replace("_", " ")
    what = {"loss": "sum of all losses", "loss_1": "sum of the voice's losses"}.get(plain, f"{short} loss")
    return f"{what} on the evaluation recordings"


def eval_loss_now(table: MetricsTable) -> EvalLoss | None:
    """The newest and the lowest eval loss; None if there is no finite one."""
    series = eval_loss(table)
    best = None if series is None else lowest(series)
    if series is None or best is None:
        return None
    newest = next(value for value in reversed(series.values) if math.isfinite(value))
    step = series.steps[best]
    return EvalLoss(
        series.name, eval_loss_words(series.name), newest, series.values[best], step if step >= 0 else None
    )


def lowest(series: Series) -> int | None:
    """The index of the lowest finite value; None if there is none."""
    finite = [index for index, value in enumerate(series.values) if math.isfinite(value)]
    return min(finite, key=series.values.__getitem__, default=None)


def meaning_of(name: str) -> str:
    """A plain sentence about what a loss says of the voice; empty if we know none."""
    return _MEANINGS.get(name.removeprefix(_MEAN_PREFIX), "")
