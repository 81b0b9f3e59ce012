"""What `kgtts data upload` does: decides by what Kaggle holds, sends once, and waits until it is current."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import ForbiddenError, LocalError, RefusedError, ServiceError, UsageError
from orchestrator.models import InputDetails, Sending
from orchestrator.run.dataset_upload import DatasetUpload, Uploaded, UploadState, read_folder
from tests.fakes.clock import FakeClock
from tests.fakes.kaggle import OWNER, FakeKaggle
from tests.fakes.sessions import Lost

SOURCE = f"{OWNER}/my-voice-data"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as `kgtts data prepare` leaves it, with things that do not belong to it."""
    folder = tmp_path / "voice" / "MyTTSDataset"
    for name, text in {
        "metadata.csv": "a|আমি|আমি\n",
        "wavs/a.wav": "RIFF",
        "wavs/deep/খ.wav": "RIFF2",
        ".DS_Store": "x",
        "quarantine/b.wav": "RIFF",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def fake() -> FakeKaggle:
    """A Kaggle in memory that prepares uploads for ten minutes."""
    return FakeKaggle(FakeClock(), dataset_processing_s=600.0)


@pytest.fixture
def said() -> list[str]:
    """What was said while waiting."""
    return []


@pytest.fixture
def bring(fake: FakeKaggle, said: list[str], place: Path) -> Callable[..., Uploaded]:
    """Bring the folder as it is now."""

    def run(license_name: str | None = "other") -> Uploaded:
        upload = DatasetUpload(fake, fake.clock, SOURCE)
        sending = Sending(say=said.append)
        return upload.bring(read_folder(place), license_name=license_name, notes="n", sending=sending)

    return run


def test_folders_are_kept_and_what_does_not_belong_is_named(place: Path) -> None:
    """Names are those below MyTTSDataset, whichever of the two folders is given."""
    found = read_folder(place)
    assert set(found.files) == {
        f"MyTTSDataset/{name}" for name in ("metadata.csv", "wavs/a.wav", "wavs/deep/খ.wav")
    }
    assert found.left_out == (".DS_Store", "quarantine")
    assert read_folder(place.parent).content == found.content
    assert not found.has_script


def test_the_content_is_that_of_all_names_and_files(place: Path) -> None:
    """A changed file, another name and a script each make another content."""
    contents = {read_folder(place).content}
    (place / "wavs" / "a.wav").write_text("RIFX")
    contents.add(read_folder(place).content)
    (place / "wavs" / "a.wav").rename(place / "wavs" / "c.wav")
    contents.add(read_folder(place).content)
    (place.parent / "mine.py").write_text("print()")
    with_script = read_folder(place, place.parent / "mine.py")
    assert with_script.has_script
    assert len(contents | {with_script.content}) == 4


def test_a_folder_without_metadata_is_refused(tmp_path: Path) -> None:
    """The hint names the command that makes it."""
    with pytest.raises(UsageError, match="holds no dataset") as caught:
        read_folder(tmp_path)
    assert "kgtts data prepare" in str(caught.value.hint)


def test_it_waits_until_the_version_is_current(
    bring: Callable[..., Uploaded], fake: FakeKaggle, said: list[str]
) -> None:
    """A session that started before would train on the version before it."""
    done = bring()
    assert (done.is_new, done.before, done.is_private) == (True, UploadState.ABSENT, True)
    assert fake.clock.passed >= 600.0
    assert fake.dataset_ready(SOURCE)
    assert "preparing" in said[0]


def test_only_a_change_makes_a_version(bring: Callable[..., Uploaded], fake: FakeKaggle, place: Path) -> None:
    """The same folder is not sent again; another becomes the next version, without the files of the first."""
    bring()
    again = bring()
    assert (again.is_new, again.before) == (False, UploadState.CURRENT)
    (place / "wavs" / "a.wav").rename(place / "wavs" / "b.wav")
    assert bring(None).before is UploadState.DIFFERENT  # The licence is asked for once only.
    assert len(fake.datasets[SOURCE]) == 2
    assert "MyTTSDataset/wavs/a.wav" not in fake.datasets[SOURCE][-1].files


def test_a_version_in_preparation_is_awaited_before_the_next(
    bring: Callable[..., Uploaded], fake: FakeKaggle, place: Path, said: list[str]
) -> None:
    """Kaggle refuses a version while it processes another."""
    fake.clock.advance(1)
    files = {**read_folder(place).files}
    (place.parent / "x.json").write_text("{}")
    fake.upload_dataset(
        SOURCE,
        InputDetails("My voice data", license="other"),
        {**files, "x.json": place.parent / "x.json"},
        notes="by hand",
    )
    assert bring().before is UploadState.DIFFERENT
    assert "still preparing the version" in said[0]
    assert fake.clock.passed >= 1200.0


def test_an_interrupted_wait_goes_on(bring: Callable[..., Uploaded], fake: FakeKaggle, place: Path) -> None:
    """The version is on Kaggle already: it is waited for, and not sent again."""
    fake.next("dataset_ready", ServiceError("down"))
    with pytest.raises(ServiceError, match="down"):
        bring()
    assert bring().before is UploadState.PREPARING
    assert len(fake.datasets[SOURCE]) == 1


def test_patience_has_an_end(bring: Callable[..., Uploaded], fake: FakeKaggle) -> None:
    """After an hour the command ends as one that Kaggle failed, and says that nothing is lost."""
    fake.dataset_processing_s = 1e6
    with pytest.raises(ServiceError, match="within 60 minutes") as caught:
        bring()
    assert "nothing is uploaded twice" in str(caught.value.hint)
    assert fake.clock.passed < 4000


def test_a_lost_answer_is_looked_for(bring: Callable[..., Uploaded], fake: FakeKaggle, place: Path) -> None:
    """If the version is there, it is not sent a second time; if not, the error is told."""
    fake.next("upload_dataset", Lost(ServiceError("no answer")))
    assert bring().is_new
    assert len(fake.datasets[SOURCE]) == 1
    (place / "metadata.csv").write_text("a|তুমি|তুমি\n", encoding="utf-8")
    fake.next("upload_dataset", ServiceError("no answer"))
    with pytest.raises(ServiceError, match="no answer"):
        bring()


def test_a_new_dataset_needs_a_licence(bring: Callable[..., Uploaded], fake: FakeKaggle) -> None:
    """Kaggle wants one; kgtts does not choose it."""
    with pytest.raises(UsageError, match="licence") as caught:
        bring(None)
    assert "CC-BY-4.0" in str(caught.value.hint)
    assert SOURCE not in fake.datasets


def test_a_licence_can_be_changed(bring: Callable[..., Uploaded], fake: FakeKaggle) -> None:
    """It is not part of a version: a dataset keeps all else that it says of itself."""
    bring()
    assert not bring("CC-BY-4.0").is_new
    assert fake.details[SOURCE].license == "CC-BY-4.0"
    assert fake.details[SOURCE].title == "My voice data"


def test_a_403_is_not_absence(bring: Callable[..., Uploaded], fake: FakeKaggle) -> None:
    """Only the account's list says that there is no such dataset."""
    bring()
    fake.next("dataset_files", ForbiddenError("no"))
    assert bring(None).before is UploadState.DIFFERENT


def test_an_archive_that_was_not_unpacked_is_told(
    bring: Callable[..., Uploaded], fake: FakeKaggle, place: Path
) -> None:
    """The fake does not unpack: no session would find the recordings."""
    for number in range(60):
        (place / "wavs" / f"{number}.wav").write_text(str(number))
    with pytest.raises(RefusedError, match="did not unpack"):
        bring()


def test_what_changes_while_it_is_packed_is_not_uploaded(fake: FakeKaggle, place: Path) -> None:
    """The hash would name what Kaggle does not hold, and the change would never be uploaded."""
    for number in range(60):
        (place / "wavs" / f"{number}.wav").write_text("RIFF")
    found = read_folder(place)
    (place / "wavs" / "7.wav").write_text("RIFF and more")
    upload = DatasetUpload(fake, fake.clock, SOURCE)
    with pytest.raises(LocalError, match=r"wavs/7\.wav has changed"):
        upload.bring(found, license_name="other", notes="n", sending=Sending())
    assert upload.state(found) is UploadState.ABSENT


@pytest.mark.posix
def test_links_are_left_out_and_named(place: Path, tmp_path: Path) -> None:
    """They may lead to anything on this machine, or in a circle."""
    (tmp_path / "secret.txt").write_text("x")
    for name, target in (("a.txt", tmp_path / "secret.txt"), ("deep", tmp_path), ("circle", place)):
        (place / name).symlink_to(target)
    (place / "again.wav").symlink_to(place / "wavs" / "a.wav")
    found = read_folder(place)
    assert {"a.txt (a link)", "deep (a link)", "circle (a link)"} <= set(found.left_out)
    assert "MyTTSDataset/again.wav" in found.files
