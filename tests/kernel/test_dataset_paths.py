"""Dataset paths of another machine are replaced by where the data really is."""

from pathlib import Path
from typing import Any

import pytest

from kernel_template.start.dataset_paths import DatasetPaths
from kernel_template.tools.outcome import KernelFailure
from tests.kernel.kit import Log, put, reporter


@pytest.fixture
def mount(root: Path) -> Path:
    """Make a dataset with its metadata two folders deep, and a folder of recordings."""
    folder = root / "datahrbnn"
    put(folder / "MyTTSDataset" / "metadata.csv")
    put(folder / "MyTTSDataset" / "wavs" / "a.wav")
    return folder


def point(mount: Path, log: Log, **entry: Any) -> dict[str, Any]:
    """Correct the path of one dataset entry."""
    base = {"path": "", "meta_file_train": "metadata.csv", "meta_file_val": ""}
    return DatasetPaths(mount, strict=True, report=reporter(log)).correct(0, {**base, **entry})


@pytest.mark.parametrize(
    "path",
    [
        "/kaggle/input/datahrbn/MyTTSDataset",
        "/kaggle/input/datahrbn/mytTSdataset/",
        "C:/data/MyTTSDataset",
        "MyTTSDataset",
        "../MyTTSDataset",
        "/kaggle/input/datahrbnn",
        "/somewhere/else",
        "",
    ],
)
def test_paths_of_another_machine(mount: Path, log: Log, path: str) -> None:
    """The longest matching end decides, then the folder with the metadata; the log reports the change."""
    assert point(mount, log, path=path)["path"] == str(mount / "MyTTSDataset")
    assert "datasets[0].path" in log.text


def test_a_path_that_exists_stays(mount: Path, log: Log) -> None:
    """A correct entry is not changed and nothing is printed."""
    entry = {"path": str(mount / "MyTTSDataset"), "meta_file_train": "metadata.csv", "meta_file_val": ""}
    assert point(mount, log, **entry) == entry
    assert log.text == ""


def test_metadata_named_by_a_long_path(mount: Path, log: Log) -> None:
    """An absolute metadata path of another machine becomes a relative one."""
    place = str(mount / "MyTTSDataset")
    entry = point(mount, log, path=place, meta_file_train="/kaggle/input/old/MyTTSDataset/metadata.csv")
    assert entry["meta_file_train"] == "metadata.csv"


def test_metadata_that_is_not_there(mount: Path, log: Log) -> None:
    """The error names the files that exist and the key to set."""
    with pytest.raises(KernelFailure) as caught:
        point(mount, log, path=str(mount / "MyTTSDataset"), meta_file_train="metadata.txt")
    assert "it has metadata.csv" in caught.value.message
    assert "datasets.0.meta_file_train" in caught.value.message


def test_a_path_cannot_leave_the_mount(mount: Path, log: Log) -> None:
    """`..` in a path is dropped, so that nothing outside of the dataset is used."""
    put(mount.parent / "secret" / "metadata.csv")
    assert point(mount, log, path="x/../../secret")["path"] == str(mount / "MyTTSDataset")
