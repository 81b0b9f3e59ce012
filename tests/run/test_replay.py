"""Reading a log again and again, every text is reported once."""

from collections.abc import Iterable, Sequence
from itertools import groupby, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kaggle.logs import log_lines
from orchestrator.models import LogEvent
from orchestrator.run.replay import Replay

# Few letters, so that logs repeat themselves, and line ends of all kinds.
TEXTS = st.text(st.sampled_from("ab\n\rক"), max_size=8)
STREAMS = st.sampled_from(["stdout", "stderr"])


@st.composite
def logs(draw: st.DrawFn, *, ticking: bool = False) -> list[LogEvent]:
    """A log with growing times. With `ticking` no two pieces have the same time or text."""
    pieces = draw(st.lists(st.tuples(STREAMS, TEXTS, st.integers(0, 2)), max_size=25))
    time, events = 0.0, []
    for number, (stream, text, later) in enumerate(pieces):
        time += later + (1 if ticking else 0)
        events.append(LogEvent(stream, time, f"{number}:{text}" if ticking else text))
    return events


def cut_anew(events: Sequence[LogEvent], data: st.DataObject) -> list[LogEvent]:
    """The same log in other pieces: each stream is split and joined differently."""
    pieces: list[LogEvent] = []
    for event in events:
        mark = data.draw(st.integers(0, len(event.text)))
        pieces += [
            LogEvent(event.stream, event.time_s, text) for text in (event.text[:mark], event.text[mark:])
        ]
    joined = []
    for _, group in groupby(pieces, key=lambda piece: (piece.stream, data.draw(st.integers(0, 2)))):
        members = list(group)
        time = data.draw(st.sampled_from([member.time_s for member in members]))
        joined.append(LogEvent(members[0].stream, time, "".join(member.text for member in members)))
    return joined


def lines(events: Iterable[LogEvent], stream: str) -> list[str]:
    """Return the lines of one stream."""
    return [line.text for line in log_lines(event for event in events if event.stream == stream)]


def assert_told_once(told: list[LogEvent], log: list[LogEvent]) -> None:
    """Check that what was reported equals the log."""
    for stream in ("stdout", "stderr"):
        assert lines(told, stream) == lines(log, stream)


@given(logs(), st.data())
def test_drops_replays_and_other_pieces_neither_repeat_nor_lose(
    log: list[LogEvent], data: st.DataObject
) -> None:
    """Each reading ends anywhere, even before an earlier one, and has its own pieces."""
    replay, told = Replay(), list[LogEvent]()
    for end in data.draw(st.lists(st.integers(0, len(log)), max_size=6)):
        told += replay.news(cut_anew(log[:end], data))
    told += replay.news(cut_anew(log, data))
    assert not replay.behind
    assert_told_once(told, log)


@given(logs(ticking=True), st.data())
def test_replays_that_have_lost_their_beginning_neither_repeat_nor_lose(
    log: list[LogEvent], data: st.DataObject
) -> None:
    """If a reading starts late, its times show what is new."""
    replay, told, far = Replay(), list[LogEvent](), 0
    for end in data.draw(st.lists(st.integers(0, len(log)), max_size=6)):
        begin = data.draw(st.integers(0, min(far, end)))
        told += replay.news(log[begin:end])
        far = max(far, end)
    told += replay.news(log)
    assert_told_once(told, log)


@given(logs(), st.lists(st.integers(0, 25), max_size=6))
def test_a_reading_that_breaks_off_anywhere_is_gone_on_with(log: list[LogEvent], breaks: list[int]) -> None:
    """A reader that stops has everything that it took."""
    replay, told = Replay(), list[LogEvent]()
    for count in breaks:
        told += islice(replay.news(log), count)
    told += replay.news(log)
    assert_told_once(told, log)


def ticks(*texts: str, start: float = 0.0) -> list[LogEvent]:
    """Pieces, a second apart."""
    return [LogEvent("stdout", start + number, text) for number, text in enumerate(texts)]


def test_a_reading_says_whether_it_is_behind() -> None:
    """A stored log that is shorter than what was reported, or lacks a stream, is incomplete."""
    replay = Replay()
    assert list(replay.news([])) == []
    assert not replay.behind
    log = [*ticks("one\n", "two\n"), LogEvent("stderr", 1.0, "bad\n")]
    assert list(replay.news(log)) == log
    for part in (log[:1], log[:2], log[2:], []):
        assert list(replay.news(part)) == []
        assert replay.behind
    assert list(replay.news(log)) == []
    assert not replay.behind


def test_a_stored_log_whose_text_was_changed_goes_on_by_time() -> None:
    """With other line ends or missing lines, nothing is repeated and nothing new is lost."""
    replay = Replay()
    log = ticks("one\n", "two\n", "three\n")
    list(replay.news(log))
    changed = ticks("one\r\n", "two\r\n", "three\r\n", "four\r\n")
    assert list(replay.news(changed)) == changed[3:]
    shorter = [*ticks("one\n"), *ticks("three\n", "four\r\n", "five\n", start=2.0)]
    assert list(replay.news(shorter)) == shorter[3:]


def test_a_long_log_that_differs_far_behind_its_beginning_is_noticed() -> None:
    """Both ends of what was reported are enough, so that memory stays bounded."""
    replay = Replay()
    log = ticks(*[f"line {number}\n" for number in range(2000)])
    list(replay.news(log))
    without = [*log[:1000], *log[1001:], *ticks("new\n", start=2000.0)]
    assert list(replay.news(without)) == without[-1:]


@pytest.mark.parametrize("time", [0.0, 5.0])
def test_pieces_of_one_moment_are_counted(time: float) -> None:
    """A reading by time reports what was printed at the last moment as often as it was printed."""
    replay = Replay()
    list(replay.news([LogEvent("stdout", time, text) for text in ("x\n", "a\n", "a\n")]))
    late = [LogEvent("stdout", time, text) for text in ("a\n", "a\n", "a\n", "b\n")]
    assert list(replay.news(late)) == late[2:]
