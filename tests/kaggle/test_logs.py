"""Kaggle's two log formats give the same lines."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kaggle.logs import EndOfLogError, LogLine, log_lines, parse_sse, parse_stored_log
from orchestrator.models import LogEvent


def piece(text: str, stream: str = "stdout", time: float = 1.5) -> dict[str, object]:
    """Return a piece of a log as Kaggle writes it."""
    return {"stream_name": stream, "time": time, "data": text}


def live(lines: list[str]) -> tuple[list[LogEvent], bool]:
    """Return the events of a stream, and whether it said that it is complete."""
    events = []
    try:
        for event in parse_sse(lines):
            events.append(event)  # noqa: PERF402 - as above
    except EndOfLogError:
        return events, True
    return events, False


def test_a_live_stream_is_read_to_its_end() -> None:
    """Events are read until END_OF_LOG; comments, blank lines and other fields are skipped."""
    data = json.dumps(piece("হ্যালো\n"), ensure_ascii=False)
    lines = [
        ": keep-alive",
        "",
        "event: log",
        f"data: {data}",
        "",
        f"data:{data}",
        "data: END_OF_LOG",
        "data: x",
    ]
    assert live(lines) == ([LogEvent("stdout", 1.5, "হ্যালো\n")] * 2, True)


def test_a_stream_without_its_end_mark_was_cut_off() -> None:
    """A stream without END_OF_LOG is incomplete."""
    assert live([f"data: {json.dumps(piece('x'))}"]) == ([LogEvent("stdout", 1.5, "x")], False)


def test_the_words_of_the_end_mark_inside_a_line_end_nothing() -> None:
    """A kernel that prints END_OF_LOG does not end its log."""
    events, ended = live([f"data: {json.dumps(piece('END_OF_LOG'))}"])
    assert (len(events), ended) == (1, False)


@pytest.mark.parametrize("payload", ["{torn", "", "[]", "3", "null", '"text"'])
def test_a_torn_event_is_kept_as_text(payload: str) -> None:
    """What is not an event is shown instead of lost."""
    events, _ = live([f"data: {payload}"])
    assert len(events) == 1
    assert isinstance(events[0].text, str)


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("", []),
        ("  \n", []),
        ("[]", []),
        ("plain\nlines", [LogEvent("stdout", 0.0, "plain\n"), LogEvent("stdout", 0.0, "lines\n")]),
        (json.dumps(piece("one")), [LogEvent("stdout", 1.5, "one")]),
        (json.dumps([piece("e", "stderr")]), [LogEvent("stderr", 1.5, "e")]),
        ('[{"data": null, "time": "soon"}]', [LogEvent("stdout", 0.0, "")]),
        ("[1]", [LogEvent("stdout", 0.0, "1\n")]),
    ],
)
def test_a_stored_log_is_read(text: str, events: list[LogEvent]) -> None:
    """The JSON array is read, and any other content in its place."""
    assert parse_stored_log(text) == events


def test_pieces_become_lines() -> None:
    """A line may come in pieces, a piece may have several lines, and the streams do not mix."""
    events = [
        LogEvent("stdout", 1.0, "Ep"),
        LogEvent("stderr", 1.5, "warn"),
        LogEvent("stdout", 2.0, "och 1\nEpoch 2\r\n\nrest"),
        LogEvent("stderr", 3.0, "ing\n"),
    ]
    assert list(log_lines(events)) == [
        LogLine("stdout", 2.0, "Epoch 1"),
        LogLine("stdout", 2.0, "Epoch 2"),
        LogLine("stdout", 2.0, ""),
        LogLine("stderr", 3.0, "warning"),
        LogLine("stdout", 0.0, "rest"),
    ]


@given(st.text(), st.lists(st.integers(0, 200), max_size=6))
def test_how_a_text_is_cut_does_not_matter(text: str, cuts: list[int]) -> None:
    """The lines are those of the whole text, wherever it was cut."""
    marks = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [LogEvent("stdout", 0.0, text[a:b]) for a, b in pairwise(marks)]
    whole = [line.text for line in log_lines([LogEvent("stdout", 0.0, text)])]
    assert [line.text for line in log_lines(pieces)] == whole
