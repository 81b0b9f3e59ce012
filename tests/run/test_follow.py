"""Following a session: every line once, whatever fails on the way."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    NotFoundError,
    ServiceError,
    WaitTimeoutError,
)
from orchestrator.kaggle.logs import LogLine
from orchestrator.models import KernelRef, LogEvent, SessionState, SessionStatus
from orchestrator.run.context import RunContext, Target
from orchestrator.run.follow import follow_session
from orchestrator.run.status import report_session
from orchestrator.run.target import find_target
from tests.fakes.kaggle import FakeKaggle
from tests.fakes.sessions import Reading, said

QUEUED, RUNNING, COMPLETE, ERROR = (
    SessionState.QUEUED,
    SessionState.RUNNING,
    SessionState.COMPLETE,
    SessionState.ERROR,
)
TARGET = Target(KernelRef("asha", "bangla-tts", 3), None)
DOWN = ServiceError("Kaggle failed (503).")


def given(
    kaggle: FakeKaggle,
    *states: SessionState | Exception,
    readings: Sequence[Reading] = (),
    log: Sequence[LogEvent] = (),
    message: str | None = None,
) -> None:
    """Give the followed session these states in turn, then this stored log."""
    newest = kaggle.have("asha/bangla-tts", 3)
    newest.log = log
    kaggle.next_states(*states, message=message)
    kaggle.next("log_stream", *readings, *[Reading([])] * 1000)


def follow(context: RunContext, timeout: timedelta | None = None) -> list[str]:
    """Return states and lines in the order in which they are reported."""
    return [
        f"<{event.state}>" if isinstance(event, SessionStatus) else event.text
        for event in follow_session(context, TARGET, timeout=timeout)
    ]


def test_a_session_is_followed_from_the_queue_to_its_end(context: RunContext, kaggle: FakeKaggle) -> None:
    """Each state is reported once, with all lines, also those after the stream's end."""
    readings = [Reading(said("one", "two"))]
    given(kaggle, QUEUED, QUEUED, RUNNING, COMPLETE, readings=readings, log=said("one", "two", "three"))
    assert follow(context) == ["<queued>", "<running>", "one", "two", "three", "<complete>"]
    assert {text.split()[1] for text in kaggle.asked} == {"asha/bangla-tts/3"}


def test_a_dropped_stream_is_replayed_without_repeat_or_loss(context: RunContext, kaggle: FakeKaggle) -> None:
    """Each reading starts at the log's beginning; every event is reported once, even one that was split."""
    whole = said("one", "two", "three", "four")
    readings = [
        Reading(whole[:1], ServiceError("cut off")),
        Reading([], NotFoundError("not yet")),
        Reading(whole[:3], ServiceError("cut off")),
    ]
    given(kaggle, RUNNING, RUNNING, RUNNING, COMPLETE, readings=readings, log=whole)
    assert follow(context) == ["<running>", "one", "two", "three", "four", "<complete>"]


def test_a_line_in_pieces_over_two_readings_is_one_line(context: RunContext, kaggle: FakeKaggle) -> None:
    """A connection that breaks within a line does not split the line."""
    pieces = [
        LogEvent("stdout", 1.0, "one li"),
        LogEvent("stdout", 1.1, "ne\n"),
        LogEvent("stdout", 2.0, "end"),
    ]
    readings = [Reading(pieces[:1], ServiceError("cut off")), Reading(pieces[:2])]
    given(kaggle, RUNNING, RUNNING, COMPLETE, readings=readings, log=pieces)
    assert follow(context) == ["<running>", "one line", "end", "<complete>"]


def test_a_failed_look_at_the_state_is_not_a_failed_run(context: RunContext, kaggle: FakeKaggle) -> None:
    """If Kaggle is away for a while, following continues."""
    states: list[SessionState | Exception] = [QUEUED, DOWN, DOWN, RUNNING, DOWN, COMPLETE]
    given(kaggle, *states, readings=[Reading(said("one"))] * 2, log=said("one"))
    assert follow(context) == ["<queued>", "<running>", "one", "<complete>"]


def test_a_first_look_that_fails_is_an_error(context: RunContext, kaggle: FakeKaggle) -> None:
    """Without one look at the session there is nothing to follow."""
    given(kaggle, DOWN)
    with pytest.raises(ServiceError, match="503"):
        follow(context)


def test_what_patience_cannot_mend_ends_the_following(context: RunContext, kaggle: FakeKaggle) -> None:
    """Expired credentials end it at once."""
    given(kaggle, RUNNING, CredentialsError("no longer accepted"))
    with pytest.raises(CredentialsError):
        follow(context)


@pytest.mark.parametrize("error", [ForbiddenError("403"), NotFoundError("404")])
def test_a_state_that_kaggle_does_not_show_is_waited_for_within_bounds(
    context: RunContext, kaggle: FakeKaggle, error: Exception
) -> None:
    """A 403 or 404 says nothing about a running session; four hours of them end with exit code 7."""
    given(kaggle, RUNNING, error, COMPLETE, readings=[Reading(said("one"))] * 2, log=said("one"))
    assert follow(context) == ["<running>", "one", "<complete>"]
    given(kaggle, RUNNING, error)
    with pytest.raises(ServiceError, match="for hours"):
        follow(context)


def test_a_failed_run_is_a_value(context: RunContext, kaggle: FakeKaggle) -> None:
    """The last event is the terminal state with Kaggle's message; nothing is raised."""
    given(kaggle, ERROR, log=said("boom"), message="out of memory")
    *lines, last = follow_session(context, TARGET)
    assert lines == [LogLine("stdout", 0.0, "boom")]
    assert last == SessionStatus(ERROR, "out of memory")


def test_the_end_is_told_when_outputs_are_still_being_saved(context: RunContext, kaggle: FakeKaggle) -> None:
    """CANCEL_REQUESTED is not the end."""
    given(kaggle, SessionState.CANCEL_REQUESTED, SessionState.CANCEL_ACKNOWLEDGED)
    assert follow(context) == ["<cancel_requested>", "<cancel_acknowledged>"]


def test_the_pauses_grow_and_shrink(context: RunContext, kaggle: FakeKaggle) -> None:
    """A queue is looked at less and less often, down to once a minute; a change resets the pause."""
    states = [*[QUEUED] * 18, RUNNING, SessionState.CANCEL_REQUESTED, COMPLETE]
    given(kaggle, *states, readings=[Reading(said("one"))], log=said("one"))
    follow(context)
    waits = [round(wait, 6) for wait in kaggle.clock.waits]
    assert waits[:18] == sorted(waits[:18])
    assert max(waits) == 60
    assert waits[-1] == 0.2
    assert len([wait for wait in waits if wait < 1]) < 6


@pytest.mark.parametrize("state", [QUEUED, RUNNING])
def test_the_wait_ends_on_time(context: RunContext, kaggle: FakeKaggle, state: SessionState) -> None:
    """A timeout says that the session continues; neither pauses nor silence delay it."""
    given(kaggle, state)
    with pytest.raises(WaitTimeoutError, match="asha/bangla-tts/3 goes on") as caught:
        follow(context, timedelta(seconds=100))
    assert caught.value.hint == "kgtts status asha/bangla-tts/3 --watch"
    assert kaggle.clock.passed == pytest.approx(100, abs=1.1)


def test_the_wait_ends_in_the_midst_of_a_talkative_log(context: RunContext, kaggle: FakeKaggle) -> None:
    """A log that never pauses does not delay the timeout."""
    given(kaggle, RUNNING, readings=[Reading(said(*["talk"] * 10_000), seconds=0.5)])
    with pytest.raises(WaitTimeoutError):
        follow(context, timedelta(seconds=20))
    assert kaggle.clock.passed == pytest.approx(20, abs=1)


def test_a_session_that_ends_in_time_is_no_timeout(context: RunContext, kaggle: FakeKaggle) -> None:
    """An end that is seen at the last moment counts."""
    given(kaggle, QUEUED, COMPLETE)
    assert follow(context, timedelta(seconds=1)) == ["<queued>", "<complete>"]


def test_what_is_seen_is_remembered(context: RunContext, kaggle: FakeKaggle) -> None:
    """Without a record in the ledger nothing is written, and the session is followed."""
    given(kaggle, COMPLETE)
    follow(context)
    assert find_target(context, "asha/bangla-tts/3").record is None


def test_one_look_at_a_log_that_never_pauses_ends(context: RunContext, kaggle: FakeKaggle) -> None:
    """`status` of a session that prints all the time reads only what was printed before now."""
    past = [LogEvent("stdout", number * 1.0, f"past {number}\n") for number in range(5000)]
    live = [LogEvent("stdout", 5000 + number * 0.1, f"live {number}\n") for number in range(5000)]
    given(kaggle, RUNNING, readings=[Reading(past, seconds=0.001, then=live, then_seconds=0.1)])
    report = report_session(context, TARGET)
    assert report.tail[-1].startswith("live")
    assert kaggle.clock.passed < 10
