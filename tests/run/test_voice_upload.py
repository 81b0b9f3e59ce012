"""A base voice becomes a version of a model: only if it changed, sent once, and awaited until it is ready."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import ForbiddenError, ServiceError, UsageError
from orchestrator.models import Sending
from orchestrator.run.voice_upload import UploadedVoice, VoiceUpload
from tests.fakes.clock import FakeClock
from tests.fakes.kaggle import OWNER, FakeKaggle
from tests.fakes.sessions import Lost

VARIATION = f"{OWNER}/my-voices/transformers/default"


@pytest.fixture
def fake() -> FakeKaggle:
    """A Kaggle in memory that prepares uploads for ten minutes."""
    return FakeKaggle(FakeClock(), dataset_processing_s=600.0)


@pytest.fixture
def bring(fake: FakeKaggle, tmp_path: Path) -> Callable[..., UploadedVoice]:
    """Bring a voice with this content."""

    def run(content: str = "weights", license_name: str | None = "MIT") -> UploadedVoice:
        path = tmp_path / content / "model_file.pth"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        upload = VoiceUpload(fake, fake.clock, VARIATION)
        files = {"model/model_file.pth": path}
        return upload.bring(files, license_name=license_name, notes="n", sending=Sending())

    return run


def test_only_a_change_makes_a_version(bring: Callable[..., UploadedVoice], fake: FakeKaggle) -> None:
    """The model is made with the first version; each is awaited; a licence is needed only once."""
    assert bring() == UploadedVoice(f"{VARIATION}/1", is_new=True)
    assert fake.clock.passed >= 600.0
    assert fake.details[f"{OWNER}/my-voices"].private
    assert bring(license_name=None) == UploadedVoice(f"{VARIATION}/1", is_new=False)
    assert bring("others", None) == UploadedVoice(f"{VARIATION}/2", is_new=True)
    assert fake.clock.passed >= 1200.0


def test_a_model_needs_a_licence(bring: Callable[..., UploadedVoice], fake: FakeKaggle) -> None:
    """Nothing is made before it is known."""
    with pytest.raises(UsageError, match="licence"):
        bring(license_name=None)
    assert not fake.models


def test_a_lost_answer_is_looked_for(bring: Callable[..., UploadedVoice], fake: FakeKaggle) -> None:
    """If the version is there, it is not sent again; if not, the error is told."""
    fake.next("upload_model", Lost(ServiceError("no answer")))
    assert bring() == UploadedVoice(f"{VARIATION}/1", is_new=True)
    fake.next("upload_model", ServiceError("no answer"))
    with pytest.raises(ServiceError, match="no answer"):
        bring("others")
    assert len(fake.models) == 1


def test_a_403_is_not_absence(bring: Callable[..., UploadedVoice], fake: FakeKaggle) -> None:
    """A model that the account lists exists, whatever another call says; nothing is made then."""
    bring()
    fake.next("model_variations", ForbiddenError("no"))
    with pytest.raises(ForbiddenError):
        bring("others")
    assert len(fake.models) == 1


def test_patience_has_an_end(bring: Callable[..., UploadedVoice], fake: FakeKaggle) -> None:
    """After an hour the command ends as one that Kaggle failed; the next one waits on."""
    fake.dataset_processing_s = 1e6
    with pytest.raises(ServiceError, match="within 60 minutes"):
        bring()
    fake.clock.advance(1e6)
    assert not bring().is_new
