"""The scores of held-out sentences: recorded by the speaker, spoken by the base voice and by each step.

They come from a server, in events and in state.json. A value that makes no sense is left out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from kernel_template.contract import MEASURES, Better, EventName, Measure, Speaker
from orchestrator import untrusted
from orchestrator.metrics.table import MetricsTable

# What shows whether a voice improves, the one that says most first.
QUALITY = (Measure.MEL_DISTANCE, Measure.SIMILARITY, Measure.CER, Measure.MOS)
SHARES = (Measure.CER, Measure.SILENCE)  # People read them in per cent.
_MOST_SENTENCES = 200
_LARGEST = 1e6
_NAME = 100
FEWEST_PAIRS = 3  # Sentences, below which a difference has no range.
# The 97.5 % quantiles of Student's t with 1, 2, 3, … degrees of freedom.
_STUDENT = (
    *(
        12.706,
        4.303,
        3.182,
        2.776,
        2.571,
        2.447,
        2.365,
        2.306,
        2.262,
        2.228,
        2.201,
        2.179,
        2.160,
        2.145,
        2.131,
    ),
    *(
        2.120,
        2.110,
        2.101,
        2.093,
        2.086,
        2.080,
        2.074,
        2.069,
        2.064,
        2.060,
        2.056,
        2.052,
        2.048,
        2.045,
        2.042,
    ),
)
_NORMAL = 1.96


MEASURE_WORDS: Mapping[Measure, tuple[str, str]] = {
    Measure.MEL_DISTANCE: (
        "Distance to the recording",
        "How far the sound is from the speaker's own recording of the sentence. Lower is better.",
    ),
    Measure.F0_ERROR: (
        "Pitch error",
        "How far the pitch is from the speaker's in the same sentence. Lower is better.",
    ),
    Measure.SIMILARITY: (
        "Likeness to the speaker",
        "How much it sounds like the same person, for a program that tells speakers apart: 1 is the same.",
    ),
    Measure.MOS: (
        "Naturalness",
        "What listeners would give it from 1 (bad) to 5 (excellent), as a program guesses. Higher is better.",
    ),
    Measure.CER: (
        "Misheard letters",
        "The share of the letters that a speech recogniser hears otherwise than written. Lower is better.",
    ),
    Measure.RATE: ("Speed", "Characters a second. It should be near that of the recordings."),
    Measure.LOUDNESS: (
        "Loudness",
        "In decibels; 0 is as loud as a file can be. It should be near the recordings'.",
    ),
    Measure.SILENCE: ("Silence", "The share of the time that is silent. It should be near the recordings'."),
}


def difference_unit(measure: Measure) -> tuple[float, str]:
    """By what a difference of a measure is multiplied for people, and its unit."""
    if measure in SHARES:
        return 100.0, "%"
    return 1.0, "dB" if measure is Measure.LOUDNESS else MEASURES[measure][0]


def student(degrees: int) -> float:
    """The 97.5 % quantile of Student's t; that of the normal distribution beyond 30 degrees of freedom."""
    return _STUDENT[degrees - 1] if degrees <= len(_STUDENT) else _NORMAL


@dataclass(frozen=True, slots=True)
class Mean:
    """A measure over sentences: its mean, its standard deviation between them, and how many they are."""

    mean: float
    spread: float
    count: int


@dataclass(frozen=True, slots=True)
class ScoredVoice:
    """What was measured of one voice.

    Attributes:
        of: who speaks.
        step: the step of the run; 0 for the base voice, None for the recordings.
        sentences: the measures of each sentence by its file's name; None for one that has no sound.
        means: the measures over all sentences.
        missing: why a measure is not there.
    """

    of: Speaker
    step: int | None
    sentences: Mapping[str, Mapping[Measure, float] | None] = field(default_factory=dict)
    means: Mapping[Measure, Mean] = field(default_factory=dict)
    missing: Mapping[Measure, str] = field(default_factory=dict)

    def mean(self, measure: Measure) -> float | None:
        """The mean of a measure; None if it was not measured."""
        found = self.means.get(measure)
        return None if found is None else found.mean


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a run; the steps in their order. All empty if nothing was measured."""

    recordings: ScoredVoice | None = None
    base: ScoredVoice | None = None
    steps: tuple[ScoredVoice, ...] = ()

    def of_step(self, step: int) -> ScoredVoice | None:
        """The scores of one step; of step 0, the base voice's."""
        return self.base if step == 0 else next((item for item in self.steps if item.step == step), None)

    def measures(self) -> list[Measure]:
        """The measures that any voice has."""
        voices = [item for item in (self.recordings, self.base, *self.steps) if item is not None]
        return [measure for measure in MEASURES if any(measure in item.means for item in voices)]


@dataclass(frozen=True, slots=True)
class VoiceDifference:
    """How one voice differs from another over the sentences that both spoke.

    Attributes:
        measure: what was compared.
        gain: the mean difference, positive if the second voice is the better.
        low: the lower end of its 95 % range; -inf with fewer than three sentences.
        high: its upper end.
        better: in how many sentences the second voice is the better.
        count: how many sentences there are.
    """

    measure: Measure
    gain: float
    low: float
    high: float
    better: int
    count: int

    @property
    def is_clear(self) -> bool:
        """Whether the range leaves out that there is no difference."""
        return self.low > 0 or self.high < 0


def read_scores(table: MetricsTable, state: Mapping[str, Any] | None = None) -> Scores:
    """The scores of a run from its events; what these lack, from the `scores` of a state.json.

    Of several scores of the same step the newest counts.
    """
    known = untrusted.as_object(untrusted.as_object(state).get("scores"))
    listed = [known.get("recordings"), known.get("base"), *untrusted.as_list(known.get("steps"))]
    events = [event.data for event in table.events if event.kind == EventName.SCORES]
    found = {(item.of, item.step): item for item in map(_voice, [*listed, *events]) if item is not None}
    steps = [item for item in found.values() if item.of is Speaker.STEP]
    return Scores(
        found.get((Speaker.RECORDINGS, None)),
        found.get((Speaker.BASE, 0)),
        tuple(sorted(steps, key=lambda item: item.step or 0)),
    )


def _voice(value: object) -> ScoredVoice | None:
    data = untrusted.as_object(value)
    try:
        of = Speaker(untrusted.text(data.get("of")) or "")
    except ValueError:
        return None
    step = untrusted.count(data.get("global_step"))
    if of is Speaker.STEP and not step:
        return None
    sentences = {}
    for item in untrusted.as_list(data.get("sentences"))[:_MOST_SENTENCES]:
        told = untrusted.as_object(item)
        if (name := untrusted.text(told.get("file"), _NAME)) is not None:
            sentences[name] = None if told.get("error") else _measures(told.get("scores"))
    means = {measure: mean for measure in MEASURES if (mean := _mean(measure, sentences, data)) is not None}
    reasons = untrusted.as_object(data.get("missing"))
    missing = {
        measure: untrusted.one_line(reasons[measure], 200) for measure in MEASURES if measure in reasons
    }
    known_step = {Speaker.RECORDINGS: None, Speaker.BASE: 0, Speaker.STEP: step}[of]
    return ScoredVoice(of, known_step, sentences, means, missing)


def _measures(value: object) -> dict[Measure, float]:
    told = untrusted.as_object(value)
    found = {measure: untrusted.number(told.get(measure), _LARGEST) for measure in MEASURES}
    return {measure: number for measure, number in found.items() if number is not None}


def _mean(
    measure: Measure, sentences: Mapping[str, Mapping[Measure, float] | None], data: Mapping[str, Any]
) -> Mean | None:
    """A measure's mean over the sentences; if these are not listed, the one that is given."""
    values = [scores[measure] for scores in sentences.values() if scores is not None and measure in scores]
    if values:
        return Mean(fmean(values), stdev(values) if len(values) > 1 else 0.0, len(values))
    told = untrusted.as_object(untrusted.as_object(data.get("means")).get(measure))
    mean, count = untrusted.number(told.get("mean"), _LARGEST), untrusted.count(told.get("count"))
    if mean is None or not count:
        return None
    return Mean(mean, untrusted.amount(told.get("spread"), _LARGEST) or 0.0, count)


def compared(
    before: ScoredVoice | None,
    after: ScoredVoice | None,
    measure: Measure,
    recordings: ScoredVoice | None = None,
) -> VoiceDifference | None:
    """Compare two voices sentence by sentence; None if they have no sentence in common.

    Args:
        before: the voice to compare with.
        after: the voice that may be better.
        measure: what to compare; for one that should be like the recordings these are needed.
        recordings: the speaker's own recordings.
    """
    if before is None or after is None:
        return None
    gains = []
    for name, scores in after.sentences.items():
        one, other = _badness(before, name, measure, recordings), _badness(after, name, measure, recordings)
        if scores is not None and one is not None and other is not None:
            gains.append(one - other)
    if not gains:
        return None
    gain, better = fmean(gains), sum(value > 0 for value in gains)
    if len(gains) < FEWEST_PAIRS:
        return VoiceDifference(measure, gain, -math.inf, math.inf, better, len(gains))
    reach = student(len(gains) - 1) * stdev(gains) / math.sqrt(len(gains))
    return VoiceDifference(measure, gain, gain - reach, gain + reach, better, len(gains))


def _badness(voice: ScoredVoice, name: str, measure: Measure, recordings: ScoredVoice | None) -> float | None:
    """A sentence's value, turned so that lower is better."""
    value = (voice.sentences.get(name) or {}).get(measure)
    if value is None:
        return None
    return _turned(value, measure, None if recordings is None else recordings.mean(measure))


def _turned(value: float, measure: Measure, reference: float | None) -> float | None:
    _, better = MEASURES[measure]
    if better is Better.LIKE_RECORDINGS:
        return None if reference is None else abs(value - reference)
    return -value if better is Better.HIGH else value


def turned_means(voices: Iterable[ScoredVoice], measure: Measure) -> Sequence[tuple[int, float]]:
    """Step and mean of each voice that has a measure, turned so that lower is better."""
    return [
        (item.step, turned)
        for item in voices
        if item.step is not None
        and (value := item.mean(measure)) is not None
        and (turned := _turned(value, measure, None)) is not None
    ]
