"""Datasets through the client on the emulator: made, versioned, prepared, and uploaded."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from orchestrator.errors import (
    ForbiddenError,
    KgttsError,
    LocalError,
    NotFoundError,
    RefusedError,
    ServiceError,
)
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from orchestrator.models import InputDetails, InputFile
from tests.kaggle.helpers import DETAILS, SOURCE, TITLE, answering, make_files, run_to_end, stored
from tests.support import KEY, USER

LOOK = """
import os, pathlib
root = pathlib.Path(os.environ.get("KGTTS_KAGGLE_ROOT", "/kaggle"))
print(sorted(path.name for path in (root / "input").rglob("*.txt")))
"""


def listed(kaggle: KaggleClient) -> list[InputFile]:
    """Return the files that Kaggle lists."""
    return list(kaggle.dataset_files(SOURCE))


def test_a_dataset_is_made_and_gets_versions(
    emulator: Emulator, kaggle: KaggleClient, tmp_path: Path
) -> None:
    """The first upload makes a private dataset; each later one a version with only its files."""
    for ask in (kaggle.dataset_ready, lambda source: list(kaggle.dataset_files(source))):
        with pytest.raises(ForbiddenError):
            ask(SOURCE)
    kaggle.upload_dataset(
        SOURCE, DETAILS, make_files(tmp_path / "1", a_txt=b"one", empty_log=b""), notes="first"
    )
    assert listed(kaggle) == [InputFile("a.txt", 3), InputFile("empty.log", 0)]
    assert kaggle.dataset_ready(SOURCE)
    kaggle.upload_dataset(SOURCE, DETAILS, make_files(tmp_path / "2", b_txt="দুই".encode()), notes="second")
    assert listed(kaggle) == [InputFile("b.txt", 9)]
    assert stored(emulator, 1, "a.txt") == b"one"
    assert stored(emulator, 2, "b.txt") == "দুই".encode()
    found = emulator.backend.datasets.find(*SOURCE.split("/"))
    assert found is not None
    assert found.private
    assert (found.title, [version.notes for version in found.versions]) == (
        TITLE,
        ["Initial release", "second"],
    )


def test_a_kernel_mounts_the_version_before_until_the_newest_is_ready(
    start_emulator: Callable[..., Emulator], tmp_path: Path
) -> None:
    """While the first is prepared nothing can be mounted, and a push is accepted."""
    emulator = start_emulator(dataset_processing_s=3600.0)
    client = connect({"KGTTS_KAGGLE_URL": emulator.url}, login=(USER, KEY))
    client.upload_dataset(SOURCE, DETAILS, make_files(tmp_path / "1", a_txt=b"one"), notes="first")
    assert not client.dataset_ready(SOURCE)
    assert listed(client) == [InputFile("a.txt", 3)]
    ref = run_to_end(client, LOOK, dataset_sources=(SOURCE,))
    assert "[]" in "".join(event.text for event in client.stored_log(ref))
    client.close()


def test_a_ready_version_is_mounted(emulator: Emulator, kaggle: KaggleClient, tmp_path: Path) -> None:
    """A session that starts after the newest version is ready sees its files."""
    for number in (1, 2):
        files = make_files(tmp_path / str(number), **{f"{number}_txt": b"x"})
        kaggle.upload_dataset(SOURCE, DETAILS, files, notes="x")
    ref = run_to_end(kaggle, LOOK, dataset_sources=(SOURCE,))
    assert "['2.txt']" in "".join(event.text for event in kaggle.stored_log(ref))


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("method", ["CreateDataset", "CreateDatasetVersion"])
def test_a_version_is_asked_for_once(
    emulator: Emulator, kaggle: KaggleClient, tmp_path: Path, method: str, status: int
) -> None:
    """A repeated call could make two versions; Kaggle can be read afterwards."""
    if method == "CreateDatasetVersion":
        kaggle.upload_dataset(SOURCE, DETAILS, make_files(tmp_path / "1", a_txt=b"one"), notes="x")
    emulator.server.faults.fail_next(status, method=method)
    with pytest.raises(ServiceError):
        kaggle.upload_dataset(SOURCE, DETAILS, make_files(tmp_path / "2", b_txt=b"two"), notes="x")
    if method == "CreateDatasetVersion":
        assert listed(kaggle) == [InputFile("a.txt", 3)]
    else:
        with pytest.raises(ForbiddenError):
            listed(kaggle)


@pytest.mark.parametrize("method", ["StartBlobUpload", "CreateDataset"])
@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_login_that_may_not_write_datasets_is_refused(
    emulator: Emulator, kaggle: KaggleClient, tmp_path: Path, method: str, status: int
) -> None:
    """For an upload 403 and 404 mean a refusal, not something missing."""
    emulator.server.faults.fail_next(status, method=method)
    with pytest.raises(RefusedError, match=str(status)):
        kaggle.upload_dataset(SOURCE, DETAILS, make_files(tmp_path / "1", a_txt=b"one"), notes="x")


def test_a_refusal_in_an_answer_of_200_is_told(kaggle: KaggleClient, tmp_path: Path) -> None:
    """Kaggle's own words are shown, here for a title that is taken."""
    files = make_files(tmp_path / "1", a_txt=b"one")
    kaggle.upload_dataset(f"{USER}/another", DETAILS, files, notes="x")
    with pytest.raises(RefusedError, match="already in use by a dataset"):
        kaggle.upload_dataset(SOURCE, DETAILS, files, notes="x")
    with pytest.raises(RefusedError, match="permission"):
        kaggle.upload_dataset("somebody/else-kept", InputDetails("Another title"), files, notes="x")


def test_a_file_that_is_gone_is_a_local_error(kaggle: KaggleClient, tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(LocalError, match=r"Could not upload gone\.pth: No such file"):
        kaggle.upload_dataset(SOURCE, DETAILS, {"gone.pth": tmp_path / "gone.pth"}, notes="x")


def test_a_folder_filled_by_hand_is_always_ready(emulator: Emulator, kaggle: KaggleClient) -> None:
    """Inputs on the emulator are ready at once."""
    (emulator.backend.state.root / "datasets" / USER / "by-hand").mkdir(parents=True)
    assert kaggle.dataset_ready(f"{USER}/by-hand")


@pytest.mark.parametrize(("status", "error"), [("FAILED", RefusedError), ("DELETED", NotFoundError)])
def test_a_dataset_that_cannot_be_mounted_is_said(
    workplace: object, status: str, error: type[KgttsError]
) -> None:
    """A version that Kaggle could not process, and a deleted dataset, are errors."""
    with answering("application/json", json.dumps({"status": status}).encode()) as url:
        client = connect({"KGTTS_KAGGLE_URL": url}, login=(USER, KEY))
        with pytest.raises(error, match=SOURCE):
            client.dataset_ready(SOURCE)
        client.close()
