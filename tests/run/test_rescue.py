"""A killed session's outputs are handed over as a dataset: once, checked, and never at the run's expense."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina

from orchestrator.errors import CredentialsError, ForbiddenError, LocalError, RefusedError, ServiceError
from orchestrator.models import KernelRef, OutputFile, SessionState
from orchestrator.render.stamp import read_stamp
from orchestrator.run.decide import RunState
from orchestrator.run.handover import handover_dataset
from tests.download.storage import Answer as StorageAnswer
from tests.download.storage import Storage, serve
from tests.fakes.inputs import Upload
from tests.fakes.sessions import Answer, Lost, hours
from tests.run.conftest import Play

After = Callable[..., Play]
DATASET = "asha/bangla-tts-kept"
FOLDER = "training/run-November-22"
FAULT = ServiceError("Kaggle does not answer.")


@pytest.fixture
def killed(after: After) -> Iterator[Play]:
    """Session 1 ended well at step 100; session 2 was killed after its checkpoint of step 150, all kept.

    Sessions have no internet, so none can download it itself.
    """
    play = after(100)
    play.changes["kernel.internet"] = "false"
    with serve() as storage, stamina.set_testing(True, attempts=2, cap=True):
        play.kaggle.storage = storage
        kill(play, play.pushed(), 120, 150)
        yield play


def kill(play: Play, version: str, *steps: int, **changes: Any) -> None:
    """Kill a session that saved checkpoints at `steps`, with everything kept; the first is the best model."""
    files = {f"{FOLDER}/checkpoint_{step}.pth": f"weights {step}".encode() for step in steps}
    best = f"{FOLDER}/best_model_{steps[0]}.pth"
    files |= {best: b"best", f"{FOLDER}/config.json": b"{}", f"{FOLDER}/trainer_0_log.txt": b"log"}
    listed = [
        {
            "path": name,
            "global_step": int(name.rpartition("_")[2][:-4]),
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for name, content in files.items()
        if name.endswith(".pth")
    ]
    state = {
        **play.kaggle.state_of(version, steps[-1]),
        "status": "running",
        "checkpoint": f"{FOLDER}/checkpoint_{steps[-1]}.pth",
        "checkpoints": listed,
        "best_model": best,
        **changes,
    }
    session = play.kaggle.version(version)
    session.state = SessionState.CANCEL_ACKNOWLEDGED
    session.outputs = {
        **files,
        f"{FOLDER}/best_model.pth": b"best",
        f"{FOLDER}/.kgtts-checkpoint_151.pth.part": b"half",
        f"{FOLDER}/deeper/notes.txt": b"not ours",
        "train_log.txt": b"a line\n",
        "metrics.jsonl": b"{}\n",
        "config.json": b"another",
        "state.json": json.dumps(state).encode(),
    }


def uploads(play: Play) -> int:
    """Return how often a dataset was uploaded."""
    return sum(call.startswith("upload ") for call in play.kaggle.asked)


def test_one_pass_hands_over_and_pushes(killed: Play) -> None:
    """The next session knows of the killed one, and mounts the dataset instead of a kernel."""
    done = killed.sync()
    assert (done.state, done.notes) == (RunState.RUNNING, ())
    assert done.pushed is not None
    version = killed.kaggle.version(str(done.pushed.target.ref))
    assert version.push is not None
    assert version.push.dataset_sources[1:] == (DATASET,)
    assert version.push.kernel_sources == ()
    stamp = read_stamp(version.source)
    assert stamp is not None
    assert (stamp.session, stamp.parent) == (3, "asha/bangla-tts-b/1")
    told = version.source.replace('"', "'")
    digest = hashlib.sha256(b"weights 150").hexdigest()
    for words in ("'session': 2", "'global_step': 150", f"'sha256': '{digest}'", f"'dataset': '{DATASET}'"):
        assert words in told
    assert killed.sync().pushed is None
    assert uploads(killed) == 1


def test_what_is_handed_over(killed: Play) -> None:
    """Newest checkpoint, best model, the run folder's files and the logs are uploaded, with a marker."""
    killed.sync()
    held = killed.kaggle.mounted(DATASET)
    (marker,) = [name for name in held if name.startswith("kgtts-kept-")]
    assert marker.endswith("-2-150.json")
    assert json.loads(held[marker])["version"] == "asha/bangla-tts-b/1"
    assert set(held) - {marker} == {
        "best_model_120.pth",
        "checkpoint_150.pth",
        "config.json",
        "metrics.jsonl",
        "state.json",
        "train_log.txt",
        "trainer_0_log.txt",
    }
    assert (held["checkpoint_150.pth"], held["config.json"]) == (b"weights 150", b"{}")
    assert "session 2, step 150" in killed.kaggle.datasets[DATASET][-1].notes


def test_the_ordinary_way_asks_for_no_dataset(after: After) -> None:
    """Without kept outputs no call is made for a dataset."""
    play = after(100, 200, None)
    play.sync()
    assert not [call for call in play.kaggle.asked if DATASET in call]


def test_a_session_goes_on_from_the_rescued_one(killed: Play) -> None:
    """The one after it mounts the sibling again, without a call for the dataset."""
    second = killed.pushed()
    killed.kaggle.complete(second, 300)
    killed.kaggle.asked.clear()
    third = killed.kaggle.version(killed.pushed())
    assert third.push is not None
    assert (third.push.kernel_sources, len(third.push.dataset_sources)) == ((second.rpartition("/")[0],), 1)
    assert not [call for call in killed.kaggle.asked if DATASET in call]


def test_a_rescued_session_is_chosen_again(killed: Play) -> None:
    """If the next session is killed without saving, the dataset is used again, uploaded once."""
    killed.kaggle.kill(killed.pushed())
    view = killed.look().view
    assert view is not None
    assert (view.global_step, view.stranded, view.sessions_without_progress) == (150, None, 1)
    version = killed.kaggle.version(killed.pushed())
    assert version.push is not None
    assert version.push.dataset_sources[1:] == (DATASET,)
    assert uploads(killed) == 1
    killed.kaggle.kill("asha/bangla-tts-a/3")
    assert killed.sync().state is RunState.STALLED


def test_a_session_that_ended_well_and_saved_nothing_leaves_the_rescued_one(killed: Play) -> None:
    """Its parent was killed, and the dataset still has that session's outputs."""
    killed.kaggle.complete(killed.pushed(), None)
    view = killed.look().view
    assert view is not None
    assert (view.global_step, view.stranded, view.unreachable) == (150, None, None)


def test_killed_after_killed_advances(killed: Play) -> None:
    """Each hands over more: the run does not stall, and the dataset has only the newest."""
    for session, step in enumerate((170, 190, 210), 3):
        version = killed.pushed()
        kill(killed, version, step)
        assert killed.look().state is RunState.READY
        stamp = read_stamp(killed.kaggle.version(version).source)
        assert stamp is not None
        assert stamp.session == session
    killed.pushed()
    assert "checkpoint_210.pth" in killed.kaggle.mounted(DATASET)
    assert "checkpoint_190.pth" not in killed.kaggle.mounted(DATASET)


def test_a_dataset_that_is_being_prepared_is_waited_for(killed: Play) -> None:
    """The pass waits a while; later passes see that it was uploaded, and push when it is ready."""
    killed.kaggle.dataset_processing_s = 600
    for _ in range(3):
        done = killed.sync()
        assert (done.state, done.pushed) == (RunState.WAITING, None)
        assert "session 2 kept, up to step 150, is uploaded" in done.decision.reason
    assert (uploads(killed), len(killed.kaggle.pushes)) == (1, 2)
    killed.clock.sleep(600)
    killed.pushed()
    assert uploads(killed) == 1


def test_a_dataset_that_is_soon_ready_is_waited_for_in_the_same_pass(killed: Play) -> None:
    """The pass waits up to a minute."""
    killed.kaggle.dataset_processing_s = 30
    killed.pushed()


def test_quota_goes_before_the_upload(killed: Play) -> None:
    """If no session can be pushed, nothing is downloaded or uploaded."""
    killed.kaggle.week = hours(0)
    assert killed.sync().state is RunState.WAITING
    assert uploads(killed) == 0


def test_switched_off_it_counts_for_nothing(killed: Play) -> None:
    """The run continues from the session before, and can stall."""
    killed.changes["run.rescue"] = "false"
    version = killed.pushed()
    push = killed.kaggle.version(version).push
    assert push is not None
    assert push.kernel_sources == ("asha/bangla-tts-a",)
    kill(killed, version, 150)
    assert killed.sync().state is RunState.STALLED
    assert uploads(killed) == 0


def corrupt(play: Play) -> None:
    """No checkpoint is what state.json says."""
    outputs = dict(play.kaggle.version("asha/bangla-tts-b/1").outputs)
    for step in (120, 150):
        outputs[f"{FOLDER}/checkpoint_{step}.pth"] = b"something else"
    outputs[f"{FOLDER}/best_model_120.pth"] = b"something else"
    play.kaggle.version("asha/bangla-tts-b/1").outputs = outputs


def lose(play: Play) -> None:
    """Only state.json is left."""
    state = play.kaggle.version("asha/bangla-tts-b/1").outputs["state.json"]
    play.kaggle.version("asha/bangla-tts-b/1").outputs = {"state.json": state}


def occupy(play: Play) -> None:
    """Somebody has a dataset of that name."""
    play.kaggle.datasets[DATASET] = [Upload({"songs.csv": b"1"})]


def refuse(play: Play) -> None:
    """Kaggle says no."""
    play.kaggle.always("upload_dataset", RefusedError("Kaggle refused: no more room."))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (corrupt, "Of asha/bangla-tts-b/1, training/run-November-22/checkpoint_150.pth arrived damaged"),
        (lose, "has none of the checkpoints"),
        (occupy, "a dataset that kgtts did not make"),
        (refuse, "no more room"),
    ],
)
def test_what_cannot_be_handed_over_is_said_and_done_without(
    killed: Play, harm: Callable[[Play], None], words: str
) -> None:
    """The same pass continues from the session before, and leaves nothing on this machine."""
    harm(killed)
    home = killed.folder / "home"
    done = killed.sync(home=home)
    assert done.pushed is not None
    (note,) = done.warnings
    assert note.startswith("What session 2 kept, up to step 150, is lost: ")
    assert words in note
    push = killed.kaggle.version(str(done.pushed.target.ref)).push
    assert push is not None
    assert push.kernel_sources == ("asha/bangla-tts-a",)
    assert not list((home / "kept").rglob("*.*"))


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(killed: Play) -> None:
    """The older one is used if it is newer than the mount's, and the kernel says so."""
    outputs = dict(killed.kaggle.version("asha/bangla-tts-b/1").outputs)
    outputs[f"{FOLDER}/checkpoint_150.pth"] = b"something else"
    killed.kaggle.version("asha/bangla-tts-b/1").outputs = outputs
    killed.pushed()
    held = killed.kaggle.mounted(DATASET)
    assert {name for name in held if name.endswith(".pth")} == {"checkpoint_120.pth", "best_model_120.pth"}


def test_a_checkpoint_that_arrives_damaged_once_is_downloaded_again(killed: Play) -> None:
    """The storage's own hashes may be those of the damaged bytes: state.json is what counts."""
    put, storage = Storage.put, killed.kaggle.storage
    assert storage is not None

    def put_damaged(name: str, *answers: StorageAnswer | bytes) -> OutputFile:
        damaged = [b"something else"] if name.endswith("checkpoint_150.pth") else []
        return put(storage, name, *damaged, *answers)

    storage.put = put_damaged  # type: ignore[method-assign] # A fake of the tests.
    killed.pushed()
    assert killed.kaggle.mounted(DATASET)["checkpoint_150.pth"] == b"weights 150"
    damaged = [item for item in storage.requests if storage.answers[item.key][-1].body == b"weights 150"]
    assert len(damaged) == 2


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_listing_that_lacks_the_newest_checkpoint_is_read_again(killed: Play, times: int) -> None:
    """Outputs may still be saved: within seconds it is whole, or what there is has to do."""
    listed = killed.kaggle.outputs(KernelRef.parse("asha/bangla-tts-b/1"))
    part = [file for file in listed if "checkpoint_150" not in file.name]
    killed.kaggle.next("outputs", *[Answer(part)] * times)
    killed.pushed()
    newest = 120 if times == 3 else 150
    assert f"checkpoint_{newest}.pth" in killed.kaggle.mounted(DATASET)


def test_a_best_model_older_than_what_is_mounted_goes_along(killed: Play) -> None:
    """The run keeps its best model, whatever its age."""
    kill(killed, "asha/bangla-tts-b/1", 90, 150)
    killed.pushed()
    held = killed.kaggle.mounted(DATASET)
    assert {name for name in held if name.endswith(".pth")} == {"checkpoint_150.pth", "best_model_90.pth"}


@pytest.mark.parametrize("arrived", [True, False])
def test_an_upload_without_an_answer_is_an_error_of_this_pass_alone(killed: Play, *, arrived: bool) -> None:
    """The next pass sees the marker or repeats it, without downloading again."""
    killed.kaggle.next("upload_dataset", Lost(FAULT) if arrived else FAULT)
    home = killed.folder / "home"
    with pytest.raises(ServiceError):
        killed.sync(home=home)
    assert killed.kaggle.storage is not None
    before = len(killed.kaggle.storage.asked)
    assert killed.sync(home=home).pushed is not None
    assert uploads(killed) == (1 if arrived else 2)
    assert (len(killed.kaggle.storage.asked) == before) is arrived
    assert (len(killed.kaggle.pushes), list((home / "kept").iterdir())) == (3, [])


@pytest.mark.parametrize("error", [CredentialsError("No."), LocalError("No room.")])
def test_errors_of_this_machine_are_errors_of_the_pass(killed: Play, error: Exception) -> None:
    """Another machine, or this one later, can still hand over, so nothing is given up."""
    killed.kaggle.next("upload_dataset", error)
    with pytest.raises(type(error)):
        killed.sync()
    killed.pushed()
    assert DATASET in killed.kaggle.datasets


def test_a_completed_session_that_somebody_hides_is_handed_over_too(killed: Play) -> None:
    """A version made on the kernel's page replaces it in the mount, but its outputs remain."""
    version = killed.pushed()
    kill(killed, version, 250)
    killed.kaggle.version(version).state = SessionState.COMPLETE
    killed.kaggle.save(version.rpartition("/")[0])
    killed.pushed()
    assert "checkpoint_250.pth" in killed.kaggle.mounted(DATASET)


@pytest.mark.parametrize("slug", ["voice", "a" * 45, "a" * 46, "a" * 40 + "-b-cdef"])
def test_the_datasets_name(slug: str) -> None:
    """It is no longer than Kaggle allows, and different for each run."""
    owner, name = handover_dataset(KernelRef("asha", slug)).split("/")
    assert owner == "asha"
    assert 6 <= len(name) <= 50
    assert name.endswith("-kept")
    assert "--" not in name
    assert name != handover_dataset(KernelRef("asha", slug[:-1])).split("/")[1]


def test_nothing_is_lost_on_the_way(killed: Play, tmp_path: Path) -> None:
    """The temporary folder is empty after a pass."""
    killed.sync(home=tmp_path)
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("method", ["outputs", "upload_dataset"])
def test_a_403_on_the_way_gives_nothing_up(killed: Play, method: str) -> None:
    """A 403 can be temporary, so the next pass hands the session over."""
    killed.kaggle.next(method, ForbiddenError("Kaggle refused (403)."))
    with pytest.raises(ServiceError):
        killed.sync()
    assert len(killed.kaggle.pushes) == 2
    killed.pushed()
    assert DATASET in killed.kaggle.datasets
