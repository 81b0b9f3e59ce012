"""Charts of the scores over the steps: the voice, and as level lines the base voice and the speaker."""

from collections.abc import Mapping, Sequence

from kernel_template.contract import Measure
from orchestrator.metrics import Scores
from orchestrator.metrics.course import hours_at_steps
from orchestrator.metrics.scores import MEASURE_WORDS, difference_unit
from orchestrator.report.charts import Chart, ChartedRun, ChartLine, Kind, make_chart

_FEWEST = 2  # Steps: one point is no curve.


def score_charts(runs: Sequence[ChartedRun], scores: Sequence[Scores]) -> list[Chart]:
    """A chart for each measure that two steps of a run or more have; a page of two runs shows both."""
    charts: list[Chart] = []
    hours = [_hours(run, known) for run, known in zip(runs, scores, strict=True)]
    for measure, (name, meaning) in MEASURE_WORDS.items():
        curves: list[ChartLine] = []
        for number, (run, known) in enumerate(zip(runs, scores, strict=True)):
            curves += _curves(number, run.label, known, measure, hours[number])
        if curves:
            unit = difference_unit(measure)[1]
            title = f"{name} ({unit})" if unit else name
            charts.append(make_chart(f"score-{len(charts)}", title, "score", curves, meaning))
    return charts


def _hours(run: ChartedRun, scores: Scores) -> dict[int, float]:
    """The run's hours at each step that has scores; empty if they are not known."""
    steps = [item.step for item in scores.steps if item.step is not None]
    found = hours_at_steps(run.table, steps, run.session_seconds) if steps else None
    return {} if found is None else dict(zip(steps, found, strict=True))


def _curves(
    number: int, letter: str, scores: Scores, measure: Measure, hours: Mapping[int, float]
) -> list[ChartLine]:
    found = [
        (item.step, mean)
        for item in scores.steps
        if item.step is not None and (mean := item.mean(measure)) is not None
    ]
    if len(found) < _FEWEST:
        return []
    steps = [step for step, _ in found]
    times = [round(hours[step], 4) if step in hours else None for step in steps]
    scale = difference_unit(measure)[0]

    def curve(kind: Kind, label: str, values: Sequence[float]) -> ChartLine:
        whole = " ".join(part for part in (letter, label) if part)
        return ChartLine(
            number, kind, whole, steps, times, [float(f"{scale * value:.6g}") for value in values]
        )

    curves = [curve("eval", "the voice", [mean for _, mean in found])]
    base = None if scores.base is None else scores.base.mean(measure)
    speaker = None if scores.recordings is None else scores.recordings.mean(measure)
    if base is not None:
        curves.append(curve("epoch", "the base voice", [base] * len(steps)))
    if speaker is not None:
        curves.append(curve("system", "the speaker", [speaker] * len(steps)))
    return curves
