"""The decision about a run follows from what Kaggle shows: a table, without clock, network or files."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.models import KernelRef, SessionState, SessionStatus
from orchestrator.run.decide import RunState
from orchestrator.run.view import RunView
from tests.fakes.kaggle import OWNER
from tests.fakes.sessions import hours
from tests.run.deciding import BASE, KILLED, NOW, Make, decided, ended, result, session, then

CASES = {
    "nothing pushed": (None, RunState.NEW, "Session 1 begins"),
    "queued": (then(None, SessionState.QUEUED), RunState.RUNNING, "Session 1 is queued"),
    "running": (then(ended(100), SessionState.RUNNING), RunState.RUNNING, "Session 2 is running"),
    "being stopped": (then(None, SessionState.CANCEL_REQUESTED), RunState.RUNNING, "being stopped"),
    "never started": (then(None, SessionState.NEW_SCRIPT), RunState.RUNNING, "has not started it"),
    "ended": (ended(100), RunState.READY, "Session 2 continues from step 100"),
    "done": (ended(500, 1000, done=True, done_reason="epochs"), RunState.DONE, "all epochs"),
    "done, says no why": (ended(500, done=True), RunState.DONE, "step 500"),
    "done without hooks": (ended(7, done=True, done_reason="epochs"), RunState.DONE, "all epochs"),
    "failed with a cause": (then(ended(100), KILLED, cause="No disk."), RunState.FAILED, "No disk"),
    "failed when cancelled": (
        then(None, SessionState.CANCEL_ACKNOWLEDGED, cause="No disk."),
        RunState.FAILED,
        "Session 1 failed",
    ),
    "killed once": (then(ended(100), KILLED), RunState.READY, "Session 3 continues from step 100"),
    "killed first": (then(None, KILLED), RunState.READY, "Session 2 starts again"),
    "killed twice": (then(ended(100), KILLED, KILLED), RunState.STALLED, "2 sessions in a row"),
    "killed first twice": (then(None, KILLED, KILLED), RunState.STALLED, "2 sessions in a row"),
    "idle once": (ended(100, 100), RunState.READY, "continues from step 100"),
    "idle twice": (ended(100, 100, 100), RunState.STALLED, "2 sessions in a row"),
    "idle, then killed": (then(ended(100, 100), KILLED), RunState.STALLED, "the last: error"),
    "advanced after a kill": (ended(100, 100, 200), RunState.READY, "Session 4 continues from step 200"),
}


@pytest.mark.parametrize(("view", "state", "words"), CASES.values(), ids=CASES)
def test_the_table(settings: Make, view: RunView | None, state: RunState, words: str) -> None:
    """Each row has what Kaggle shows, the state of the run, and a word of the reason."""
    decision = decided(settings(), view)
    assert decision.state is state
    assert any(word in decision.reason for word in words.split("|"))
    assert (decision.start is not None) == (state in (RunState.NEW, RunState.READY))
    assert not (decision.start is not None and state.is_over)


@pytest.mark.parametrize(
    ("reason", "raised", "state"),
    [
        ("epochs", {}, RunState.DONE),
        ("epochs", {"training__epochs": 11}, RunState.READY),
        ("epochs", {"training__epochs": 5}, RunState.DONE),
        ("until_step", {"run__until_step": 1000}, RunState.DONE),
        ("until_step", {"run__until_step": 1001}, RunState.READY),
        ("until_step", {}, RunState.READY),
        ("no_improvement", {"run__patience": 3}, RunState.DONE),
        ("no_improvement", {}, RunState.READY),
    ],
)
def test_a_target_that_is_raised_after_the_end_is_gone_for(
    settings: Make, reason: str, raised: dict[str, Any], state: RunState
) -> None:
    """The kernel says that it is done, but by its old target."""
    assert decided(settings(**raised), ended(1000, done=True, done_reason=reason)).state is state


def test_a_session_that_was_killed_after_its_target_is_not_the_end(settings: Make) -> None:
    """It says that it is done, but nothing of it can be mounted, so the voice is missing."""
    finished = result(2, 500, 1000, done=True, done_reason="epochs")
    view = then(ended(500), KILLED, result=finished)
    assert decided(settings(), view).state is RunState.READY
    assert (
        decided(
            settings(),
            replace(view, newest=replace(view.newest, status=SessionStatus(SessionState.COMPLETE))),
        ).state
        is RunState.DONE
    )


def test_the_next_session_goes_to_the_other_kernel(settings: Make) -> None:
    """It has the next number, its parent and its time."""
    start = decided(settings(), then(ended(100), KILLED)).start
    assert start is not None
    assert (start.session, str(start.kernel)) == (3, "asha/bangla-tts-b")
    assert start.parent is not None
    assert str(start.parent.ref) == "asha/bangla-tts-a/1"


def test_a_session_that_runs_past_every_limit_hangs(settings: Make) -> None:
    """No session may take more than twelve hours; an hour later a person has to look."""
    at_work = then(None, SessionState.RUNNING, started=NOW - timedelta(hours=12, minutes=59))
    hung = then(None, SessionState.RUNNING, started=NOW - timedelta(hours=14))
    queued = then(None, SessionState.QUEUED, started=NOW - timedelta(hours=14))
    assert decided(settings(), at_work).state is RunState.RUNNING
    assert decided(settings(), queued).state is RunState.RUNNING
    decision = decided(settings(), hung)
    assert decision.state is RunState.ZOMBIE
    assert "14h that asha/bangla-tts-a/1 runs" in decision.reason
    assert decided(settings(), hung, retry=True).state is RunState.ZOMBIE


@pytest.mark.parametrize(
    ("state", "hours", "words"),
    [
        (SessionState.QUEUED, 24, "is queued"),
        (SessionState.NEW_SCRIPT, 24, "has not started it"),
        (SessionState.CANCEL_REQUESTED, 14, "is being stopped"),
    ],
)
def test_no_state_before_the_end_lasts_for_ever(
    settings: Make, state: SessionState, hours: int, words: str
) -> None:
    """Queueing, waiting for a start and saving have their longest times, too."""
    young = then(None, state, started=NOW - timedelta(hours=hours))
    assert decided(settings(), young).state is RunState.RUNNING
    old = then(None, state, started=NOW - timedelta(hours=hours, minutes=1))
    decision = decided(settings(), old)
    assert decision.state is RunState.ZOMBIE
    assert words in decision.reason


def test_words_of_a_killed_session_are_shown_without_escapes(settings: Make) -> None:
    """They come from Kaggle, into the sentence about a run that has stalled."""
    view = then(None, KILLED, KILLED)
    status = SessionStatus(KILLED, "\x1b[2J\x1b]0;owned\x07bad\n##[error] luck\u202e")
    view = replace(view, newest=replace(view.newest, status=status))
    decision = decided(settings(), view)
    assert decision.state is RunState.STALLED
    assert "(the last: bad ##[error] luck)" in decision.reason


def test_retry_goes_on_with_what_failed_or_stalled(settings: Make) -> None:
    """Retrying continues only failed and stalled runs."""
    for view in (then(ended(100), KILLED, cause="No disk."), then(ended(100), KILLED, KILLED)):
        assert decided(settings(), view).state.is_over
        assert decided(settings(), view, retry=True).state is RunState.READY
    assert decided(settings(), ended(1000, done=True), retry=True).state is RunState.DONE
    assert decided(settings(), then(None, SessionState.RUNNING), retry=True).state is RunState.RUNNING


def test_what_no_mount_gives_is_said(settings: Make) -> None:
    """If an older session can be mounted, the next continues from that, and says so."""
    lost = KernelRef(OWNER, "bangla-tts-a", 2)
    view = replace(ended(100, 200), unreachable=lost, saved_session=3)
    decision = decided(settings(), view)
    assert decision.state is RunState.READY
    assert decision.reason.endswith("What asha/bangla-tts-a/2 saved can no longer be mounted.")


@pytest.mark.parametrize("retry", [False, True])
def test_a_run_whose_checkpoints_are_out_of_reach_does_not_begin_again(
    settings: Make, *, retry: bool
) -> None:
    """Starting from the base voice would silently discard its epochs."""
    view = replace(then(None, KILLED), unreachable=KernelRef(OWNER, "bangla-tts-a", 2), saved_session=1)
    decision = decided(settings(), view, retry=retry)
    assert decision.state is RunState.FAILED
    assert "cannot continue from asha/bangla-tts-a/2" in decision.reason


def kept(session_step: int = 150, *, preparing: bool = False, mounted: bool = True) -> RunView:
    """Return a run whose second session was killed with outputs that cannot be mounted."""
    before = ended(100)
    newest = session(2, KILLED, result=result(2, 100, session_step))
    view = RunView(BASE, newest, before.resumable if mounted else None, stranded=newest, preparing=preparing)
    return view if mounted else replace(view, unreachable=before.newest.ref)


DOWNLOADS, UPLOADS = "the session downloads it", "it is handed over as a dataset first"


@pytest.mark.parametrize(
    ("changes", "way"),
    [({}, DOWNLOADS), ({"kernel__internet": "false"}, UPLOADS), ({"kernel__private": "false"}, UPLOADS)],
)
def test_what_a_killed_session_kept_is_handed_over(settings: Make, changes: dict[str, str], way: str) -> None:
    """The next session continues from there, and is as long as what is left by then."""
    decision = decided(settings(**changes), kept())
    start = decision.start
    assert start is not None
    assert decision.reason == (
        f"Session 3 continues from step 150. No kernel can mount what session 2 saved, so {way}."
    )
    assert (start.session, str(start.kernel), start.needs_handover) == (3, "asha/bangla-tts-a", True)
    assert start.parent == kept().newest
    later = decided(settings(), kept(900)).start
    assert later is not None
    assert later.budget < start.budget


def test_what_is_on_its_way_is_waited_for(settings: Make) -> None:
    """An upload is looked at again in a minute, after the quota; a session that downloads need not wait."""
    offline = settings(kernel__internet="false")
    decision = decided(offline, kept(preparing=True))
    assert (decision.state, decision.until) == (RunState.WAITING, NOW + timedelta(minutes=1))
    assert "up to step 150, is uploaded" in decision.reason
    assert "quota" in decided(offline, kept(preparing=True), quota=hours(0)).reason
    assert decided(settings(), kept(preparing=True)).state is RunState.READY


def test_what_was_kept_counts_as_saved_only_where_it_is_handed_over(settings: Make) -> None:
    """Otherwise the run would continue from the same step for ever."""
    view = replace(kept(), newest=session(3, KILLED, result=result(3, 100, 100, 150)))
    view = replace(view, stranded=view.newest)
    assert decided(settings(), view).state is RunState.READY
    assert decided(settings(run__rescue="false"), view).state is RunState.STALLED


def test_what_was_kept_is_better_than_nothing_to_mount(settings: Make) -> None:
    """A run without a mount continues if Kaggle still has the outputs."""
    assert decided(settings(), kept(mounted=False)).state is RunState.READY
    assert decided(settings(run__rescue="false"), kept(mounted=False)).state is RunState.FAILED


def test_a_failure_is_not_overruled_by_what_was_kept(settings: Make) -> None:
    """The kernel cannot work; when a person has fixed it, nothing is lost."""
    view = replace(kept(), newest=replace(kept().newest, cause="No disk."))
    assert decided(settings(), view).state is RunState.FAILED
    start = decided(settings(), view, retry=True).start
    assert start is not None
    assert start.needs_handover
