"""The eval loss over a run, from the `metrics.jsonl` of the sessions that were pulled.

The files come from a server: nothing in them is trusted, and what is no measurement is passed over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import LocalError
from orchestrator.metrics import MetricsTable, read_run, watched_loss

_MOST = 1e30  # No loss; and neither infinite nor no number.


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation: its session, its step and the loss that is watched."""

    session: int
    step: int
    loss: float


def read_curve(folder: Path) -> list[Evaluation]:
    """The evaluations of all sessions below `folder`, in order of steps; none where nothing was pulled."""
    try:
        return list(evaluations(read_run(folder, logs=False)))
    except LocalError:
        return []  # A curve is a convenience; the pass itself has succeeded.


def evaluations(table: MetricsTable) -> Iterator[Evaluation]:
    """The evaluations in a table."""
    name = watched_loss([name for name, split in table.series() if split == "eval"])
    if name is None:
        return
    series = table.of(name, "eval")
    for session, step, loss in zip(series.sessions, series.steps, series.values, strict=True):
        if session >= 0 and step >= 0 and abs(loss) < _MOST:
            yield Evaluation(session, step, loss)
