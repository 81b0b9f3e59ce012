"""Each event is told once to each address, and a service that is down hurts nothing."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.notify import (
    MEMORY_FILE,
    Event,
    EventKind,
    Notifier,
    Undelivered,
    addresses_in,
    events_of,
    send,
)
from orchestrator.scrubbing import scrub
from tests.notify.listener import Listener
from tests.run.conftest import Play

ALL = list(EventKind)


def test_each_event_of_a_run_is_told_once(play: Play, service: Listener, tmp_path: Path) -> None:
    """Two passes in each state, each by a new process that has the file of the one before."""
    play.changes["training.epochs"] = 2

    def passed() -> str:
        done = play.sync()
        notifier = Notifier([service.address], ALL, tmp_path / MEMORY_FILE)
        assert not notifier.tell([*events_of(done)], play.clock.now()).warnings
        return "" if done.pushed is None else str(done.pushed.target.ref)

    for step in (100, 200):
        version = passed()
        passed()
        last = {"done": True, "done_reason": "epochs"} if step == 200 else {}
        play.kaggle.complete(version, step, **last)
    passed()
    passed()
    assert service.titles == ["bangla-tts: session 1 ended", "bangla-tts: the voice is done"]


def test_only_what_was_asked_for_is_told(
    after: Callable[..., Play], service: Listener, tmp_path: Path
) -> None:
    """Nothing is remembered of what nobody wants to hear."""
    play = after(100)
    told = Notifier([service.address], [EventKind.DONE], tmp_path / MEMORY_FILE).tell(
        [*events_of(play.sync())], play.clock.now()
    )
    assert (told.sent, service.heard, list(tmp_path.glob(".kgtts*"))) == (0, [], [])


def test_an_old_end_is_no_news_to_a_machine_without_memory(
    after: Callable[..., Play], service: Listener, tmp_path: Path
) -> None:
    """One of an hour ago is; where something is remembered, an end may be as old as it likes."""
    event = next(iter(events_of(after(100).sync())))
    happened = event.happened
    assert happened is not None
    notifier = Notifier([service.address], ALL, tmp_path / MEMORY_FILE)
    assert notifier.tell([event], happened + timedelta(days=3)).sent == 0
    assert notifier.tell([event], happened + timedelta(hours=1)).sent == 0
    (tmp_path / MEMORY_FILE).unlink()
    assert notifier.tell([event], happened + timedelta(hours=1)).sent == 1
    (tmp_path / MEMORY_FILE).write_text("[]")
    assert notifier.tell([event], happened + timedelta(days=3)).sent == 1


def test_a_service_that_is_down_is_tried_again(after: Callable[..., Play], tmp_path: Path) -> None:
    """The others are not told twice, and the pass only warns."""
    play, tries = after("It broke."), list[str]()

    def deliver(address: str, event: Event) -> Undelivered | None:
        tries.append(address)
        return Undelivered("tgram", "timed out") if address == "two" and len(tries) < 3 else None

    notifier = Notifier(["one", "two"], ALL, tmp_path / MEMORY_FILE, deliver)
    events = [*events_of(play.sync())]
    told = notifier.tell(events, play.clock.now())
    assert (told.sent, told.warnings) == (
        1,
        ['"bangla-tts: the run failed" could not be sent: tgram: timed out.'],
    )
    assert notifier.tell(events, play.clock.now()).sent == 1
    assert notifier.tell(events, play.clock.now()).sent == 0
    assert tries == ["one", "two", "two"]


def test_a_memory_that_cannot_be_written_is_a_warning(
    after: Callable[..., Play], service: Listener, tmp_path: Path
) -> None:
    """The message is sent all the same; a damaged file counts as none."""
    play = after("It broke.")
    (tmp_path / MEMORY_FILE).mkdir()
    told = Notifier([service.address], ALL, tmp_path / MEMORY_FILE).tell(
        [*events_of(play.sync())], play.clock.now()
    )
    assert told.sent == 1
    assert "may tell the same again" in told.warnings[0]


def test_apprise_brings_title_text_and_small_files(service: Listener, tmp_path: Path) -> None:
    """A file that is larger than services take is left out."""
    small, large = tmp_path / "sample.wav", tmp_path / "voice.zip"
    small.write_bytes(b"RIFF")
    large.write_bytes(b"0" * 8_000_001)
    event = Event(
        EventKind.DONE, "k", "bangla-tts: the voice is done", "It speaks.\nNext: kgtts say", [small, large]
    )
    assert send(service.address, event) is None
    (heard,) = service.heard
    assert (heard["title"], heard["type"]) == ("bangla-tts: the voice is done", "success")
    assert heard["message"].splitlines() == ["It speaks.", "Next: kgtts say"]
    assert [item["filename"] for item in heard["attachments"]] == ["sample.wav"]


@pytest.mark.parametrize("status", [403, 500])
def test_a_refusal_shows_no_secret(service: Listener, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in what is returned nor in what apprise logs."""
    (address,) = addresses_in([], f"  {service.address} ")
    service.status = status
    failure = send(address, Event(EventKind.DONE, "k", "title", "text"))
    assert failure is not None
    assert str(status) in str(failure)
    assert "a-secret-token" not in f"{failure} {caplog.text}"


def test_ordinary_words_of_an_address_stay_in_what_kgtts_prints() -> None:
    """The address itself is hidden, but not the slug or a host that it holds."""
    (address,) = addresses_in([], "ntfy://ntfy.sh/bangla-tts")
    assert (
        scrub(f"{address}: bangla-tts was pushed, see ntfy.sh") == "***: bangla-tts was pushed, see ntfy.sh"
    )


def test_an_address_that_is_none_is_named_by_its_kind_only() -> None:
    """What stands behind may be a secret."""
    failure = send("nonsense://a-secret-token", Event(EventKind.DONE, "k", "title", "text"))
    assert str(failure) == "nonsense: apprise does not understand the address"
