"""The run's scores over all sessions: read from the parent's state.json, and the best step chosen."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kernel_template.contract import (
    BASE_SAMPLES,
    BY_TRAINER,
    MEASURES,
    RECORDINGS,
    STEP_SAMPLES,
    Better,
    HeldOut,
    MeanScore,
    Measure,
    Scored,
    Scores,
    ScoresState,
    Speaker,
)

_VERSION = 1  # Of how things are measured. Increase it if the same sound gets another value.
_MOST_STEPS = 400
_MOST_SENTENCES = 50
_LONGEST_TEXT = 2000
_SOUND = re.compile(r"[0-9]{2,3}\.wav")


class Best(NamedTuple):
    """The best step by a measure."""

    global_step: int
    value: float


def set_name(sentences: Sequence[HeldOut]) -> str:
    """Name the sentences and how they are measured; values under different names cannot be compared."""
    told = repr((_VERSION, [(item["file"], item["recording"], item["text"]) for item in sentences]))
    return hashlib.sha256(told.encode(errors="surrogatepass")).hexdigest()[:12]


def folder_of(of: str, global_step: int | None) -> str:
    """The name of a voice's folder of sounds."""
    names = {Speaker.RECORDINGS: RECORDINGS, Speaker.BASE: BASE_SAMPLES}
    return names.get(Speaker(of), f"{STEP_SAMPLES}{global_step}")


def best_step(steps: Sequence[Scored], by: str, of_set: str, there: Sequence[int]) -> Best | None:
    """Choose the best of the steps that are `there`; of equal ones the later.

    Only values over all sentences count: those of fewer are of other sentences.
    """
    if by == BY_TRAINER:
        return None
    sign = -1.0 if MEASURES[Measure(by)][1] is Better.LOW else 1.0
    found = [
        (item["global_step"], mean)
        for item in steps
        if item["set"] == of_set
        and item["global_step"] in there
        and (mean := item["means"].get(by)) is not None
    ]
    most = max((mean["count"] for _, mean in found), default=0)
    full = [(step, mean["mean"]) for step, mean in found if step is not None and mean["count"] == most]
    chosen = max(full, key=lambda pair: (sign * pair[1], pair[0]), default=None)
    return None if chosen is None else Best(*chosen)


def scores_before(values: Any, step: int) -> Scores | None:
    """Read `scores` of the parent's state.json, up to the step that the session continues from.

    What has another type than it should have is left out.
    """
    if not isinstance(values, Mapping):
        return None
    listed = values.get("steps")
    steps = [_scored(item) for item in listed[:_MOST_STEPS]] if isinstance(listed, list) else []
    sentences = values.get("sentences")
    held_out = sentences[:_MOST_SENTENCES] if isinstance(sentences, list) else []
    return {
        "state": ScoresState.SKIPPED,
        "why": "the training has not ended",
        "seconds": 0.0,
        "limit_s": 0.0,
        "best_by": BY_TRAINER,
        "best": None,
        "sentences": [item for item in map(_held_out, held_out) if item is not None],
        "recordings": _scored(values.get("recordings")),
        "base": _scored(values.get("base")),
        "steps": [item for item in steps if item and (item["global_step"] or 0) <= step],
    }


def _held_out(values: Any) -> HeldOut | None:
    if not isinstance(values, Mapping):
        return None
    file, text, recording, speaker = (values.get(key) for key in ("file", "text", "recording", "speaker"))
    if not isinstance(file, str) or not _SOUND.fullmatch(file):
        return None
    if not isinstance(text, str) or not isinstance(recording, str) or not isinstance(speaker, str | None):
        return None
    if max(len(text), len(recording), len(speaker or "")) > _LONGEST_TEXT:
        return None
    return {"file": file, "text": text, "recording": recording, "speaker": speaker}


def _scored(values: Any) -> Scored | None:
    if not isinstance(values, Mapping) or values.get("of") not in list(Speaker):
        return None
    of, step, session = Speaker(values["of"]), values.get("global_step"), values.get("session")
    if (
        type(session) is not int
        or type(step) not in (int, type(None))
        or (of is Speaker.STEP and step is None)
    ):
        return None
    means, missing, name = values.get("means"), values.get("missing"), values.get("set")
    listed = means if isinstance(means, Mapping) else {}
    checkpoint, folder = values.get("checkpoint"), values.get("folder")
    return {
        "of": of,
        "global_step": step,
        "session": session,
        "set": str(name)[:100],
        "checkpoint": checkpoint[:_LONGEST_TEXT] if isinstance(checkpoint, str) else None,
        "folder": folder[:_LONGEST_TEXT] if isinstance(folder, str) else "",
        "seconds": _number(values.get("seconds")) or 0.0,
        "means": {key: mean for key in Measure if (mean := _mean(listed.get(key))) is not None},
        "missing": {
            key: str(why)[:_LONGEST_TEXT]
            for key in Measure
            if (why := missing.get(key) if isinstance(missing, Mapping) else None) is not None
        },
    }


def _mean(values: Any) -> MeanScore | None:
    if not isinstance(values, Mapping):
        return None
    mean, spread, count = _number(values.get("mean")), _number(values.get("spread")), values.get("count")
    if mean is None or type(count) is not int or not 0 < count <= _MOST_SENTENCES:
        return None
    return {"mean": mean, "spread": spread or 0.0, "count": count}


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and abs(value) < 1e9 else None  # noqa: PLR2004 - NaN is not.
