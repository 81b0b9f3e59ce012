"""The scores of held-out sentences as a table: a row for each measure, a column for each who speaks."""

from collections.abc import Sequence
from dataclasses import dataclass

from kernel_template.contract import MEASURES, Measure
from orchestrator.metrics import Scores
from orchestrator.metrics.answers import difference_words
from orchestrator.metrics.scores import MEASURE_WORDS, SHARES, ScoredVoice, compared

_LESS_DIGITS = (Measure.RATE, Measure.LOUDNESS, Measure.MOS)


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A measure of all voices.

    Attributes:
        name: what is measured, in words.
        meaning: a sentence about it.
        cells: the mean and the spread of each voice; empty where it was not measured.
        difference: how the last voice differs from the base voice; empty if that is not known.
    """

    name: str
    meaning: str
    cells: tuple[str, ...]
    difference: str = ""


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The table, its columns, and why measures are missing."""

    columns: tuple[str, ...]
    rows: tuple[ScoreRow, ...]
    missing: tuple[str, ...]


def score_table(scores: Scores, best: int | None) -> ScoreTable | None:
    """The scores of the speaker, the base voice, the best and the newest step; None if there are none."""
    shown = [item for item in scores.steps if item.step == best or item is scores.steps[-1]]
    voices: list[tuple[str, ScoredVoice]] = []
    if scores.recordings is not None:
        voices.append(("The speaker", scores.recordings))
    if scores.base is not None:
        voices.append(("The base voice", scores.base))
    voices += [(f"The voice, step {item.step:,}", item) for item in shown]
    measures = scores.measures()
    if not voices or not measures:
        return None
    rows = []
    for measure in measures:
        name, meaning = MEASURE_WORDS[measure]
        found = compared(scores.base, shown[-1], measure, scores.recordings) if shown else None
        cells = tuple(mean_words(item, measure) for _, item in voices)
        rows.append(
            ScoreRow(name, meaning, cells, "" if found is None else difference_words(found, named=False))
        )
    return ScoreTable(
        tuple(who for who, _ in voices), tuple(rows), tuple(_missing([item for _, item in voices]))
    )


def mean_words(voice: ScoredVoice, measure: Measure) -> str:
    """The mean of a measure with its spread over the sentences; empty if it was not measured."""
    found = voice.means.get(measure)
    if found is None:
        return ""
    spread = f" ± {value_words(found.spread, measure, unit=False)}" if found.count > 1 else ""
    return value_words(found.mean, measure, unit=False) + spread + _unit(measure)


def value_words(value: float, measure: Measure, *, unit: bool = True) -> str:
    """A value of a measure, with or without its unit."""
    if measure in SHARES:
        text = f"{100 * value:.0f}"
    else:
        text = f"{value:.1f}" if measure in _LESS_DIGITS else f"{value:.2f}"
    return text + (_unit(measure) if unit else "")


def _unit(measure: Measure) -> str:
    unit = "%" if measure in SHARES else MEASURES[measure][0]
    return f" {unit}" if unit else ""


def _missing(voices: Sequence[ScoredVoice]) -> list[str]:
    """Why measures were not made, each once."""
    reasons = {
        measure: why
        for voice in voices
        for measure, why in voice.missing.items()
        if measure not in voice.means and voice.step is not None
    }
    return [f"{MEASURE_WORDS[measure][0]}: {why}" for measure, why in reasons.items()]
