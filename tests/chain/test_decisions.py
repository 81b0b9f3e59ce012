"""What a run needs next follows from what Kaggle shows: a table, without clock, network or files."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.chain.decisions import Circumstances, Decision, RunState, decide
from orchestrator.chain.session import RunView, SessionView
from orchestrator.chain.state import SessionResult
from orchestrator.config import Settings, load_settings
from orchestrator.models import KernelRef, Quota, SessionState, SessionStatus, SessionSummary
from orchestrator.render import RunStamp
from tests.chain.kaggle import OWNER, hours

BASE = KernelRef(OWNER, "bangla-tts")
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
SATURDAY = datetime(2026, 11, 21, tzinfo=UTC)
Make = Callable[..., Settings]


@pytest.fixture
def settings(tmp_path: Path) -> Make:
    """The defaults with ten epochs, and with the test's changes."""

    def make(**changes: Any) -> Settings:
        changes = {"training__epochs": 10, **changes}
        overrides = tuple(f"{key.replace('__', '.')}={value}" for key, value in changes.items())
        return load_settings(None, overrides, environ={}, cwd=tmp_path).settings.with_owner(OWNER)

    return make


def session(number: int, state: SessionState, **fields: Any) -> SessionView:
    """A session as Kaggle shows it."""
    kernel = KernelRef(OWNER, f"bangla-tts-{'ba'[number % 2]}")
    stamp = RunStamp("run", number, None, "0" * 64, str(kernel), "0.1.0")
    return SessionView(kernel.at((number + 1) // 2), stamp, SessionStatus(state), **fields)


def result(number: int, *steps: int, **fields: Any) -> SessionResult:
    """What the session left, after sessions that reached `steps`."""
    line = SessionSummary(0, "asha/bangla-tts-a", 0, 0, 0, 0, "budget", 3600.0)
    pairs = zip((0, *steps), steps, strict=False)
    history = [
        replace(line, session=index, from_step=before, to_step=after, to_epoch=after // 100)
        for index, (before, after) in enumerate(pairs, 1)
    ]
    base = SessionResult(
        run="run",
        session=number,
        status="complete",
        reason="budget",
        message="",
        global_step=steps[-1],
        epoch=steps[-1] // 100,
        checkpoint="checkpoint.pth",
        sha256=None,
        done=False,
        done_reason=None,
        best_loss=None,
        seconds_per_epoch=600.0,
        seconds=3600.0,
        history=tuple(history),
        epochs=10,
        steps_per_epoch=100,
    )
    return replace(base, **fields)


def ended(*steps: int, **fields: Any) -> RunView:
    """A run whose newest session ended well, after sessions that reached `steps`."""
    newest = session(len(steps), SessionState.COMPLETE, result=result(len(steps), *steps, **fields))
    return RunView(BASE, newest, newest)


def then(view: RunView | None, *states: SessionState, **fields: Any) -> RunView:
    """The run after further sessions of which nothing was kept."""
    number = 0 if view is None else view.newest.stamp.session
    newest = session(number + len(states), states[-1], **fields)
    return RunView(BASE, newest, None if view is None else view.resumable)


def decided(
    settings: Settings, view: RunView | None, *, quota: Quota | None = None, retry: bool = False
) -> Decision:
    """The decision with a fresh week, or with `quota`."""
    return decide(settings, BASE, view, Circumstances(NOW, quota or hours(30)), retry=retry)


KILLED = SessionState.ERROR
CASES = {
    "nothing pushed": (None, RunState.NEW, "base voice|Nothing"),
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
    """Each row: what Kaggle shows, what the run is, and a word of why."""
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
    """The kernel says that it is done by the settings that it had."""
    assert decided(settings(**raised), ended(1000, done=True, done_reason=reason)).state is state


def test_the_next_session_goes_to_the_other_kernel(settings: Make) -> None:
    """With its number, its parent and the time it may take."""
    start = decided(settings(), then(ended(100), KILLED)).start
    assert start is not None
    assert (start.session, str(start.kernel)) == (3, "asha/bangla-tts-b")
    assert start.parent is not None
    assert str(start.parent.ref) == "asha/bangla-tts-a/1"


def test_max_sessions_ends_a_run(settings: Make) -> None:
    """Killed sessions count: they cost hours too."""
    limited = settings(run__max_sessions=2)
    assert decided(limited, ended(100)).state is RunState.READY
    assert decided(limited, then(ended(100), KILLED)).state is RunState.LIMITED
    assert decided(limited, then(ended(100), KILLED), retry=True).state is RunState.LIMITED


def test_max_gpu_hours_shortens_the_last_session_and_ends_the_run(settings: Make) -> None:
    """The first session keeps to them too."""
    limited = settings(run__max_gpu_hours=4, training__epochs=1000)
    first = decided(limited, None).start
    assert first is not None
    assert first.budget == timedelta(hours=4)
    third = decided(limited, ended(100, 200)).start
    assert third is not None
    assert third.budget == timedelta(hours=2)
    over = decided(limited, ended(100, 200, 300, 400))
    assert (over.state, over.reason) == (
        RunState.LIMITED,
        "The run took 4h of its 4 hours (run.max_gpu_hours).",
    )


@pytest.mark.parametrize(
    ("view", "took"),
    [
        (then(ended(100), KILLED, seconds=7200.0), "3h"),
        (then(ended(100), KILLED, seconds=1e9), "13h"),
        (then(ended(100), KILLED), "5h"),
        (then(ended(100), KILLED, KILLED, seconds=7200.0), "7h"),
        (then(ended(100), KILLED, result=result(2, 100, 150), seconds=7200.0), "3h"),
        (then(ended(100), KILLED, result=result(2, 100, 150), seconds=60.0), "2h"),
    ],
)
def test_killed_sessions_count_among_the_gpu_hours(settings: Make, view: RunView, took: str) -> None:
    """By the end of their log, by their own state where that is more, else by the time they were given."""
    limited = settings(run__max_gpu_hours=1, session__budget='"4h"', training__time_limit='"3h50m"')
    over = decided(limited, view, retry=True)
    assert over.state is RunState.LIMITED
    assert f"The run took {took} of its 1 hours" in over.reason


def test_a_session_asks_for_no_more_time_than_it_needs(settings: Make) -> None:
    """By the limit of its training, and by the pace where there is one; to the epochs or to the step."""
    limit = timedelta(hours=6, minutes=15)

    def budget(view: RunView | None, **changes: Any) -> timedelta:
        start = decided(settings(**changes), view).start
        assert start is not None
        return start.budget

    assert budget(None) == limit
    assert budget(None, session__budget='"11h"', training__time_limit='"10h50m"') == timedelta(hours=11)
    assert budget(ended(100), training__epochs=1000) == limit
    # Four epochs of ten minutes with a fifth more, and a quarter of an hour for all that is no epoch.
    assert budget(ended(600)) == timedelta(minutes=48 + 15)
    assert budget(ended(600), run__until_step=700) == timedelta(minutes=12 + 15)
    assert budget(ended(600, seconds_per_epoch=None)) == limit
    assert budget(ended(600, seconds_per_epoch=1e15)) == limit


def test_quota_that_is_short_is_waited_for(settings: Make) -> None:
    """Until it refreshes, which is said; a CPU needs none."""
    short = hours(2, refreshes_at=SATURDAY)
    decision = decided(settings(training__epochs=1000), ended(100), quota=short)
    assert (decision.state, decision.until, decision.start) == (RunState.WAITING, SATURDAY, None)
    assert "waiting until Saturday 00:00 UTC" in decision.reason
    on_cpu = settings(training__epochs=1000, kernel__accelerator='"none"')
    assert decided(on_cpu, ended(100), quota=short).state is RunState.READY
    unknown = decide(settings(), BASE, None, Circumstances(NOW, None))
    assert unknown.state is RunState.NEW


@pytest.mark.parametrize(("left", "minutes"), [(6.5, 375), (6.25, 370), (2, 115), (1.05, None), (0, None)])
def test_quota_that_is_short_may_shorten_the_session(
    settings: Make, left: float, minutes: int | None
) -> None:
    """To what is left but for a reserve; less than run.shortest_session is waited for."""
    shorten = settings(run__when_quota_is_short='"shorten"', training__epochs=1000)
    start = decided(shorten, ended(100), quota=hours(left)).start
    assert (None if start is None else start.budget) == (minutes and timedelta(minutes=minutes))


def test_a_session_is_never_too_short_to_save_in(settings: Make) -> None:
    """However short the settings allow it to be, the grace to save and some minutes fit in."""
    tiny = settings(run__when_quota_is_short='"shorten"', run__shortest_session='"1s"', training__epochs=1000)
    assert decided(tiny, ended(100), quota=hours(0.2)).start is None


def test_hours_that_running_sessions_reserve_are_not_left(settings: Make) -> None:
    """Used and reserved together make the week short."""
    reserved = Quota(timedelta(hours=13), timedelta(hours=12), timedelta(hours=30), SATURDAY)
    assert decided(settings(training__epochs=1000), ended(100), quota=reserved).state is RunState.WAITING


def test_a_week_that_can_hold_no_session_shortens_it(settings: Make) -> None:
    """Waiting for the refresh would be waiting for ever."""
    start = decided(settings(), None, quota=hours(3, allowed=3)).start
    assert start is not None
    assert start.budget == timedelta(hours=2, minutes=55)


def test_a_session_that_runs_past_every_limit_hangs(settings: Make) -> None:
    """No session may take more than twelve hours; an hour later somebody has to look at it."""
    at_work = then(None, SessionState.RUNNING, started=NOW - timedelta(hours=12, minutes=59))
    hung = then(None, SessionState.RUNNING, started=NOW - timedelta(hours=14))
    queued = then(None, SessionState.QUEUED, started=NOW - timedelta(hours=14))
    assert decided(settings(), at_work).state is RunState.RUNNING
    assert decided(settings(), queued).state is RunState.RUNNING
    decision = decided(settings(), hung)
    assert decision.state is RunState.ZOMBIE
    assert "14h that asha/bangla-tts-a/1 runs" in decision.reason
    assert decided(settings(), hung, retry=True).state is RunState.ZOMBIE


def test_retry_goes_on_with_what_failed_or_stalled(settings: Make) -> None:
    """And with nothing else: what is done is done, and what runs runs."""
    for view in (then(ended(100), KILLED, cause="No disk."), then(ended(100), KILLED, KILLED)):
        assert decided(settings(), view).state.is_over
        assert decided(settings(), view, retry=True).state is RunState.READY
    assert decided(settings(), ended(1000, done=True), retry=True).state is RunState.DONE
    assert decided(settings(), then(None, SessionState.RUNNING), retry=True).state is RunState.RUNNING


def test_what_no_mount_gives_is_said(settings: Make) -> None:
    """Where an older session can be mounted, the next goes on from that, and says so."""
    lost = KernelRef(OWNER, "bangla-tts-a", 2)
    view = replace(ended(100, 200), unreachable=lost, saved_session=3)
    decision = decided(settings(), view)
    assert decision.state is RunState.READY
    assert decision.reason.endswith("What asha/bangla-tts-a/2 saved cannot be mounted any more.")


@pytest.mark.parametrize("retry", [False, True])
def test_a_run_whose_checkpoints_are_out_of_reach_does_not_begin_again(
    settings: Make, *, retry: bool
) -> None:
    """Starting from the base voice would throw its epochs away without a word."""
    view = replace(then(None, KILLED), unreachable=KernelRef(OWNER, "bangla-tts-a", 2), saved_session=1)
    decision = decided(settings(), view, retry=retry)
    assert decision.state is RunState.FAILED
    assert "cannot go on from asha/bangla-tts-a/2" in decision.reason


def kept(session_step: int = 150, *, preparing: bool = False, mounted: bool = True) -> RunView:
    """A run whose second session was killed with outputs that nobody can mount."""
    before = ended(100)
    newest = session(2, KILLED, result=result(2, 100, session_step))
    view = RunView(BASE, newest, before.resumable if mounted else None, kept=newest, preparing=preparing)
    return view if mounted else replace(view, unreachable=before.newest.ref)


def test_what_a_killed_session_kept_is_handed_over_first(settings: Make) -> None:
    """The session after it continues from there, and is as long as what is left by then."""
    decision = decided(settings(), kept())
    start = decision.start
    assert start is not None
    assert decision.reason == (
        "Session 3 continues from step 150. "
        "No kernel mounts what session 2 saved, so it is handed over first."
    )
    assert (start.session, str(start.kernel), start.kept) == (3, "asha/bangla-tts-a", True)
    assert start.parent == kept().newest
    later = decided(settings(), kept(900)).start
    assert later is not None
    assert later.budget < start.budget


def test_what_is_on_its_way_is_waited_for(settings: Make) -> None:
    """For another look in a minute; quota comes first."""
    decision = decided(settings(), kept(preparing=True))
    assert (decision.state, decision.until) == (RunState.WAITING, NOW + timedelta(minutes=1))
    assert "up to step 150, is uploaded" in decision.reason
    assert "quota" in decided(settings(), kept(preparing=True), quota=hours(0)).reason


def test_what_was_kept_counts_as_saved_only_where_it_is_handed_over(settings: Make) -> None:
    """Else the run would go on for ever from the same step."""
    view = replace(kept(), newest=session(3, KILLED, result=result(3, 100, 100, 150)))
    view = replace(view, kept=view.newest)
    assert decided(settings(), view).state is RunState.READY
    assert decided(settings(run__rescue="false"), view).state is RunState.STALLED


def test_what_was_kept_is_better_than_nothing_to_mount(settings: Make) -> None:
    """A run that no mount can continue is not over while Kaggle still has the outputs."""
    assert decided(settings(), kept(mounted=False)).state is RunState.READY
    assert decided(settings(run__rescue="false"), kept(mounted=False)).state is RunState.FAILED


def test_a_failure_is_not_overruled_by_what_was_kept(settings: Make) -> None:
    """The kernel cannot work; when somebody has mended it, nothing is lost."""
    view = replace(kept(), newest=replace(kept().newest, cause="No disk."))
    assert decided(settings(), view).state is RunState.FAILED
    start = decided(settings(), view, retry=True).start
    assert start is not None
    assert start.kept
