"""Write reports: one HTML file each, with everything that it needs inside.

The page's content security policy allows only the scripts and style sheets that carry its nonce: it loads
nothing from anywhere, and no text can become code. Plotly creates style sheets and style attributes while it
draws. `policy.js` gives the style sheets the nonce and sets the attributes through the object model, so that
the policy needs no `unsafe-inline`.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kernel_template.contract import Measure
from orchestrator import __version__
from orchestrator.errors import LocalError
from orchestrator.files import write_atomically
from orchestrator.metrics.scores import MEASURE_WORDS
from orchestrator.report.charts import MOST_POINTS, ChartedRun, chart_data, make_charts, thinned
from orchestrator.report.comparison import compare_runs
from orchestrator.report.held_out import HeldOutVoice
from orchestrator.report.html import environment, page_sources, script_json
from orchestrator.report.reading import RunData, best_step
from orchestrator.report.score_charts import score_charts
from orchestrator.report.score_table import ScoreTable, score_table, value_words
from orchestrator.report.settings import SettingChange, differences
from orchestrator.report.sounds import Clip, Sample, Sentence
from orchestrator.report.summary import Fact, end_words, facts_of, status_of

_LABELS = ("A", "B")
# What a sentence is shown with; the others say little about a single one.
_SHOWN = (Measure.MEL_DISTANCE, Measure.SIMILARITY, Measure.MOS, Measure.CER)
_SCRIPT_END = re.compile(r"</(?=script)", re.IGNORECASE)
_GROUPS = (
    ("loss", "Losses"),
    ("score", "Sentences that the voice has never seen"),
    ("rate", "Learning rate"),
    ("detail", "More losses, gradients and times"),
)


@dataclass(frozen=True, slots=True)
class RunSection:
    """A run as the template shows it. `label` is its letter on a page of two runs."""

    label: str
    data: RunData
    status: str
    message: str
    facts: Sequence[Fact]
    scores: ScoreTable | None


@dataclass(frozen=True, slots=True)
class HeldOutRow:
    """A held-out sentence with all who speak it, each with the letter of its run."""

    text: str
    voices: Sequence[tuple[str, HeldOutVoice]]


@dataclass(frozen=True, slots=True)
class SoundRow:
    """A test sentence with its samples, each with the letter of its run."""

    text: str
    samples: Sequence[tuple[str, Sample]]
    recording: Clip | None


def write_report(data: RunData, path: Path) -> None:
    """Write the report of a run.

    Raises:
        LocalError: plotly is not installed, or the file cannot be written.
    """
    write_atomically(path, render([data], written=datetime.now(UTC)))


def write_comparison(first: RunData, second: RunData, path: Path) -> None:
    """Write a page with two runs on the same axes, A and B.

    Raises:
        LocalError: plotly is not installed, or the file cannot be written.
    """
    write_atomically(path, render([first, second], written=datetime.now(UTC)))


def render(runs: Sequence[RunData], *, written: datetime, nonce: str | None = None) -> str:
    """The page of one run, or of two that are compared.

    Args:
        runs: the runs.
        written: the time that the page says it was written at.
        nonce: marks the page's own scripts; random by default.

    Raises:
        LocalError: plotly is not installed.
    """
    plotly = _plotly_script()
    both = len(runs) > 1
    labels = _LABELS[: len(runs)] if both else ("",)
    charted = [
        ChartedRun(data.table, label, data.session_seconds) for label, data in zip(labels, runs, strict=True)
    ]
    charts = [*make_charts(charted), *score_charts(charted, [data.scores for data in runs])]
    pages = environment()
    pages.filters["reason"] = end_words
    pages.filters["measured"] = _measured
    return pages.get_template("page.html.j2").render(
        nonce=nonce or secrets.token_urlsafe(18),
        title=" and ".join(data.name for data in runs),
        both=both,
        sections=[_section(label, data) for label, data in zip(labels, runs, strict=True)],
        charts=charts,
        groups=[(key, title, [c for c in charts if c.group == key]) for key, title in _GROUPS],
        resources=[chart for chart in charts if chart.group == "resource"],
        thinned=list(thinned(charts)),
        most_points=MOST_POINTS,
        compared=compare_runs(runs) if both else [],
        held_out=_held_out(runs, labels),
        sounds=_sounds(runs, labels),
        settings=_settings(runs),
        changes=_changes(runs),
        notices=[
            (label, notice) for label, data in zip(labels, runs, strict=True) for notice in data.notices
        ],
        data=script_json(chart_data(charts, charted)),
        plotly=plotly,
        sources=page_sources(_ASSETS),
        written=f"{written:%Y-%m-%d %H:%M} UTC",
        version=__version__,
    )


_ASSETS = ("style.css", "policy.js", "charts.js", "sound.js")


def _section(label: str, data: RunData) -> RunSection:
    table = score_table(data.scores, best_step(data.state, data.table))
    return RunSection(label, data, *status_of(data), facts_of(data), table)


def _held_out(runs: Sequence[RunData], labels: Sequence[str]) -> list[HeldOutRow]:
    """Each held-out sentence once, with all who speak it in any run; the speaker once."""
    found: dict[str, list[tuple[str, HeldOutVoice]]] = {}
    for label, data in zip(labels, runs, strict=True):
        for sentence in data.held_out:
            voices = found.setdefault(sentence.text, [])
            known = any(voice.step is None for _, voice in voices)
            voices += [
                ("" if voice.step is None else label, voice)
                for voice in sentence.voices
                if not (known and voice.step is None)
            ]
    return [HeldOutRow(text, voices) for text, voices in found.items()]


def _measured(scores: Mapping[Measure, float]) -> str:
    """The scores of one sentence on a line."""
    words = ", ".join(
        f"{MEASURE_WORDS[measure][0].lower()} {value_words(value, measure)}"
        for measure, value in scores.items()
        if measure in _SHOWN
    )
    return words[:1].upper() + words[1:]


def _sounds(runs: Sequence[RunData], labels: Sequence[str]) -> list[SoundRow]:
    """Each test sentence once, with the samples of all runs."""
    found: dict[str, list[tuple[str, Sample]]] = {}
    recordings: dict[str, Clip] = {}
    for label, data in zip(labels, runs, strict=True):
        for sentence in data.sentences:
            samples = found.setdefault(sentence.text, [])
            samples += [(label, sample) for sample in _samples(sentence, both=len(runs) > 1)]
            if sentence.recording is not None:
                recordings[sentence.text] = sentence.recording
    return [SoundRow(text, samples, recordings.get(text)) for text, samples in found.items()]


def _samples(sentence: Sentence, *, both: bool) -> Sequence[Sample]:
    """All samples of a single run; if two are compared, of each the last and the best model's."""
    if not both:
        return sentence.samples
    results = [item for item in sentence.samples if "last" in item.label or "best" in item.label]
    return results or sentence.samples[-1:]


def _settings(runs: Sequence[RunData]) -> list[tuple[str, list[str | None]]]:
    names = sorted({name for data in runs for name in data.settings})
    return [(name, [data.settings.get(name) for data in runs]) for name in names]


def _changes(runs: Sequence[RunData]) -> tuple[str, list[SettingChange]] | None:
    """The settings that differ between two runs, or from the previous run, with its name."""
    if len(runs) > 1:
        return "", differences(runs[0].settings, runs[1].settings)
    before = runs[0].before
    return None if before is None else (before[0], differences(before[1], runs[0].settings))


def _plotly_script() -> str:
    """plotly.js (MIT), 4.8 MB, in a form that can stand within a page.

    The package is optional, and takes a sixth of a second to import.

    Raises:
        LocalError: it is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs  # noqa: PLC0415  # See above.
    except ImportError as error:
        raise LocalError(
            f"The charts of a report need the package plotly, which cannot be imported ({error}).",
            hint='pip install "kgtts[report]"',
        ) from error
    return _SCRIPT_END.sub(r"<\/", get_plotlyjs())
