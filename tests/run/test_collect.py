"""What a session left is brought here as it was left."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from orchestrator.download import TransferListener
from orchestrator.errors import KgttsError
from orchestrator.models import KernelRef
from orchestrator.run.collect import bring
from tests.download.storage import serve
from tests.fakes.kaggle import FakeKaggle, said

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
    """With the session's log beside them."""
    brought = bring(ended, REF, tmp_path / "to", lambda names: names, TransferListener())
    assert (tmp_path / "to" / "model.pth").read_bytes() == MODEL
    assert brought.log is not None
    assert brought.log.read_text(encoding="utf-8") == "one\ntwo\n"


def test_a_file_that_is_not_what_the_manifest_says_is_refused(ended: FakeKaggle, tmp_path: Path) -> None:
    """The storage's own hash fits it, and the session's does not: it was changed in between."""
    ended.version(str(REF)).outputs = {"model.pth": b"x" * len(MODEL), "manifest.json": manifest(MODEL)}
    with pytest.raises(KgttsError, match=r"model\.pth.*SHA-256"):
        bring(ended, REF, tmp_path / "to", lambda names: names, TransferListener())
    assert not (tmp_path / "to" / "model.pth").exists()


def test_what_is_not_chosen_is_not_brought(ended: FakeKaggle, tmp_path: Path) -> None:
    """It is counted; what is chosen is checked by the manifest all the same."""
    brought = bring(
        ended, REF, tmp_path / "to", lambda names: [n for n in names if n == "model.pth"], TransferListener()
    )
    assert brought.left_out == 1
    assert not (tmp_path / "to" / "manifest.json").exists()
