"""What a run's own files tell of its voice, for the package's README. They come from a server: all is checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernel_template.contract import BASE_CARD, MEASURES, Measure
from orchestrator import untrusted
from orchestrator.formatting import duration
from orchestrator.metrics import read_run, watched_loss
from orchestrator.metrics.table import Split
from orchestrator.results import PulledSession
from orchestrator.run.state import StateError, parse_state

_MOST_POINTS = 300


@dataclass(frozen=True, slots=True)
class Curve:
    """A loss by step, thinned to some hundred points."""

    name: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Licence:
    """Under which licence the voice is given away, by names of `licences.LICENCES`; None if nobody said it.

    Attributes:
        name: that of the voice.
        base: that of the voice that the training began with.
        author: who gives it, as it is to be named.
    """

    name: str | None = None
    base: str | None = None
    author: str | None = None


@dataclass(frozen=True, slots=True)
class VoiceFacts:
    """What is known of a voice; everything is plain text or a number, on one line.

    Attributes:
        title: what to call it.
        licence: under which licence it is.
        rows: facts by their names, for a table.
        scores: the measures of the recordings, the base voice and the voice: rows of four texts.
        curves: the losses.
        sentences: what the run's samples say.
    """

    title: str
    licence: Licence = Licence()
    rows: tuple[tuple[str, str], ...] = ()
    scores: tuple[tuple[str, str, str, str], ...] = ()
    curves: tuple[Curve, ...] = ()
    sentences: tuple[str, ...] = field(default=())


def read_facts(
    title: str, sessions: Sequence[PulledSession], step: int | None, inputs: Mapping[str, str], licence: Licence
) -> VoiceFacts:
    """Read what the sessions of a run tell of the voice of a step.

    Args:
        title: what to call the voice.
        sessions: the pulled sessions of its run, oldest first; none for a voice from elsewhere.
        step: the step of the exported checkpoint.
        inputs: what the run was told to train on, by `data` and `base`.
        licence: the licence.
    """
    states = [untrusted.as_object(untrusted.read_json_object(item.files.state)) for item in sessions]
    state: Mapping[str, Any] = next((item for item in reversed(states) if item), {})
    rows = [*_data(state, inputs), *_training(sessions, state)]
    table = read_run(sessions, logs=False) if sessions else None
    curves = []
    for (name, split), series in (table.series() if table is not None else {}).items():
        if split is Split.EVAL or name == "loss_mel":
            pairs = [(at, value) for at, value in zip(series.steps, series.values, strict=True) if value == value]
            if len(pairs) > 1:
                thin = max(1, len(pairs) // _MOST_POINTS)
                curves.append(Curve(f"{name} ({split.value})", tuple(pairs[::thin])))
    return VoiceFacts(
        title=untrusted.one_line(title, 100),
        licence=licence,
        rows=tuple(rows),
        scores=tuple(_scores(state, step)),
        curves=tuple(curves[:6]),
        sentences=tuple(_sentences(sessions)),
    )
