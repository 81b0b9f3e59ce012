"""Scores of held-out sentences: what is read of them, and how two voices are compared."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_template.contract import MEASURES, Measure, Speaker
from orchestrator.metrics import Scores, judge, read_scores
from orchestrator.metrics.events import EventsReader
from orchestrator.metrics.scores import compared, student
from orchestrator.metrics.table import MetricsTable
from tests.report.making import score_event


def table_of(*events: dict[str, Any]) -> MetricsTable:
    """What a metrics.jsonl with these events holds."""
    reader = EventsReader()
    reader.feed("".join(json.dumps(event) + "\n" for event in events).encode())
    return reader.finish()


def scores_of(*events: dict[str, Any]) -> Scores:
    """The scores in these events."""
    return read_scores(table_of(*events))


def test_each_voice_is_read_once() -> None:
    """Recordings, base voice and steps are told apart; of a step measured again the newest counts."""
    found = scores_of(
        score_event("recordings", None, 0, 3),
        score_event("base", 0, 1, 3),
        score_event("step", 200, 0.2, 3),
        score_event("step", 100, 0.9, 3),
        score_event("step", 100, 0.5, 3),
    )
    assert found.recordings is not None
    assert found.recordings.of is Speaker.RECORDINGS
    assert [item.step for item in found.steps] == [100, 200]
    assert found.steps[0].mean(Measure.MEL_DISTANCE) == pytest.approx(8, abs=0.3)
    assert found.base is found.of_step(0)
    assert found.measures() == [item for item in MEASURES if item is not Measure.CER]


def test_the_state_has_what_events_lack() -> None:
    """Without events, the means of state.json are shown; with both, those of the events."""
    mean = {"mean": 7.5, "spread": 0.5, "count": 8}
    scored = {"of": "step", "global_step": 100, "means": {"mel_distance": mean, "mos": {**mean, "count": 0}}}
    state = {"scores": {"steps": [scored], "base": {"of": "base", "global_step": 0}, "recordings": None}}
    found = read_scores(MetricsTable(), state)
    assert found.steps[0].mean(Measure.MEL_DISTANCE) == 7.5
    assert found.steps[0].mean(Measure.MOS) is None
    assert found.base is not None
    assert found.recordings is None
    newer = read_scores(table_of(score_event("step", 100, 0, 3)), state)
    assert newer.steps[0].mean(Measure.MEL_DISTANCE) == pytest.approx(5, abs=0.3)


def test_a_difference_is_paired() -> None:
    """Sentences are compared one by one: what they vary among themselves does not hide a difference."""
    events = [score_event("base", 0, 0, 4), score_event("step", 9, 0, 4)]
    for event, shift in zip(events, (1.0, 0.8), strict=True):
        for index, sentence in enumerate(event["sentences"]):
            sentence["scores"] = {"mel_distance": 3.0 * index + shift + 0.01 * index * shift}
    found = scores_of(*events)
    paired = compared(found.base, found.steps[0], Measure.MEL_DISTANCE)
    assert paired is not None
    assert (paired.better, paired.count) == (4, 4)
    assert paired.gain == pytest.approx(0.203, abs=1e-3)
    assert 0.19 < paired.low < paired.gain < paired.high < 0.22
    assert paired.is_clear


def test_the_range_is_that_of_student() -> None:
    """The 95 % range is mean and standard deviation with the quantile for few sentences."""
    assert (student(1), student(9), student(30), student(31)) == (12.706, 2.262, 2.042, 1.96)
    events = [score_event("base", 0, 0, 3), score_event("step", 9, 0, 3)]
    for event, values in zip(events, ((1.0, 2.0, 3.0), (1.0, 1.0, 1.0)), strict=True):
        for sentence, value in zip(event["sentences"], values, strict=True):
            sentence["scores"] = {"mel_distance": value}
    found = scores_of(*events)
    paired = compared(found.base, found.steps[0], Measure.MEL_DISTANCE)
    assert paired is not None
    assert paired.gain == 1
    assert paired.low == pytest.approx(1 - 4.303 / math.sqrt(3))
    assert not paired.is_clear


def test_two_sentences_have_no_range() -> None:
    """A difference of two sentences is told without a range, and is not clear."""
    found = scores_of(score_event("base", 0, 1, 2), score_event("step", 9, 0, 2))
    paired = compared(found.base, found.steps[0], Measure.MEL_DISTANCE)
    assert paired is not None
    assert (paired.low, paired.high, paired.is_clear) == (-math.inf, math.inf, False)


def test_some_measures_should_be_like_the_recordings() -> None:
    """A voice that speaks too fast is worse; without recordings that cannot be told."""
    events = [score_event(of, step, 0, 3) for of, step in (("recordings", None), ("base", 0), ("step", 9))]
    for event, rate in zip(events, (12.0, 15.0, 11.0), strict=True):
        for sentence in event["sentences"]:
            sentence["scores"] = {"rate": rate}
    found = scores_of(*events)
    paired = compared(found.base, found.steps[0], Measure.RATE, found.recordings)
    assert paired is not None
    assert paired.gain == pytest.approx(2)
    assert compared(found.base, found.steps[0], Measure.RATE) is None


def test_scores_that_were_undone_are_dropped() -> None:
    """The scores of steps that a later session trained again do not count; base and recordings do."""
    lines = [
        {"event": "progress", "t": 1.0, "session": 1, "global_step": 100, "losses": {"loss": 1.0}},
        {"event": "progress", "t": 2.0, "session": 1, "global_step": 200, "losses": {"loss": 1.0}},
        score_event("base", 0, 1, 3),
        score_event("step", 200, 0.2, 3),
        {"event": "progress", "t": 1.0, "session": 2, "global_step": 150, "losses": {"loss": 1.0}},
        score_event("step", 150, 0.5, 3, session=2),
    ]
    from orchestrator.metrics import continuous  # noqa: PLC0415

    found = read_scores(continuous(table_of(*lines)))
    assert [item.step for item in found.steps] == [150]
    assert found.base is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(["of", "global_step", "sentences", "means", "missing", "session"])


@given(st.dictionaries(KEYS, JSON), JSON)
def test_no_event_breaks_a_verdict(changes: dict[str, object], state: object) -> None:
    """Any JSON in the fields of a scores event gives a verdict that can be written as JSON."""
    table = table_of(score_event("base", 0, 1, 3), {**score_event("step", 100, 0, 3), **changes})
    found = read_scores(table, {"scores": state})
    json.dumps(judge(table, found).to_json(), allow_nan=False)
