"""A run that is continued outside Kaggle and goes on there: one series, one history, and no step twice."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from orchestrator.download import TransferListener
from orchestrator.errors import LocalError, RunFailedError, ServiceError, UsageError
from orchestrator.locks import TRAINING_LOCK
from orchestrator.models import KernelRef, SessionState
from orchestrator.render.stamp import read_stamp
from orchestrator.results import Results, SessionFolder
from orchestrator.run.collect import FolderTakenError, collect
from orchestrator.run.context import Target
from orchestrator.run.decide import RunState
from orchestrator.run.look import Pass
from orchestrator.run.outlook import outlook_of
from orchestrator.run.passes import Collecting
from orchestrator.run.status import report_session
from orchestrator.run.target import find_target
from orchestrator.run.watch import Passes, SessionEnd, failure_of, watch, why_not_pushed
from tests.download.storage import serve
from tests.fakes.inputs import Upload
from tests.run.conftest import Play
from tests.run.test_watch import Spectator, ended
from tests.run.trained_here import FOLDER, train_here

After = Callable[..., Play]
FIRST = "asha/bangla-tts-a/1"
DATASET = "asha/bangla-tts-kept"


@pytest.fixture
def here(after: After, tmp_path: Path) -> Play:
    """A run whose first session on Kaggle ended at step 100, on a machine with its results in `runs`."""
    play = after(100)
    play.changes["pull.to"] = json.dumps(str(tmp_path / "runs"))
    return play


def locked(run: Path) -> FileLock:
    """Return the lock that a session holds which trains in a run's folder."""
    place = run / TRAINING_LOCK
    place.parent.mkdir(parents=True)
    return FileLock(place)


def elsewhere(play: Play) -> Play:
    """Return another machine, which has no results."""
    other = Play(play.folder, clock=play.clock)
    other.kaggle, other.changes = play.kaggle, {"pull.to": json.dumps(str(play.folder / "none"))}
    return other


def asked_elsewhere(play: Play) -> list[str]:
    """Return the calls that asked Kaggle for a session that it does not have."""
    return [call for call in play.kaggle.asked if "local/" in call or "skypilot/" in call]


def test_the_next_session_continues_from_the_one_here(here: Play) -> None:
    """It mounts the dataset with this machine's checkpoint, and its number and step are the next."""
    train_here(here, 250, FIRST)
    seen = here.look()
    assert seen.view is not None
    assert (str(seen.view.newest.ref), seen.view.step_to_continue_from) == ("local/bangla-tts/2", 250)
    assert "What session 2 saved on this machine is handed over as a dataset first" in seen.decision.reason
    version = here.kaggle.version(here.pushed())
    assert version.push is not None
    assert (version.push.dataset_sources[1:], version.push.kernel_sources) == ((DATASET,), ())
    stamp = read_stamp(version.source)
    assert stamp is not None
    assert (stamp.session, stamp.parent, stamp.kernel) == (3, "local/bangla-tts/2", "asha/bangla-tts-b")
    held = here.kaggle.mounted(DATASET)
    assert held["checkpoint_250.pth"] == b"weights 250 here"
    assert {"state.json", "config.json", "metrics.jsonl", "train_log.txt"} < set(held)
    assert asked_elsewhere(here) == []


def test_one_history(here: Play) -> None:
    """The last session's history has all three, and every later look at the run on any machine."""
    train_here(here, 250, FIRST)
    here.kaggle.complete(here.pushed(), 400)
    for machine in (here, elsewhere(here)):
        view = machine.look().view
        assert view is not None
        assert [(item.session, item.place, item.from_step, item.to_step) for item in view.history] == [
            (1, "asha/bangla-tts-a", 0, 100),
            (2, "this machine", 100, 250),
            (3, "asha/bangla-tts-b", 250, 400),
        ]
        assert view.notes == ()
    assert read_stamp(here.kaggle.version(here.pushed()).source).session == 4  # type: ignore[union-attr]


@pytest.mark.parametrize("kept", [True, False])
def test_another_machine_knows_it_by_the_dataset(here: Play, *, kept: bool) -> None:
    """After a session that was killed or saved nothing, the next continues from the dataset as well."""
    train_here(here, 250, FIRST)
    third = here.pushed()
    if kept:
        here.kaggle.complete(third, None)
    else:
        here.kaggle.kill(third)
    other = elsewhere(here)
    view = other.look().view
    assert view is not None
    assert (view.global_step, view.stranded, view.unreachable) == (250, None, None)
    assert [item.place for item in view.history][:2] == ["asha/bangla-tts-a", "this machine"]
    push = here.kaggle.version(other.pushed()).push
    assert push is not None
    assert (push.dataset_sources[1:], push.kernel_sources) == ((DATASET,), ())
    assert sum(call.startswith("upload") for call in here.kaggle.asked) == 1
    assert asked_elsewhere(here) == []


def test_while_it_is_at_work_another_machine_sees_its_parent(here: Play) -> None:
    """Its status shows the sessions before it, the one elsewhere too, and Kaggle is not asked for it."""
    train_here(here, 250, FIRST)
    third = here.pushed()
    with here.ledger() as ledger:
        report = report_session(here.context(ledger), Target(KernelRef.parse(third), None))
    assert [item.session for item in report.history] == [1, 2]
    view = elsewhere(here).look().view
    assert view is not None
    assert (view.is_alive, view.global_step) == (True, 250)
    assert asked_elsewhere(here) == []


def lose(play: Play) -> None:
    """The dataset is gone."""
    del play.kaggle.datasets[DATASET]


def replace_dataset(play: Play) -> None:
    """Another session is in the dataset."""
    files = {"kgtts-kept-another-2-90.json": b"{}", "state.json": b"{}"}
    play.kaggle.datasets[DATASET] = [Upload(files)]


@pytest.mark.parametrize("harm", [lose, replace_dataset])
def test_without_the_dataset_only_a_person_goes_on_without_the_session(
    here: Play, harm: Callable[[Play], None]
) -> None:
    """Passes say so and push nothing; the machine that has the results hands it over again."""
    train_here(here, 250, FIRST)
    here.kaggle.kill(here.pushed())
    harm(here)
    other = elsewhere(here)
    lost = other.sync()
    assert (lost.state, lost.pushed) == (RunState.FAILED, None)
    assert (
        "cannot continue from session 2, which ran outside Kaggle (local/bangla-tts/2)"
        in lost.decision.reason
    )
    assert "goes on from step 100 without it" in lost.decision.reason
    failure = failure_of(lost)
    assert isinstance(failure, RunFailedError)
    start = other.look(retry=True).decision.start
    assert start is not None
    assert start.parent is not None
    assert start.parent.step == 100
    stamp = read_stamp(here.kaggle.version(here.pushed()).source)
    assert stamp is not None
    assert (stamp.session, stamp.parent) == (4, "local/bangla-tts/2")
    assert "checkpoint_250.pth" in here.kaggle.mounted(DATASET)


def test_a_dataset_that_is_being_prepared_again_is_waited_for(here: Play) -> None:
    """Any machine waits, and none goes back."""
    train_here(here, 250, FIRST)
    here.kaggle.kill(here.pushed())
    uploads = here.kaggle.datasets[DATASET]
    uploads.append(replace(uploads[-1], ready_s=here.clock.monotonic() + 600))
    done = elsewhere(here).sync()
    assert (done.state, done.decision.is_preparing, done.pushed) == (RunState.WAITING, True, None)
    assert "Kaggle is preparing asha/bangla-tts-kept" in done.decision.reason
    assert here.look().state is RunState.WAITING
    here.clock.sleep(600)
    elsewhere(here).pushed()


def test_while_it_trains_here_nothing_is_pushed(here: Play) -> None:
    """A pass and a push say where it trains; a watch waits, and goes on when it has ended."""
    folder = train_here(here, 150, FIRST, status="running", reason=None)
    with locked(folder.parent):
        done = here.sync(retry=True)
        assert (done.state, done.pushed) == (RunState.RUNNING, None)
        assert done.decision.reason == "Session 2 trains on this machine, so nothing is pushed."
        assert why_not_pushed(done).hint == "`kgtts watch` waits for its end and continues after it"
        with pytest.raises(UsageError, match="has a session that is not over: local/bangla-tts/2"):
            here.sync(new=True)
        with pytest.raises(UsageError, match="still trains on this machine"):
            here.sync(from_here=True)
    assert here.look().decision.reason.startswith("Session 3 continues from step 150.")


def test_a_session_that_has_just_begun_here_counts(here: Play) -> None:
    """It has written nothing yet, but holds the run's folder."""
    folder = here.folder / "runs" / "bangla-tts"
    (folder / "session-02").mkdir(parents=True)
    with locked(folder):
        assert here.sync().decision.reason == "Session 2 trains on this machine, so nothing is pushed."


def test_what_the_session_before_saved_here_counts_while_the_next_begins(here: Play) -> None:
    """The run is as far as that one, which nothing hands over meanwhile."""
    folder = train_here(here, 250, FIRST).parent
    (folder / "session-03").mkdir()
    with locked(folder):
        seen = here.sync()
    assert seen.decision.reason == "Session 3 trains on this machine, so nothing is pushed."
    assert seen.view is not None
    assert (seen.view.step_to_continue_from, len(seen.view.history)) == (250, 2)
    assert DATASET not in here.kaggle.datasets


def test_a_watch_waits_for_what_trains_here(here: Play) -> None:
    """It follows no session on Kaggle meanwhile, and pushes the next one once the training here has ended."""
    folder = train_here(here, 150, FIRST, status="running", reason=None)
    lock = locked(folder.parent)
    lock.acquire()
    followed: list[str] = []

    def end(version: str) -> SessionEnd:
        followed.append(version)
        here.kaggle.complete(version, 1000, epochs=1000, done=True, done_reason="epochs")
        return ended(version, SessionState.COMPLETE)

    class Watcher(Spectator):
        def passed(self, done: Pass) -> None:
            super().passed(done)
            if len(self.states) == 2:
                lock.release()

    with here.ledger() as ledger:
        watch(Passes(here.settings, here.context(ledger)), Watcher(end))
    assert followed == ["asha/bangla-tts-b/1"]
    assert asked_elsewhere(here) == []


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"status": "failed", "reason": "training_failed", "message": "Column 3."}, RunState.FAILED),
        ({"status": "failed", "reason": "interrupted"}, RunState.READY),
        ({"status": "running", "reason": None}, RunState.READY),
        ({"done": True, "done_reason": "until_step"}, RunState.READY),
        ({"done": True, "done_reason": "epochs", "epoch": 10, "epochs": 1000}, RunState.DONE),
    ],
    ids=["failed", "interrupted", "killed", "a target of its own", "done"],
)
def test_how_it_ended_here_decides(here: Play, changes: dict[str, Any], state: RunState) -> None:
    """As on Kaggle: a failure stops passes, what was killed is continued, and what is done is done."""
    train_here(here, 250, FIRST, **changes)
    seen = here.look()
    assert (seen.state, seen.view and seen.view.step_to_continue_from) == (state, 250)


def test_hours_elsewhere_are_no_quota(here: Play) -> None:
    """`run.max_gpu_hours` counts Kaggle's sessions, and a pace elsewhere shortens no session there."""
    here.changes |= {"run.max_gpu_hours": "2", "training.epochs": "100"}
    train_here(here, 250, FIRST)
    start = here.look().decision.start
    assert start is not None
    assert start.budget == timedelta(hours=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"run": {"id": "another"}},
        {"run": None},
        {"global_step": None, "checkpoint": None, "checkpoints": []},
        {"schema": 99},
    ],
    ids=["of another run", "without a run", "nothing saved", "of another schema"],
)
def test_what_is_no_session_of_the_run_counts_for_nothing(here: Play, changes: dict[str, Any]) -> None:
    """The next session continues from Kaggle's."""
    train_here(here, 250, FIRST, **changes)
    assert here.look().decision.reason == "Session 2 continues from step 100."


def test_what_was_pulled_from_kaggle_is_never_taken_for_one_elsewhere(here: Play) -> None:
    """Its mark says where it comes from, whatever its state.json says."""
    folder = SessionFolder(train_here(here, 250, FIRST))
    folder.name_version(KernelRef.parse("asha/bangla-tts-b/1"))
    assert here.look().decision.reason == "Session 2 continues from step 100."


def test_other_settings_are_another_run(here: Play) -> None:
    """A session that was trained with other settings is not continued from."""
    folder = train_here(here, 250, FIRST)
    state = json.loads((folder / "state.json").read_bytes())
    state["run"]["fingerprint"] = "0" * 64
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    assert here.look().decision.reason == "Session 2 continues from step 100."


def spoil(folder: Path) -> None:
    """Change a byte of the checkpoint."""
    (folder / FOLDER / "checkpoint_250.pth").write_bytes(b"weights 251 here")


def lead_out(folder: Path) -> None:
    """Have the checkpoint be a file that is not the session's."""
    place = folder / FOLDER / "checkpoint_250.pth"
    place.rename(folder.parent / "secret")
    place.symlink_to(folder.parent / "secret")


@pytest.mark.parametrize("harm", [spoil, lead_out])
def test_a_checkpoint_that_is_not_what_state_json_says_is_not_handed_over(
    here: Play, harm: Callable[[Path], None]
) -> None:
    """Nothing is pushed, since that would go back; once its folder is moved away, the run does without it."""
    folder = train_here(here, 250, FIRST)
    harm(folder)
    with pytest.raises(
        LocalError, match="saved on this machine, up to step 250, cannot be handed over"
    ) as caught:
        here.pushed()
    assert caught.value.hint is not None
    assert f"from step 100, move {folder} away" in caught.value.hint
    assert len(here.kaggle.pushes) == 1
    folder.rename(here.folder / "aside")
    assert here.look().decision.reason == "Session 2 continues from step 100."


def branch(here: Play, step: int, number: int = 2) -> Path:
    """Somebody's Action pushed session 2 while one was trained here; it ended at step 200."""
    second = elsewhere(here).pushed()
    here.kaggle.complete(second, 200)
    return train_here(here, step, FIRST, number=number)


@pytest.mark.parametrize(("step", "number"), [(250, 2), (250, 3), (150, 2)])
def test_a_session_that_the_run_went_on_without_is_only_named(here: Play, step: int, number: int) -> None:
    """Kaggle's goes on, whatever is further, and a sentence says what is left aside."""
    folder = branch(here, step, number)
    seen = here.look()
    assert seen.view is not None
    assert seen.decision.reason == "Session 3 continues from step 200."
    (note,) = seen.view.notes
    assert f"Session {number} was also trained on this machine, up to step {step} ({folder})" in note
    assert ("`kgtts push --from-here` goes on from it" in note) == (step > 200)


def test_a_person_chooses_the_session_here(here: Play) -> None:
    """It is handed over under a new number, and Kaggle's session of its number is left aside."""
    branch(here, 250)
    stamp = read_stamp(here.kaggle.version(here.pushed(retry=True, from_here=True)).source)
    assert stamp is not None
    assert (stamp.session, stamp.parent) == (3, "local/bangla-tts/2")
    here.kaggle.complete("asha/bangla-tts-a/2", 400)
    view = here.look().view
    assert view is not None
    assert [(item.session, item.to_step) for item in view.history] == [(1, 100), (2, 250), (3, 400)]
    assert view.notes == ()


@pytest.mark.parametrize("step", [150, None])
def test_nothing_here_to_choose(here: Play, step: int | None) -> None:
    """The step never goes back, and without a session here there is none to go on from."""
    if step is not None:
        branch(here, step)
    with pytest.raises(UsageError, match=r"never goes back|there is none to go on from"):
        here.sync(from_here=True)


def test_a_session_on_kaggle_that_is_at_work_goes_first(here: Play) -> None:
    """A person has to stop it; passes go on with it and say what is here."""
    train_here(here, 250, FIRST)
    second = elsewhere(here).pushed()
    seen = here.look()
    assert (seen.state, len(seen.warnings)) == (RunState.RUNNING, 1)
    with pytest.raises(UsageError, match="has a session on Kaggle that is not over") as caught:
        here.sync(from_here=True)
    assert caught.value.hint == f"stop it first: kgtts stop {second}"


def test_a_folder_of_a_session_here_is_never_filled(here: Play) -> None:
    """A pull says what to do instead, and so does a pass, which goes on."""
    folder = branch(here, 250)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with serve() as here.kaggle.storage, here.ledger() as ledger:
        target = Target(KernelRef.parse("asha/bangla-tts-b/1"), None)
        with pytest.raises(FolderTakenError, match="holds session 2 of this machine") as caught:
            collect(here.context(ledger), target, folder, lambda names: names, TransferListener())
        assert caught.value.hint == "kgtts pull asha/bangla-tts-b/1 --to FOLDER"
        results = Results(Path(here.settings.pull.to))
        done = here.sync(collecting=Collecting(results, lambda names: names, TransferListener()))
    assert done.pushed is not None
    assert any("so the outputs of asha/bangla-tts-b/1 were not downloaded" in note for note in done.notes)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_that_was_begun_here_goes_on_on_kaggle(play: Play) -> None:
    """Kaggle has nothing of it: its first session there is the run's second."""
    play.changes["pull.to"] = json.dumps(str(play.folder / "runs"))
    first = play.pushed()
    folder = train_here(play, 250, first, number=1)
    play.kaggle.kernels.clear()
    assert folder.name == "session-01"
    stamp = read_stamp(play.kaggle.version(play.pushed()).source)
    assert stamp is not None
    assert (stamp.session, stamp.parent) == (2, "local/bangla-tts/1")
    play.kaggle.kernels.clear()
    another = read_stamp(play.kaggle.version(play.pushed(new=True)).source)
    assert another is not None
    assert (another.session, another.parent, another.id == stamp.id) == (1, None, False)


def test_a_run_that_was_over_on_kaggle_and_went_on_here_is_not_over(here: Play) -> None:
    """`status` of the session on Kaggle looks ahead from the one on this machine."""
    here.changes["run.patience"] = 3
    here.kaggle.complete(FIRST, 100, done=True, done_reason="no_improvement")
    outlooks = []
    for is_further in (False, True):
        if is_further:
            train_here(here, 250, FIRST)
        with here.ledger() as ledger:
            context = here.context(ledger)
            snapshot = context.snapshot()
            report = report_session(context, find_target(context, FIRST), snapshot=snapshot)
            outlooks.append(outlook_of(context, report, lambda: here.settings, snapshot))
    over, further = outlooks
    assert over is not None
    assert over.elsewhere is None
    assert further is not None
    assert further.elsewhere is not None
    assert str(further.elsewhere.ref) == "local/bangla-tts/2"


def test_nobody_asks_kaggle_for_a_session_elsewhere(here: Play) -> None:
    """A person who names one is told where to look."""
    with here.ledger() as ledger, pytest.raises(UsageError, match="is not on Kaggle") as caught:
        find_target(here.context(ledger), "local/bangla-tts/2")
    assert caught.value.hint is not None
    assert "kgtts status bangla-tts" in caught.value.hint


def test_a_session_on_skypilot_that_has_not_said_its_end_may_be_at_work(here: Play) -> None:
    """Only a person can tell that it was cancelled."""
    running: dict[str, Any] = {"status": "running", "reason": None, "kernel": "skypilot/bangla-tts"}
    train_here(here, 250, FIRST, **running)
    done = here.sync()
    assert done.decision.reason == (
        "Session 2 trains on SkyPilot, by what was brought here last, so nothing is pushed."
    )
    assert here.pushed(retry=True, from_here=True) == "asha/bangla-tts-b/1"
    assert here.look().view.notes == ()  # type: ignore[union-attr]


def test_outputs_of_a_session_elsewhere_are_not_asked_for(here: Play) -> None:
    """Kaggle has none; the error says where they are."""
    with here.ledger() as ledger:
        target = Target(KernelRef.parse("local/bangla-tts/2"), None)
        with pytest.raises(UsageError, match="its outputs are where it ran, on this machine"):
            collect(
                here.context(ledger), target, here.folder / "new", lambda names: names, TransferListener()
            )
    assert asked_elsewhere(here) == []


def test_a_session_that_begins_here_while_one_is_handed_over_stops_the_push(here: Play) -> None:
    """An upload takes minutes, in which somebody may start `kgtts train`."""
    lock = locked(train_here(here, 250, FIRST).parent)
    here.kaggle.next("upload_dataset", lock.acquire)
    with pytest.raises(ServiceError, match="has just begun to train on this machine, so nothing was pushed"):
        here.pushed()
    lock.release()
    assert len(here.kaggle.pushes) == 1
    here.pushed()
