"""A pass does what is due once, whoever else makes one and however the last one ended."""

import ast
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import WITHOUT_HOOKS
from orchestrator.download import TransferListener
from orchestrator.errors import NotFoundError, RefusedError, ServiceError, UsageError
from orchestrator.models import KernelRef
from orchestrator.render.stamp import read_stamp
from orchestrator.results import Results
from orchestrator.run.decide import RunState
from orchestrator.run.ledger import PushOutcome
from orchestrator.run.look import Pass
from orchestrator.run.passes import Collecting
from tests.download.storage import serve
from tests.fakes.inputs import Upload
from tests.fakes.sessions import LOST, Lost, hours, said
from tests.run.conftest import Play

After = Callable[..., Play]


def stamp_of(play: Play, text: str) -> tuple[str, int, str | None]:
    """Return run, session and parent of a version."""
    stamp = read_stamp(play.kaggle.version(text).source)
    assert stamp is not None
    return stamp.id, stamp.session, stamp.parent


def test_passes_alone_bring_a_run_to_its_end(play: Play) -> None:
    """Every pass is on a fresh machine: one session follows the other, and then nothing."""
    play.changes["training.epochs"] = 3
    for number, step in enumerate((100, 200, 300), 1):
        done = play.sync()
        assert done.state is RunState.RUNNING
        assert [play.sync().pushed for _ in range(3)] == [None, None, None]
        assert len(play.kaggle.pushes) == number
        assert done.pushed is not None
        last = {"done": True, "done_reason": "epochs"} if step == 300 else {}
        play.kaggle.complete(str(done.pushed.target.ref), step, **last)
    ended = [play.sync() for _ in range(3)]
    assert {(item.state, item.pushed) for item in ended} == {(RunState.DONE, None)}
    assert len({stamp_of(play, f"asha/bangla-tts-{end}")[0] for end in ("a/1", "b/1", "a/2")}) == 1


def test_a_session_is_told_what_it_continues_from(after: After) -> None:
    """It knows exactly enough to refuse another or an older mount."""
    play = after(100)
    play.pushed()
    source = play.kaggle.version("asha/bangla-tts-b/1").source
    run = stamp_of(play, "asha/bangla-tts-a/1")[0]
    for line in (
        "'kernel': 'asha/bangla-tts-a'",
        "'version': 1",
        f"'run': '{run}'",
        "'global_step': 100",
        f"'sha256': '{100:064x}'",
    ):
        assert line in source.replace('"', "'")


def test_two_passes_at_once_on_one_machine_push_once(play: Play) -> None:
    """One waits for the other, and sees what it did."""
    play.machine = "laptop"
    play.ledger().__exit__()
    start, done = threading.Barrier(2), list[Pass]()

    def make_pass() -> None:
        start.wait()
        done.append(play.sync(home=play.folder))

    threads = [threading.Thread(target=make_pass) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.state for item in done] == [RunState.RUNNING, RunState.RUNNING]
    assert sorted(item.pushed is None for item in done) == [False, True]
    assert len(play.kaggle.pushes) == 1


@pytest.mark.parametrize(
    ("sessions", "call"), [(0, "quota"), (1, "quota"), (1, "output_file"), (2, "output_file")]
)
def test_a_push_from_elsewhere_since_we_looked_is_seen(after: After, sessions: int, call: str) -> None:
    """On another machine no lock helps: the kernel is looked at again just before the push.

    The other one pushes while the quota is read, which comes first, or while the newest session's state is
    read: after one session the sibling was not there until then, after two it has a version more.
    """
    play = after(*[100] * sessions)
    other = Play(play.folder, clock=play.clock, machine="elsewhere")
    other.kaggle = play.kaggle

    play.kaggle.next(call, other.pushed)
    done = play.sync()
    assert (done.state, done.pushed) == (RunState.RUNNING, None)
    assert len(play.kaggle.pushes) == sessions + 1


def test_a_lost_push_that_arrived_is_found(after: After) -> None:
    """The session exists although the answer was lost."""
    play = after(100)
    play.kaggle.next("push", Lost(LOST))
    assert play.pushed() == "asha/bangla-tts-b/1"
    assert play.sync().pushed is None


@pytest.mark.parametrize("machine", [None, "laptop"])
def test_a_lost_push_that_did_not_arrive_is_made_by_the_next_pass(after: After, machine: str | None) -> None:
    """The same session is pushed again, also from the machine with the first try."""
    play = after(100)
    play.machine = machine
    play.kaggle.next("push", LOST)
    with pytest.raises(ServiceError, match="did not arrive"):
        play.sync()
    assert play.pushed() == "asha/bangla-tts-b/1"
    assert stamp_of(play, "asha/bangla-tts-b/1")[1] == 2


def test_a_push_without_an_answer_is_remembered_when_it_is_seen(play: Play) -> None:
    """After the next pass the ledger of that machine knows its version and state."""
    play.machine = "laptop"
    version = play.pushed()
    with play.ledger() as ledger:
        ledger._db.execute("UPDATE sessions SET outcome = 'intended', version = NULL")
    play.kaggle.kill(version)
    play.sync()
    with play.ledger() as ledger:
        first = ledger.all()[-1]
    assert (str(first.ref), first.outcome, first.state) == (version, PushOutcome.PUSHED, "error")


@pytest.mark.parametrize(
    "words",
    [
        "Maximum batch GPU session count of 2 reached.",
        "Maximum weekly GPU quota of 30.00 hours reached",
    ],
)
@pytest.mark.parametrize("sessions", [0, 1])
def test_a_refusal_for_now_is_waited_for(after: After, sessions: int, words: str) -> None:
    """The next pass pushes the same session, also from the machine that recorded the refusal."""
    play = after(*[100] * sessions)
    play.machine = "laptop"
    play.kaggle.next("push", *[RefusedError(f"Kaggle refused: {words}")] * 2)
    for _ in range(2):
        done = play.sync()
        assert (done.state, done.pushed) == (RunState.WAITING, None)
        assert words in done.decision.reason
    play.pushed()
    assert len(play.kaggle.pushes) == sessions + 1


def test_any_other_refusal_is_an_error(play: Play) -> None:
    """Waiting does not help, whatever the dataset's name is."""
    play.kaggle.next("push", Lost(RefusedError("Kaggle does not know: dataset asha/quota.")))
    with pytest.raises(RefusedError, match="asha/quota"):
        play.sync()


def test_short_quota_is_read_before_anything_is_pushed(play: Play) -> None:
    """The pass waits, and makes no push that Kaggle would refuse."""
    play.kaggle.week = hours(1)
    assert play.sync().state is RunState.WAITING
    assert not play.kaggle.kernels


def test_a_run_without_a_gpu_asks_for_no_quota(play: Play) -> None:
    """A CPU session needs no quota."""
    play.changes["kernel.accelerator"], play.kaggle.week = '"none"', hours(0)
    play.pushed()
    assert "quota" not in play.kaggle.asked


def test_a_push_with_another_release_of_coqui_says_what_it_lacks(play: Play) -> None:
    """The session could only say so after a GPU was spent on it."""
    play.changes["install.packages"] = '["TTS==0.22.0"]'
    (warning,) = play.sync().warnings
    assert "TTS==0.22.0" in warning
    assert WITHOUT_HOOKS in warning


def test_other_settings_are_another_run(after: After) -> None:
    """A run that has saved is not continued with them; target and time limits may change."""
    play = after(100)
    play.changes["training.batch_size"] = 8
    for retry in (False, True):
        with pytest.raises(UsageError, match="have changed") as caught:
            play.sync(retry=retry)
        assert "--new" in (caught.value.hint or "")
    play.changes = {"training.epochs": 2000, "training.time_limit": '"1h"'}
    play.pushed()


def test_settings_of_a_running_session_may_be_edited(after: After) -> None:
    """Nothing is due yet, so nothing is wrong."""
    play = after(100)
    play.pushed()
    play.changes["training.batch_size"] = 8
    assert play.sync().state is RunState.RUNNING


def test_a_failed_run_is_left_alone_until_somebody_asks(after: After) -> None:
    """Then the same run continues from the same step."""
    play = after(100, "The disk is full.")
    for _ in range(2):
        done = play.sync()
        assert (done.state, done.pushed) == (RunState.FAILED, None)
    run = stamp_of(play, "asha/bangla-tts-a/1")[0]
    assert stamp_of(play, play.pushed(retry=True)) == (run, 3, "asha/bangla-tts-a/1")


def test_retry_begins_another_run_where_nothing_was_saved_and_the_settings_changed(after: After) -> None:
    """Nobody wants to continue the first try of a wrong setting."""
    play = after("There is no such dataset.")
    first = stamp_of(play, "asha/bangla-tts-a/1")[0]
    play.changes["inputs.dataset"] = '"another"'
    play.kaggle.datasets["asha/another"] = [Upload({})]
    with_the_old = play.look(retry=True)
    assert with_the_old.state is RunState.READY
    version = play.pushed(retry=True)
    run, session, parent = stamp_of(play, version)
    assert (version, session, parent) == ("asha/bangla-tts-a/2", 1, None)
    assert run != first
    assert play.sync().pushed is None


def test_retry_of_the_same_settings_goes_on_counting(after: After) -> None:
    """With unchanged settings it is the same run, from the base voice."""
    play = after("There is no such dataset.")
    first = stamp_of(play, "asha/bangla-tts-a/1")[0]
    assert stamp_of(play, play.pushed(retry=True)) == (first, 2, None)


@pytest.mark.parametrize("steps", [(100,), (100, 200), (100, 200, 300)])
def test_another_run_begins_where_the_present_one_is_not_alive(after: After, steps: tuple[int, ...]) -> None:
    """It has a new id and no parent, and every later pass sees it, even before it starts."""
    play = after(*steps)
    view = play.look().view
    assert view is not None
    play.kaggle.complete(str(view.newest.ref), steps[-1], done=True)
    assert play.sync().state is RunState.DONE
    done = play.sync(new=True)
    assert done.pushed is not None
    version = str(done.pushed.target.ref)
    run, session, parent = stamp_of(play, version)
    assert (session, parent, done.view) == (1, None, None)
    # Until the session has started, Kaggle may tell when the kernel ran before.
    before = play.kaggle.version(str(view.newest.ref))
    play.kaggle.version(version).pushed_at = before.pushed_at
    again = play.sync()
    assert (again.state, again.pushed) == (RunState.RUNNING, None)
    assert again.view is not None
    assert again.view.run_id == run
    play.kaggle.complete(version, 50)
    following = play.pushed()
    assert stamp_of(play, following) == (run, 2, version)
    assert KernelRef.parse(following).kernel != KernelRef.parse(version).kernel


def test_another_run_is_refused_while_a_session_is_alive(after: After) -> None:
    """Two runs on the same kernels would continue from each other's output."""
    play = after(100)
    play.pushed()
    with pytest.raises(UsageError, match="not over") as caught:
        play.sync(new=True)
    assert "kgtts stop asha/bangla-tts-b" in (caught.value.hint or "")
    assert len(play.kaggle.pushes) == 2


def test_another_run_waits_for_quota_too(after: After) -> None:
    """It needs quota like any other session."""
    play = after(100)
    play.kaggle.week = hours(0.5)
    assert play.sync(new=True).state is RunState.WAITING


def test_results_are_collected_once(after: After, tmp_path: Path) -> None:
    """Each session has its own folder, and another run's do not mix with the first's."""
    play = after(100)
    with serve() as storage:
        play.kaggle.storage = storage
        collecting = Collecting(Results(tmp_path / "runs"), lambda names: names, TransferListener())
        first = play.sync(collecting=collecting)
        assert first.collected is not None
        assert first.collected.folder == tmp_path / "runs" / "bangla-tts" / "session-01"
        assert play.sync(collecting=collecting).collected is None
        play.kaggle.complete("asha/bangla-tts-b/1", 200)
        second = play.sync(collecting=collecting)
        assert second.collected is not None
        assert second.collected.folder.name == "session-02"
        play.kaggle.kill("asha/bangla-tts-a/2")
        other = play.pushed(new=True)
        play.kaggle.complete(other, 10)
        third = play.sync(collecting=collecting)
        assert third.collected is not None
        own = stamp_of(play, other)[0]
        assert third.collected.folder == tmp_path / "runs" / "bangla-tts" / own / "session-01"
        assert play.sync(collecting=collecting).collected is None


def test_a_push_is_reported_also_if_collecting_fails(after: After, tmp_path: Path) -> None:
    """With a sentence; the results are brought by the next pass, beside those of the next session."""
    play = after(100)
    with serve() as storage:
        play.kaggle.storage = storage
        collecting = Collecting(Results(tmp_path / "runs"), lambda names: names, TransferListener())
        play.kaggle.next("outputs", ServiceError("Kaggle failed (500)."))
        done = play.sync(collecting=collecting)
        assert done.pushed is not None
        assert done.collected is None
        assert "could not be downloaded yet: Kaggle failed (500)." in done.warnings[-1]
        play.kaggle.complete("asha/bangla-tts-b/1", 400, done=True, done_reason="epochs")
        play.changes["training.epochs"] = 4
        assert play.sync(collecting=collecting).state is RunState.DONE
    for number in (1, 2):
        folder = tmp_path / f"runs/bangla-tts/session-{number:02}"
        assert (folder / "state.json").is_file()
    assert not list((tmp_path / "runs").rglob(".kgtts-owed-*"))


def test_results_beside_a_running_session_are_looked_for_twice(after: After, tmp_path: Path) -> None:
    """Two wrong answers agree that its parent has saved nothing, and no later pass would ask again."""
    play = after(100)
    play.pushed()
    with serve() as storage:
        play.kaggle.storage = storage
        play.kaggle.next("output_file", NotFoundError("404"))
        play.kaggle.next("outputs", NotFoundError("404"))
        collecting = Collecting(Results(tmp_path / "runs"), lambda names: names, TransferListener())
        assert play.sync(collecting=collecting).collected is not None


def test_results_are_collected_before_a_foreign_version_stops_a_pass(after: After, tmp_path: Path) -> None:
    """What our sessions left is brought, then the version that is not ours is named."""
    play = after(100, 200)
    play.kaggle.save("asha/bangla-tts-a")
    with serve() as storage:
        play.kaggle.storage = storage
        collecting = Collecting(Results(tmp_path / "runs"), lambda names: names, TransferListener())
        for _ in range(2):
            with pytest.raises(UsageError, match="asha/bangla-tts-a/2, the newest version there"):
                play.sync(collecting=collecting)
            assert [path.name for path in (tmp_path / "runs/bangla-tts").iterdir()] == ["session-02"]
    assert (tmp_path / "runs/bangla-tts/session-02/state.json").is_file()


def test_a_session_is_told_of_those_that_its_parent_does_not_know(after: After) -> None:
    """A killed session without a state counts by its log, a failed one by its own state."""
    play = after(100)
    version = play.pushed()
    play.kaggle.kill(version)
    play.kaggle.version(version).log = said(*["a line"] * 1801)
    third = play.pushed()
    source = play.kaggle.version(third).source
    assert '"session": 2' in (told := untold(source))
    assert '"reason": "killed", "seconds": 1800.0' in told
    play.kaggle.fail(third, "The disk is full.")
    fourth = untold(play.kaggle.version(play.pushed(retry=True)).source)
    assert ('"session": 3' in fourth, '"session": 1' in fourth) == (True, False)


def test_a_session_that_is_shortened_stops_its_training_earlier_too(after: After) -> None:
    """With two hours left in the week the session ends in them, and asks for no more."""
    play = after(100)
    play.changes = {"training.epochs": 1000, "run.when_quota_is_short": '"shorten"'}
    play.kaggle.week = hours(2)
    push = play.kaggle.version(play.pushed()).push
    assert push is not None
    told = settings_in(push.source)
    assert told["session_budget_s"] == push.session_timeout_s == 115 * 60
    assert told["training"]["time_limit_s"] == 115 * 60 - told["training"]["grace_s"]


def test_the_ledger_learns_what_sessions_did(after: After) -> None:
    """It includes sessions from other machines: `kgtts list` shows their steps without asking Kaggle."""
    play = after(100, 200)
    play.machine = "laptop"
    done = play.sync()
    assert done.view is not None
    with play.ledger() as ledger:
        record = ledger.of_run(done.view.run_id)[0]
        summaries = [ledger.summary(replace(record, number=number)) for number in (1, 2)]
    assert [(item.from_step, item.to_step) for item in summaries if item] == [(0, 100), (100, 200)]


def settings_in(source: str) -> dict[str, Any]:
    """Return the settings that a kernel's source has."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SETTINGS":
            found: dict[str, Any] = ast.literal_eval(node.value)
            return found
    raise AssertionError(source)


def untold(source: str) -> str:
    """Return what a kernel is told about sessions before it, as JSON."""
    return json.dumps(settings_in(source)["before"])
