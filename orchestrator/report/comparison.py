"""Runs side by side: the figures of each in a table, and by what two of them differ, sentence by sentence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kernel_template.contract import Measure
from orchestrator.formatting import duration
from orchestrator.metrics.answers import difference_words
from orchestrator.metrics.losses import EVAL_LOSS
from orchestrator.metrics.scores import MEASURE_WORDS, ScoredVoice, VoiceDifference, compared
from orchestrator.report.reading import RunData
from orchestrator.report.score_table import mean_words


@dataclass(frozen=True, slots=True)
class ComparedFact:
    """One line of the table: its name, the value of each run, and how the second differs from the first."""

    name: str
    values: tuple[str, ...]
    difference: str = ""


def compare_runs(runs: Sequence[RunData]) -> list[ComparedFact]:
    """The table of some runs; lines that say nothing about any run are left out."""
    facts = [ComparedFact(name, tuple(map(fact, runs))) for name, fact in _FACTS.items()]
    known = {measure for data in runs for measure in data.scores.measures()}
    differences = _differences(runs)
    for measure in (measure for measure in MEASURE_WORDS if measure in known):
        values = tuple(_mean(data, measure) for data in runs)
        found = differences.get(measure)
        words = "" if found is None else difference_words(found, named=False)
        facts.append(ComparedFact(MEASURE_WORDS[measure][0], values, words))
    return [fact for fact in facts if any(fact.values)]


def comparison_json(runs: Sequence[RunData]) -> dict[str, Any]:
    """The comparison for programs."""
    differences = _differences(runs)
    return {
        "runs": [_run_json(data) for data in runs],
        "second_against_first": {
            measure.value: {
                "gain": item.gain,
                "low": item.low if item.count > 2 else None,  # noqa: PLR2004  # As `VoiceDifference.low`.
                "high": item.high if item.count > 2 else None,  # noqa: PLR2004
                "better": item.better,
                "sentences": item.count,
            }
            for measure, item in differences.items()
        },
    }


def _run_json(data: RunData) -> dict[str, Any]:
    newest = _newest(data)
    return {
        "name": data.name,
        "run": data.run,
        "step": _step(data),
        "epoch": data.result.epochs_done if data.result is not None else None,
        "seconds": data.time.total,
        "verdict": data.verdict.to_json(),
        "scores": {
            measure.value: {"mean": mean.mean, "spread": mean.spread, "count": mean.count}
            for measure, mean in (newest.means.items() if newest is not None else ())
        },
    }


def _step(data: RunData) -> int | None:
    if data.result is not None and data.result.global_step is not None:
        return data.result.global_step
    return max((step for series in data.table.series().values() for step in series.steps), default=None)


def _step_words(data: RunData) -> str:
    step = _step(data)
    return "" if step is None or step < 0 else f"{step:,}"


def _loss_words(data: RunData) -> str:
    loss = data.verdict.loss
    return "" if loss is None else f"{loss.newest:.4g}"


def _lowest_words(data: RunData) -> str:
    loss = data.verdict.loss
    if loss is None:
        return ""
    return f"{loss.lowest:.4g}" + ("" if loss.lowest_step is None else f" at step {loss.lowest_step:,}")


_FACTS: dict[str, Callable[[RunData], str]] = {
    "Run": lambda data: data.run or "",
    "Steps": _step_words,
    "Time": lambda data: duration(data.time.total) if data.time.total else "",
    f"{EVAL_LOSS.capitalize()}": _loss_words,
    f"Lowest {EVAL_LOSS}": _lowest_words,
    "Eval loss is": lambda data: "" if data.verdict.loss is None else data.verdict.loss.words,
    "Speaks": lambda data: data.verdict.speaks.answer.value,
    "Nearer than its base voice": lambda data: data.verdict.nearer.answer.value,
    "Still improves": lambda data: data.verdict.improves.answer.value,
    "Advice": lambda data: data.verdict.advice.value,
}


def _newest(data: RunData) -> ScoredVoice | None:
    return data.scores.steps[-1] if data.scores.steps else None


def _mean(data: RunData, measure: Measure) -> str:
    newest = _newest(data)
    return "" if newest is None else mean_words(newest, measure)


def _differences(runs: Sequence[RunData]) -> dict[Measure, VoiceDifference]:
    """How the second run's voice differs from the first one's in the sentences that both spoke."""
    if len(runs) != 2:  # noqa: PLR2004  # Two are compared.
        return {}
    one, other = (_by_text(data) for data in runs)
    found = {measure: compared(one, other, measure, runs[0].scores.recordings) for measure in MEASURE_WORDS}
    return {measure: item for measure, item in found.items() if item is not None}


def _by_text(data: RunData) -> ScoredVoice | None:
    """The newest scores with the texts of the sentences as names: files of two runs have the same names."""
    newest = _newest(data)
    if newest is None:
        return None
    texts = {sentence.file: sentence.text for sentence in data.held_out}
    known = {texts[name]: scores for name, scores in newest.sentences.items() if name in texts}
    return replace(newest, sentences=known)
