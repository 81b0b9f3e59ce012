"""What a run's own files tell of its voice, for the package's README.

They come from a server, so all of it is checked: what is kept is a number, or text on one line.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kernel_template.contract import MEASURES, SAMPLES_FILE, SAMPLES_FOLDER, Better
from orchestrator import untrusted
from orchestrator.formatting import duration
from orchestrator.metrics import MetricsTable, read_run
from orchestrator.metrics.losses import EVAL_LOSS, eval_loss_now
from orchestrator.results import PulledSession

_MOST_POINTS, _MOST_CURVES, _MOST_SENTENCES = 300, 6, 5
_LONGEST, _LONGEST_SENTENCE = 120, 300


@dataclass(frozen=True, slots=True)
class LossCurve:
    """A loss by step, thinned to some hundred points."""

    name: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class VoiceFacts:
    """What is known of a voice.

    Attributes:
        rows: facts by their names.
        scores: the measures: name, and the values of the recordings, the base voice and the voice.
        curves: the losses.
        sentences: the test sentences.
    """

    rows: tuple[tuple[str, str], ...] = ()
    scores: tuple[tuple[str, str, str, str], ...] = ()
    curves: tuple[LossCurve, ...] = ()
    sentences: tuple[str, ...] = ()


def read_facts(sessions: Sequence[PulledSession], step: int | None, inputs: Mapping[str, str]) -> VoiceFacts:
    """Read what the sessions of a run tell of the voice that was exported at a step.

    Args:
        sessions: the pulled sessions of its run, oldest first; none for a voice from elsewhere.
        step: the step of the exported checkpoint.
        inputs: what the run was told to train on, `data` and `base`, where that is known.
    """
    states = [untrusted.as_object(untrusted.read_json_object(item.files.state)) for item in sessions]
    state: Mapping[str, Any] = next((item for item in reversed(states) if item), {})
    table = read_run(sessions, logs=False) if sessions else MetricsTable()
    rows = [
        *((name, untrusted.one_line(value, _LONGEST)) for name, value in inputs.items() if value),
        *_data(state),
        *_training(state),
    ]
    if (loss := eval_loss_now(table)) is not None:
        rows.append((f"Lowest {EVAL_LOSS}", f"{loss.lowest:.4g} ({loss.words})"))
    curves, sentences = tuple(_curves(table)), tuple(_sentences(sessions))
    return VoiceFacts(tuple(rows), tuple(_scores(state, step)), curves, sentences)


def _data(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    samples = untrusted.as_object(state.get("bad_samples"))
    checked, left_out = untrusted.count(samples.get("checked")), untrusted.count(samples.get("left_out"))
    if checked is not None:
        yield (
            "Recordings",
            f"{max(0, checked - (left_out or 0)):,}"
            + (f" ({left_out:,} more were left out as unusable)" if left_out else ""),
        )
    seconds = untrusted.seconds(samples.get("seconds"))
    if seconds:
        yield "Recorded speech", f"{seconds / 60:,.0f} minutes"


def _training(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    history = [untrusted.as_object(item) for item in untrusted.as_list(state.get("history"))]
    seconds = sum(untrusted.seconds(item.get("seconds")) or 0.0 for item in history)
    if history:
        yield "Sessions", f"{len(history):,}, {duration(seconds)} in all"
    step, saved_in = untrusted.count(state.get("global_step")), untrusted.count(state.get("epoch"))
    made = [untrusted.count(item.get("to_epoch")) for item in history]
    # As in `SessionResult.epochs_done`; here, a part of the file may be damaged.
    epoch = max((each for each in (saved_in, *made) if each is not None), default=None)
    if step is not None:
        yield "Trained", f"to step {step:,}" + (f", epoch {epoch:,}" if epoch is not None else "")
    environment = untrusted.as_object(state.get("environment"))
    gpus = [untrusted.one_line(name, 80) for name in untrusted.as_list(environment.get("gpus"))]
    if environment:
        yield "Machine", f"{len(gpus)} × {gpus[0]}" if gpus else "processor, without GPU"
    versions = [
        f"{label} {untrusted.one_line(environment[key], 40)}"
        for key, label in (("tts", "coqui-tts"), ("torch", "torch"))
        if environment.get(key)
    ]
    if versions:
        yield "Software", ", ".join(versions)


def _scores(state: Mapping[str, Any], step: int | None) -> Iterator[tuple[str, str, str, str]]:
    scores = untrusted.as_object(state.get("scores"))
    steps = [untrusted.as_object(item) for item in untrusted.as_list(scores.get("steps"))]
    own = [item for item in steps if step is not None and item.get("global_step") == step]
    parts = (scores.get("recordings"), scores.get("base"), own[-1] if own else None)
    means = [untrusted.as_object(untrusted.as_object(part).get("means")) for part in parts]
    if not means[2]:
        return
    for measure, (unit, better) in MEASURES.items():
        values = [_mean(item.get(measure)) for item in means]
        if values[2] != "–":
            good = {Better.LOW: "lower is better", Better.HIGH: "higher is better"}.get(
                better, "nearer to the recordings is better"
            )
            name = f"{measure.replace('_', ' ')} ({', '.join(part for part in (unit, good) if part)})"
            yield (name, values[0], values[1], values[2])


def _mean(value: object) -> str:
    mean = untrusted.number(untrusted.as_object(value).get("mean"))
    spread = untrusted.number(untrusted.as_object(value).get("spread"))
    return "–" if mean is None else f"{mean:.3g}" + (f" ± {spread:.2g}" if spread else "")


def _curves(table: MetricsTable) -> list[LossCurve]:
    found = []
    for (name, split), series in sorted(table.series().items()):
        points = [
            (step, value)
            for step, value in zip(series.steps, series.values, strict=True)
            if step >= 0 and math.isfinite(value)
        ]
        if "loss" in name and len(points) > 1 and (split == "eval" or name == "loss_mel"):
            every = -(-len(points) // _MOST_POINTS)
            label = untrusted.one_line(name, 40)
            found.append(LossCurve(f"{label}, {split}", (*points[:-1:every], points[-1])))
    return found[:_MOST_CURVES]


def _sentences(sessions: Sequence[PulledSession]) -> list[str]:
    """The test sentences of the newest session that spoke any."""
    for item in reversed(sessions):
        for place in sorted((item.folder / SAMPLES_FOLDER).glob(f"*/{SAMPLES_FILE}"), reverse=True):
            listed = untrusted.as_list(untrusted.as_object(untrusted.read_json_object(place)).get("samples"))
            texts = [untrusted.as_object(record).get("text") for record in listed]
            found = [untrusted.one_line(text, _LONGEST_SENTENCE) for text in texts if isinstance(text, str)]
            if found := list(dict.fromkeys(text for text in found if text.strip())):
                return found[:_MOST_SENTENCES]
    return []
