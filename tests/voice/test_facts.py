"""What is told of a run: its figures if they are figures, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.results import pulled_sessions
from orchestrator.voice.facts import VoiceFacts, read_facts
from orchestrator.voice.readme import curves_svg
from tests.report.making import Made

RUN = "3f9c1a7be204"
SCORES = {
    "recordings": {"means": {"rate": {"mean": 14.2, "spread": 1.5, "count": 8}}},
    "base": {"means": {"mel_distance": {"mean": 11.4, "spread": 0.8, "count": 8}}},
    "steps": [
        {"global_step": 4, "means": {"mel_distance": {"mean": 9.9, "spread": 0.5, "count": 8}}},
        {
            "global_step": 8,
            "means": {
                "mel_distance": {"mean": 7.61, "spread": 0.42, "count": 8},
                "rate": {"mean": 13.9, "spread": 0.0, "count": 1},
            },
        },
    ],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two sessions."""
    folder = tmp_path_factory.mktemp("facts") / "run"
    Made(run=RUN, sessions=2, epochs=2).write(folder)
    place = folder / "session-02" / "state.json"
    place.with_name("true.json").write_bytes(place.read_bytes())
    return folder


def facts(folder: Path, state: Any, step: int | None = 8) -> VoiceFacts:
    """Read the facts of a run whose newest state.json has these fields."""
    place = folder / "session-02" / "state.json"
    told = json.loads(place.with_name("true.json").read_text(encoding="utf-8"))
    place.write_text(json.dumps({**told, **state} if isinstance(state, dict) else state), encoding="utf-8")
    return read_facts(pulled_sessions(folder), step, {"Data": "asha/datahrbnn", "Base voice": ""})


def test_a_runs_figures_are_told(run: Path) -> None:
    """Recordings, minutes, sessions, steps, software and losses."""
    found = facts(
        run,
        {"bad_samples": {"checked": 1200, "left_out": 3, "by_kind": {}, "seconds": 5400.0}, "scores": SCORES},
    )
    rows = dict(found.rows)
    assert rows["Data"] == "asha/datahrbnn"
    assert "Base voice" not in rows
    assert rows["Recordings"] == "1,197 (3 more were left out as unusable)"
    assert rows["Recorded speech"] == "90 minutes"
    assert rows["Sessions"].startswith("2, ")
    assert rows["Trained"] == "to step 400, epoch 4"
    assert rows["Lowest eval loss"].endswith(" (mel loss on the evaluation recordings)")
    assert len(found.curves) > 0
    assert found.sentences


def test_scores_are_those_of_the_exported_step(run: Path) -> None:
    """Beside the recordings and the base voice; a voice of a step that was not measured has none."""
    found = facts(run, {"scores": SCORES})
    assert found.scores == (
        ("mel distance (dB, lower is better)", "–", "11.4 ± 0.8", "7.61 ± 0.42"),
        ("rate (characters/s, nearer to the recordings is better)", "14.2 ± 1.5", "–", "13.9"),
    )
    assert facts(run, {"scores": SCORES}, 9).scores == ()
    assert facts(run, {"scores": SCORES}, None).scores == ()


@pytest.mark.parametrize(
    "state",
    [
        {"bad_samples": {"checked": -1, "left_out": "all", "seconds": float("nan")}},
        {"history": [7, {"seconds": 10**40}], "global_step": True, "epoch": "two"},
        {"environment": {"gpus": {"a": 1}, "torch": ["x"]}, "best_loss": "low"},
        {"scores": {"steps": [7, {"global_step": 8, "means": {"mel_distance": {"mean": "x"}}}]}},
        {"scores": [], "environment": None, "history": {}},
        7,
    ],
    ids=str,
)
def test_what_makes_no_sense_is_left_out(run: Path, state: Any) -> None:
    """A figure that is none is no fact, and never an error."""
    found = facts(run, state)
    assert all("nan" not in value and value.isprintable() for _, value in found.rows)
    assert found.scores == ()


_STATES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(), lambda of: st.lists(of, max_size=3)
)


@settings(max_examples=30, deadline=None)
@given(told=st.dictionaries(st.sampled_from(["history", "scores", "environment", "bad_samples"]), _STATES))
def test_rubbish_gives_lines(tmp_path_factory: pytest.TempPathFactory, told: Any) -> None:
    """Whatever a server sends, each fact is on one line."""
    folder = tmp_path_factory.mktemp("facts")
    (folder / "session-01").mkdir()
    (folder / "session-01" / "state.json").write_text(json.dumps(told), encoding="utf-8")
    for name, value in read_facts(pulled_sessions(folder), 8, {}).rows:
        assert "\n" not in name + value


def test_curves_are_a_picture_of_text(run: Path) -> None:
    """It parses as XML, whatever the losses are called."""
    from xml.etree import ElementTree as ET  # noqa: PLC0415 - our own text.

    found = facts(run, {})
    picture = ET.fromstring(curves_svg(found.curves))  # noqa: S314 - as above.
    assert len(picture.findall("{http://www.w3.org/2000/svg}polyline")) == len(found.curves)
