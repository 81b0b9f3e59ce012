"""What of a pass a person who is elsewhere should learn. Pure: no network, no files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from orchestrator.formatting import counted
from orchestrator.metrics import Verdict
from orchestrator.run.decide import RunState
from orchestrator.run.look import Pass
from orchestrator.run.snapshot import value_of
from orchestrator.run.view import RunView
from orchestrator.run.watch import failure_of
from orchestrator.settings import SESSION_LIMIT
from orchestrator.untrusted import terminal_text


class EventKind(StrEnum):
    """What an event is about; `notify.events` chooses among them."""

    DONE = "done"  # The run is over as it was meant to be.
    FAILED = "failed"  # It failed, stalled or hangs.
    SESSION = "session"  # A session ended, and the run goes on.
    QUOTA = "quota"  # The next session waits for the week's quota.


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell.

    Attributes:
        kind: what it is about.
        key: tells it apart from all other events, of other runs as well.
        title: it in a few words.
        text: what happened, and the next command to type.
        files: what may go with it: a sample, a voice package.
        happened: when, as far as Kaggle says.
    """

    kind: EventKind
    key: str
    title: str
    text: str
    files: Sequence[Path] = ()
    happened: datetime | None = None


def events_of(done: Pass, verdict: Verdict | None = None, files: Sequence[Path] = ()) -> Iterator[Event]:
    """The events of a pass.

    Args:
        done: the pass.
        verdict: what its run's measurements say about the voice.
        files: what may go with the news that the run is done.
    """
    view = done.view
    if view is None:
        return
    slug, number, ended = view.base.slug, view.newest.stamp.session, _ended_at(view)
    key = f"{view.base} {view.run_id} {number}"
    if (failure := failure_of(done)) is not None:
        text = _lines(failure.message, failure.hint and f"Next: {failure.hint}")
        yield Event(
            EventKind.FAILED, f"{key} {done.state}", f"{slug}: {_FAILED[done.state]}", text, (), ended
        )
    elif done.state in (RunState.DONE, RunState.LIMITED):
        heard = (verdict.headline, verdict.what_to_do) if verdict is not None else ()
        text = _lines(
            done.decision.reason, *heard, f"Next: kgtts pull {slug}, then kgtts report or kgtts say"
        )
        yield Event(EventKind.DONE, f"{key} {done.state}", f"{slug}: {_DONE[done.state]}", text, files, ended)
    elif not view.is_alive and (done.pushed is not None or done.state is RunState.WAITING):
        start = done.decision.start if done.pushed is not None else None
        goes_on = None if start is None else f"Session {start.session} has begun."
        text = _lines(_how_it_ended(view), goes_on, None if verdict is None else verdict.headline)
        yield Event(EventKind.SESSION, f"{key} ended", f"{slug}: session {number} ended", text, (), ended)
    week = value_of(done.quota)
    if done.state is RunState.WAITING and week is not None and done.decision.until == week.refreshes_at:
        until = week.refreshes_at
        title = f"{slug} waits for quota" + (f" until {until:%A %H:%M} UTC" if until is not None else "")
        text = _lines(done.decision.reason)
        yield Event(EventKind.QUOTA, f"{key} quota {until.date()}" if until else f"{key} quota", title, text)


_FAILED = {
    RunState.FAILED: "the run failed",
    RunState.STALLED: "the run stalled",
    RunState.ZOMBIE: "a session hangs",
}
_DONE = {RunState.DONE: "the voice is done", RunState.LIMITED: "the run has used all hours that it may"}


def _how_it_ended(view: RunView) -> str:
    newest = view.newest
    reason = newest.reason or newest.status.state.value
    steps = counted(view.step_to_continue_from, "step")
    return f"Session {newest.stamp.session} ended ({reason}); {steps} are kept."


def _ended_at(view: RunView) -> datetime | None:
    newest = view.newest
    told = {item.session: item.seconds for item in view.history}
    seconds = told.get(newest.stamp.session, newest.seconds)
    if newest.started is None or seconds is None:
        return None
    return newest.started + min(timedelta(seconds=seconds), SESSION_LIMIT)


def _lines(*lines: str | None) -> str:
    """The lines that say something; a server's words in them are shown as they are."""
    return "\n".join(terminal_text(line) for line in lines if line)
