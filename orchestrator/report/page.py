"""Reports as pages: one HTML file each, with all that it needs within it.

The page's policy allows the scripts and style sheets that carry its nonce and nothing else: no address is
asked, no text can become code. Plotly makes style sheets and style attributes as it draws; `policy.js` gives
the former the nonce and sets the latter through the object model, so that neither needs `unsafe-inline`.
"""

import base64
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.files import write_atomically
from orchestrator.report.charts import as_data, make_charts, thinned
from orchestrator.report.curves import MOST_POINTS, Track
from orchestrator.report.plotting import chart_script
from orchestrator.report.reading import RunData
from orchestrator.report.settings import Change, differences
from orchestrator.report.sounds import Sentence, Spoken
from orchestrator.report.summary import Fact, facts_of, status_of
from orchestrator.report.wav import Clip

_LABELS = ("A", "B")
_GROUPS = (("loss", "Losses"), ("rate", "Learning rate"), ("detail", "Parts, gradients and times"))


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as the page's template shows it; `label` tells two apart."""

    label: str
    data: RunData
    status: str
    message: str
    facts: Sequence[Fact]


@dataclass(frozen=True, slots=True)
class SoundRow:
    """A sentence, and what is to be heard of it: who speaks, and how."""

    text: str
    heard: Sequence[tuple[str, Spoken]]
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
        LocalError: as `write_report`.
    """
    write_atomically(path, render([first, second], written=datetime.now(UTC)))


def render(runs: Sequence[RunData], *, written: datetime, nonce: str | None = None) -> str:
    """The page of one run, or of two that are compared.

    Args:
        runs: the runs.
        written: the time to write into it.
        nonce: what marks the page's own scripts; by default drawn at random.

    Raises:
        LocalError: plotly is not installed.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  # Start-up.

    plotly = chart_script()
    both = len(runs) > 1
    labels = _LABELS[: len(runs)] if both else ("",)
    tracks = [
        Track(data.table, label, data.session_seconds) for label, data in zip(labels, runs, strict=True)
    ]
    charts = make_charts(tracks)
    environment = Environment(
        loader=PackageLoader("orchestrator.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sound"] = _sound_uri
    environment.filters["language"] = _language
    loader = environment.loader
    assert loader is not None
    sources = {name: loader.get_source(environment, name)[0] for name in _ASSETS}
    return environment.get_template("page.html.j2").render(
        nonce=nonce or secrets.token_urlsafe(18),
        title=" and ".join(data.name for data in runs),
        both=both,
        views=[_view(label, data) for label, data in zip(labels, runs, strict=True)],
        charts=charts,
        groups=[(key, title, [c for c in charts if c.group == key]) for key, title in _GROUPS],
        resources=[chart for chart in charts if chart.group == "resource"],
        thinned=list(thinned(charts)),
        most_points=MOST_POINTS,
        sounds=_sounds(runs, labels),
        settings=_settings(runs),
        changes=_changes(runs),
        notices=[
            (label, notice) for label, data in zip(labels, runs, strict=True) for notice in data.notices
        ],
        data=script_json(as_data(charts, tracks)),
        plotly=plotly,
        sources=sources,
        written=f"{written:%Y-%m-%d %H:%M} UTC",
        version=__version__,
    )


_ASSETS = ("style.css", "policy.js", "charts.js", "sound.js")


def script_json(value: Any) -> str:
    """JSON that can stand in a script element: no character in it means anything to HTML."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII, so U+2028 is escaped too.
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _view(label: str, data: RunData) -> RunView:
    return RunView(label, data, *status_of(data), facts_of(data))


def _sounds(runs: Sequence[RunData], labels: Sequence[str]) -> list[SoundRow]:
    """Each sentence once, with what each run speaks of it."""
    found: dict[str, list[tuple[str, Spoken]]] = {}
    recordings: dict[str, Clip] = {}
    for label, data in zip(labels, runs, strict=True):
        for sentence in data.sentences:
            heard = found.setdefault(sentence.text, [])
            heard += [(label, spoken) for spoken in _of_interest(sentence, both=len(runs) > 1)]
            if sentence.recording is not None:
                recordings[sentence.text] = sentence.recording
    return [SoundRow(text, heard, recordings.get(text)) for text, heard in found.items()]


def _of_interest(sentence: Sentence, *, both: bool) -> Sequence[Spoken]:
    """All of a single run's; of two, what each came to."""
    if not both:
        return sentence.spoken
    return [item for item in sentence.spoken if "last" in item.label or "best" in item.label] or [
        *sentence.spoken[-1:]
    ]


def _settings(runs: Sequence[RunData]) -> list[tuple[str, list[str | None]]]:
    names = sorted({name for data in runs for name in data.settings})
    return [(name, [data.settings.get(name) for data in runs]) for name in names]


def _changes(runs: Sequence[RunData]) -> tuple[str, list[Change]] | None:
    """What differs: between two runs, or from the run before."""
    if len(runs) > 1:
        return "", differences(runs[0].settings, runs[1].settings)
    before = runs[0].before
    return None if before is None else (before[0], differences(before[1], runs[0].settings))


def _sound_uri(clip: Clip) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(clip.wav).decode('ascii')}"


def _language(text: str) -> str:
    """The language of a sentence, for those who have the page read to them."""
    return "bn" if any("\u0980" <= letter <= "\u09ff" for letter in text) else ""
