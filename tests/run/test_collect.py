"""A session's outputs are downloaded as the session left them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
import stamina

from orchestrator.download import Fetched, Refused, Transfer, TransferListener
from orchestrator.errors import KgttsError
from orchestrator.models import KernelRef
from orchestrator.run.collect import Brought, bring
from tests.download.storage import Answer, serve
from tests.fakes.kaggle import FakeKaggle
from tests.fakes.sessions import Answer as Given
from tests.fakes.sessions import said

REF = KernelRef("asha", "bangla-tts", 1)
MODEL = b"the weights of the model"


@pytest.fixture
def ended(kaggle: FakeKaggle) -> Iterator[FakeKaggle]:
    """A session that ended with a model, its manifest and a log."""
    with serve() as storage, stamina.set_testing(True, attempts=2, cap=True):
        kaggle.storage = storage
        version = kaggle.have("asha/bangla-tts", 1)
        version.log = said("one", "two")
        version.outputs = {"model.pth": MODEL, "manifest.json": manifest(MODEL)}
        yield kaggle


def manifest(model: bytes) -> bytes:
    """Return a `manifest.json` that was written when the model was `model`."""
    entry = {"path": "model.pth", "size": len(model), "sha256": hashlib.sha256(model).hexdigest()}
    return json.dumps({"files": [entry]}).encode()


def test_files_that_are_what_the_manifest_says_are_brought(ended: FakeKaggle, tmp_path: Path) -> None:
    """Files that agree with the manifest are downloaded, and the session's log with them."""
    brought = bring(ended, REF, tmp_path / "to", lambda names: names, TransferListener())
    assert (tmp_path / "to" / "model.pth").read_bytes() == MODEL
    assert brought.log is not None
    assert brought.log.read_text(encoding="utf-8") == "one\ntwo\n"


def test_a_file_that_is_not_what_the_manifest_says_is_refused(ended: FakeKaggle, tmp_path: Path) -> None:
    """A file that fits the storage's hash but not the session's was changed in between."""
    ended.version(str(REF)).outputs = {"model.pth": b"x" * len(MODEL), "manifest.json": manifest(MODEL)}
    with pytest.raises(KgttsError, match=r"model\.pth.*SHA-256"):
        bring(ended, REF, tmp_path / "to", lambda names: names, TransferListener())
    assert not (tmp_path / "to" / "model.pth").exists()


def test_what_is_not_chosen_is_not_brought(ended: FakeKaggle, tmp_path: Path) -> None:
    """Files that are not chosen are counted; chosen ones are checked against the manifest."""
    brought = bring(
        ended, REF, tmp_path / "to", lambda names: [n for n in names if n == "model.pth"], TransferListener()
    )
    assert brought.left_out == 1
    assert not (tmp_path / "to" / "manifest.json").exists()


def test_the_log_takes_the_place_of_no_output(ended: FakeKaggle, tmp_path: Path) -> None:
    """The log never replaces an output, whatever its name or case."""
    names = {"Session.LOG": b"mine", "kaggle-session.log": b"mine too"}
    ended.version(str(REF)).outputs = names
    brought = bring(ended, REF, tmp_path, list, TransferListener())
    assert {name: (tmp_path / name).read_bytes() for name in names} == names
    assert brought.log == tmp_path / "kaggle-kaggle-session.log"
    assert brought.log.read_text(encoding="utf-8") == "one\ntwo\n"


def test_a_checkpoint_that_is_not_what_the_state_says_is_refused(ended: FakeKaggle, tmp_path: Path) -> None:
    """A killed session leaves no manifest, but its state.json has the hashes of its checkpoints."""
    entry = {"path": "run/checkpoint_2.pth", "global_step": 2, **json.loads(manifest(MODEL))["files"][0]}
    state = {"schema": 1, "run": {"id": "3f9c", "session": 1}, "status": "running", "global_step": 2}
    state["checkpoints"] = [{**entry, "path": "run/checkpoint_2.pth"}]
    kept = {"state.json": json.dumps(state).encode(), "run/checkpoint_2.pth": MODEL}
    ended.version(str(REF)).outputs = kept
    bring(ended, REF, tmp_path / "to", list, TransferListener())
    assert (tmp_path / "to/run/checkpoint_2.pth").read_bytes() == MODEL
    ended.version(str(REF)).outputs = {**kept, "run/checkpoint_2.pth": b"x" * len(MODEL)}
    with pytest.raises(KgttsError, match=r"checkpoint_2\.pth.*SHA-256"):
        bring(ended, REF, tmp_path / "other", list, TransferListener())


def test_what_a_killed_session_was_writing_is_no_output(ended: FakeKaggle, tmp_path: Path) -> None:
    """Its unfinished and reserve files are neither downloaded, nor counted, nor refused."""
    unfinished = {".kgtts-reserve": b"0", "training/run/.kgtts-checkpoint_2.pth.part": b"half"}
    ended.version(str(REF)).outputs = {"log.txt": b"whole", **unfinished}
    brought = bring(ended, REF, tmp_path, list, TransferListener())
    assert [str(file.path) for file in brought.transfer.files] == ["log.txt"]
    assert (brought.transfer.refused, brought.left_out, brought.has_all(list)) == ([], 0, True)


def test_without_a_version_nothing_is_listed_again(ended: FakeKaggle, tmp_path: Path) -> None:
    """If the URLs expired, a new listing may be of a newer version: it is an error, not a mixture."""
    assert ended.storage is not None
    ended.next("outputs", Given([ended.storage.put("model.pth", Answer(status=403))]))
    with pytest.raises(KgttsError, match=r"model\.pth could not be fetched: the storage answered 403"):
        bring(ended, REF.kernel, tmp_path / "a", list, TransferListener())
    ended.next("outputs", Given([ended.storage.put("model.pth", Answer(status=403))]))
    bring(ended, REF, tmp_path / "b", list, TransferListener())
    assert [path.name for path in tmp_path.rglob("*.pth")] == ["model.pth"]


@pytest.mark.parametrize(
    ("names", "here", "refused", "is_complete"),
    [
        (("a", "b"), ("a", "b"), (), True),
        (("a", "b"), ("a",), (), False),
        (("a", "../b"), ("a",), ("../b",), True),  # It will never be here.
        ((), (), (), False),
    ],
)
def test_what_is_complete(
    names: tuple[str, ...], here: tuple[str, ...], refused: tuple[str, ...], *, is_complete: bool
) -> None:
    """A session is complete if all that Kaggle lists and the manifest names is here."""
    files = [Fetched(PurePosixPath(name), 1, unchanged=False) for name in here]
    transfer = Transfer(files, [Refused(name, "leads out of the folder") for name in refused])
    assert Brought(transfer, None, frozenset(names), 0).has_all(list) is is_complete
