"""What of a pass is told: of each session, of the end, of a failure, of a wait for quota."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from orchestrator.metrics import judge
from orchestrator.notify import Event, EventKind, events_of
from orchestrator.notify.files import files_of
from orchestrator.results import Results
from orchestrator.run.decide import RunState
from tests.fakes.sessions import hours
from tests.metrics.test_verdict import FALLING, evaluated, spoken
from tests.run.conftest import Play
from tests.voice.making import put_session

After = Callable[..., Play]


def kinds(events: list[Event]) -> list[EventKind]:
    """Return what events are about."""
    return [event.kind for event in events]


def test_a_session_is_told_by_the_pass_that_begins_the_next(after: After) -> None:
    """The first push tells nothing; neither does a pass over a running session."""
    play = after(100)
    (event,) = events_of(play.sync())
    assert (event.kind, event.title) == (EventKind.SESSION, "bangla-tts: session 1 ended")
    assert event.text.splitlines() == [
        "Session 1 ended (budget); 100 steps are kept.",
        "Session 2 has begun.",
    ]
    assert list(events_of(play.sync())) == []


def test_the_first_push_tells_nothing(play: Play) -> None:
    """The person who pushed was there."""
    assert list(events_of(play.sync())) == []


def test_a_done_run_is_told_with_the_next_command(after: After) -> None:
    """Every later pass finds it again, under the same key."""
    play = after()
    play.changes["training.epochs"] = 1
    play.kaggle.complete(play.pushed(), 100, done=True, done_reason="epochs")
    first, second = (list(events_of(play.sync())) for _ in range(2))
    assert kinds(first) == [EventKind.DONE]
    assert first[0].text.endswith("Next: kgtts pull bangla-tts, then kgtts report or kgtts say")
    assert [event.key for event in first] == [event.key for event in second]


def test_a_failure_is_told_with_its_cause_and_the_next_command(after: After) -> None:
    """A server's words in it cannot steer a terminal."""
    play = after("The data is \x1b[31mbad.")
    (event,) = events_of(play.sync())
    assert event.kind is EventKind.FAILED
    assert "The data is" in event.text
    assert "Next: read the log with `kgtts logs asha/bangla-tts-a/1`" in event.text
    assert "\x1b" not in event.text


def test_a_stalled_run_is_a_failure(after: After) -> None:
    """Two sessions that saved nothing."""
    (event,) = events_of(after(None, None).sync())
    assert (event.kind, event.title) == (EventKind.FAILED, "bangla-tts: the run stalled")


def test_a_wait_for_quota_says_until_when(after: After) -> None:
    """So does the end of the session before; the pass that begins the next one has nothing more to tell."""
    play = after(100)
    turns = play.clock.now() + timedelta(hours=20)
    play.kaggle.week = hours(0, refreshes_at=turns)
    done = play.sync()
    assert done.state is RunState.WAITING
    events = list(events_of(done))
    assert kinds(events) == [EventKind.SESSION, EventKind.QUOTA]
    assert f"until {turns:%A %H:%M} UTC" in events[1].title
    play.kaggle.week = hours(30)
    assert [event.key for event in events_of(play.sync())] == [events[0].key]


def test_the_newest_sample_goes_with_a_done_run(after: After, tmp_path: Path) -> None:
    """Of the highest step that any session spoke at; not one of the base voice or of a held-out sentence."""
    play = after(100)
    done = play.sync()
    assert done.view is not None
    run = Results(tmp_path).of_run(done.view.base.slug, done.view.run_id)
    for number, folder in ((1, "base"), (1, "step_100"), (2, "step_100"), (2, "step_90"), (2, "held_out")):
        place = put_session(run, number, done.view.run_id) / "validation_samples" / folder
        place.mkdir(parents=True)
        (place / "01.wav").write_bytes(b"RIFF")
        (place / "samples.json").write_text(
            '{"samples": [{"text": "ক", "file": "01.wav"}]}', encoding="utf-8"
        )
    assert files_of(Results(tmp_path), done) == [run / "session-02/validation_samples/step_100/01.wav"]


def test_the_verdict_and_the_files_go_with_a_done_run(after: After, tmp_path: Path) -> None:
    """They are what the person wants to know."""
    play = after()
    play.changes["training.epochs"] = 1
    play.kaggle.complete(play.pushed(), 100, done=True, done_reason="epochs")
    verdict = judge(evaluated(FALLING), spoken(0.2), is_over=True)
    (event,) = events_of(play.sync(), verdict, [tmp_path / "sample.wav"])
    assert event.text.splitlines()[1:3] == [verdict.headline, verdict.what_to_do]
    assert event.files == [tmp_path / "sample.wav"]
