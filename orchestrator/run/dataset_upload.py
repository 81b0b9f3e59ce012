"""Upload a prepared dataset: private, with its folders, only if it changed, and until it is current.

What Kaggle holds is known by a small file in the dataset itself, whose name has the hash of all the others.
Many files travel as one ZIP archive that Kaggle unpacks into a folder of its name, as it does with the
folders of the official client's `--dir-mode zip`: 5,000 files one by one would be 10,000 requests, and an
upload that broke off would begin again.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from kernel_template.contract import DATASET_SCRIPT
from orchestrator.errors import (
    ForbiddenError,
    LocalError,
    NotFoundError,
    RefusedError,
    ServiceError,
    UsageError,
)
from orchestrator.formatting import size
from orchestrator.models import InputDetails, Sending
from orchestrator.ports import Clock, Kaggle
from orchestrator.run.content import content_of, holds, wait, write_marker
from orchestrator.settings.fields import title_from

TOP = PurePosixPath(DATASET_SCRIPT).parts[0]  # `MyTTSDataset`, the guide's folder.
METADATA = ("metadata.csv", "metadata.txt")
# The licences that Kaggle knows (docs/datasets_metadata.md of the official client), the likely ones first.
LICENSES = ("other", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "unknown")
_SEPARATE_FILES = 50  # More than these travel as an archive, as kagglehub does it too.
_LEFT_OUT = ("quarantine", "__pycache__", "Thumbs.db", "desktop.ini")  # And names that begin with a dot.
_PLAIN_TIME = (1980, 1, 1, 0, 0, 0)  # The same files make the same archive, whose upload can be continued.


@dataclass(frozen=True, slots=True)
class LocalDataset:
    """What is to be uploaded.

    Attributes:
        files: by their names in the dataset, with `/` for folders.
        left_out: names in the folder that are not uploaded.
        size: bytes of all files.
        content: a hash of all names and files.
        seen: sizes and times of the files, as they were before they were read.
    """

    files: Mapping[str, Path]
    left_out: tuple[str, ...]
    size: int
    content: str
    seen: Mapping[str, tuple[int, int]]

    @property
    def has_script(self) -> bool:
        """Whether it has a training script of its own."""
        return DATASET_SCRIPT in self.files


class UploadState(StrEnum):
    """What Kaggle has of a folder."""

    CURRENT = "current"  # A session would train on it.
    PREPARING = "preparing"  # Its version is there, and being processed.
    DIFFERENT = "different"  # The newest version holds something else.
    ABSENT = "absent"  # There is no such dataset.


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A dataset that holds the folder now.

    Attributes:
        source: `owner/slug`.
        folder: what it holds.
        before: what Kaggle had of it before.
        is_private: whether only the account sees it.
    """

    source: str
    folder: LocalDataset
    before: UploadState
    is_private: bool

    @property
    def is_new(self) -> bool:
        """Whether anything was uploaded."""
        return self.before in (UploadState.ABSENT, UploadState.DIFFERENT)


def dataset_root(place: Path) -> Path:
    """The folder of a dataset: the one that is named if it has the metadata, else its `MyTTSDataset`.

    Raises:
        UsageError: it holds no dataset.
    """
    root = next((each for each in (place, place / TOP) if _is_dataset(each)), None)
    if root is None:
        why = f"holds no dataset: neither it nor its folder {TOP} has {METADATA[0]}"
        raise UsageError(
            f"{place} {why if place.exists() else 'does not exist'}.",
            hint=f"`kgtts data prepare RECORDINGS --to {place}` makes one",
        )
    return root


def list_folder(place: Path) -> tuple[dict[str, Path], list[str]]:
    """List the files of a dataset's folder (see `dataset_root`).

    Returns:
        The files by their names in the dataset, and the names that are left out.

    Raises:
        UsageError: it holds no dataset.
        LocalError: it cannot be read.
    """
    root = dataset_root(place)
    files, left_out = dict[str, Path](), list[str]()
    try:
        for path in sorted(_walk(root, root.resolve(), left_out)):
            files[f"{TOP}/{path.relative_to(root).as_posix()}"] = path
    except OSError as error:
        raise LocalError(f"Could not read {error.filename or root}: {error.strerror}.") from error
    return files, left_out


def read_folder(place: Path, script: Path | None = None) -> LocalDataset:
    """Read what a folder gives, as `list_folder`.

    Args:
        place: the folder.
        script: a training script to put with it.

    Raises:
        UsageError: it holds no dataset.
        LocalError: a file cannot be read.
    """
    files, left_out = list_folder(place)
    try:
        if script is not None:
            files[DATASET_SCRIPT] = script
        seen, content = _stamps(files), content_of(files)
    except OSError as error:
        raise LocalError(f"Could not read {error.filename or place}: {error.strerror}.") from error
    return LocalDataset(files, tuple(sorted(left_out)), sum(size for size, _ in seen.values()), content, seen)


def _stamps(files: Mapping[str, Path]) -> dict[str, tuple[int, int]]:
    return {name: ((found := path.stat()).st_size, found.st_mtime_ns) for name, path in files.items()}


def _is_dataset(folder: Path) -> bool:
    return any((folder / name).is_file() for name in METADATA)


def _walk(folder: Path, top: Path, left_out: list[str]) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name in _LEFT_OUT:
            left_out.append(path.name)
        elif path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(top)):
            # It may lead to anything on this machine, or in a circle.
            left_out.append(f"{path.name} (a link)")
        elif path.is_dir():
            yield from _walk(path, top, left_out)
        elif path.is_file():
            yield path


class DatasetUpload:
    """Brings a folder to a dataset.

    Args:
        kaggle: the account.
        clock: time.
        source: `owner/slug`.
    """

    def __init__(self, kaggle: Kaggle, clock: Clock, source: str) -> None:
        self._kaggle = kaggle
        self._clock = clock
        self._source = source

    def state(self, folder: LocalDataset) -> UploadState:
        """Find out what Kaggle has of the folder.

        Raises:
            ServiceError: Kaggle could not be read.
        """
        try:
            found = self._holds(folder)
        except (NotFoundError, ForbiddenError):
            # Kaggle answers 403 for what is absent: two answers must agree.
            listed = [name.casefold() for name in self._kaggle.my_datasets()]
            return UploadState.DIFFERENT if self._source.casefold() in listed else UploadState.ABSENT
        if not found:
            return UploadState.DIFFERENT
        return UploadState.CURRENT if self._is_ready() else UploadState.PREPARING

    def bring(
        self, folder: LocalDataset, *, license_name: str | None, notes: str, sending: Sending
    ) -> Uploaded:
        """Upload the folder if Kaggle does not have it, and wait until sessions get it.

        Args:
            folder: what to upload.
            license_name: the licence; needed for a dataset that does not exist yet.
            notes: what is new in this version.
            sending: as for the port.

        Raises:
            UsageError: a licence is needed.
            RefusedError: Kaggle refused it, or could not process it.
            ServiceError: Kaggle could not be reached, or was not ready in time; trying again continues.
            LocalError: this machine has no room for the archive, or a file cannot be read.
        """
        before = self.state(folder)
        if before is UploadState.ABSENT and not license_name:
            raise UsageError(
                f"The dataset {self._source} does not exist yet, and Kaggle asks for its licence.",
                hint=f"add --license NAME, one of {', '.join(LICENSES)}; private data may be `other`",
            )
        if before is UploadState.DIFFERENT and not self._is_ready():
            sending.say(f"Kaggle is still preparing the version of {self._source} before this one.")
            wait(self._clock, self._source, self._is_ready)
        if before in (UploadState.ABSENT, UploadState.DIFFERENT):
            self._send(folder, license_name or "", notes, sending)
        if before is not UploadState.CURRENT:
            sending.say(f"Kaggle is preparing {self._source}; this takes seconds to minutes.")
            wait(self._clock, self._source, lambda: self._is_ready() and self._holds(folder))
        details = self._kaggle.dataset_details(self._source)
        if license_name and details.license.casefold() != license_name.casefold():
            changed = InputDetails(
                details.title,
                private=details.private,
                subtitle=details.subtitle,
                description=details.description,
                license=license_name,
                keywords=details.keywords,
            )
            self._kaggle.update_dataset(self._source, changed)
        return Uploaded(self._source, folder, before, details.private)

    def _send(self, folder: LocalDataset, license_name: str, notes: str, sending: Sending) -> None:
        title = title_from(self._source.rpartition("/")[2])
        details = InputDetails(title, license=license_name, description="Recordings and texts of a voice.")
        with _packed(folder) as files:
            try:
                self._kaggle.upload_dataset(self._source, details, files, notes=notes, sending=sending)
            except ServiceError:
                if not self._may_hold(folder):  # Only the answer was lost.
                    raise

    def _may_hold(self, folder: LocalDataset) -> bool:
        try:
            return self._holds(folder)
        except (RefusedError, ServiceError):
            return False

    def _holds(self, folder: LocalDataset) -> bool:
        """Whether the newest version, as Kaggle lists it, is this folder.

        Raises:
            RefusedError: it is, but Kaggle did not unpack the archive.
        """
        archive = f"{TOP}.zip"
        files = list(self._kaggle.dataset_files(self._source))
        if not holds(files, folder.content):
            return False
        if any(file.name == archive for file in files):
            raise RefusedError(
                f"Kaggle has {archive} in {self._source}, but did not unpack it.",
                hint=f"see https://www.kaggle.com/datasets/{self._source}",
            )
        return True

    def _is_ready(self) -> bool:
        try:
            return self._kaggle.dataset_ready(self._source)
        except (NotFoundError, ForbiddenError):
            return False  # It was made just now, and is not visible yet.


@contextmanager
def _packed(folder: LocalDataset) -> Iterator[dict[str, Path]]:
    """Give the files to send: few as they are, many in an archive; with the file that names the content.

    Raises:
        LocalError: there is no room for the archive.
    """
    with tempfile.TemporaryDirectory(prefix="kgtts-") as made:
        place = Path(made)
        marker = write_marker(place, folder.content, {"files": len(folder.files), "bytes": folder.size})
        if len(folder.files) <= _SEPARATE_FILES:
            files = dict(folder.files)
            for name, path in folder.files.items():
                if path.name != name.rpartition("/")[2]:  # A script of another name.
                    files[name] = place / name.rpartition("/")[2]
                    shutil.copyfile(path, files[name])
        else:
            free = shutil.disk_usage(place).free
            if free < folder.size:
                raise LocalError(
                    f"The archive of the dataset needs {size(folder.size)} in {place.parent}, but only "
                    f"{size(free)} is free.",
                    hint="make room, or set TMPDIR to a folder with room",
                )
            files = {f"{TOP}.zip": place / f"{TOP}.zip"}
            _zip(folder, files[f"{TOP}.zip"])
        _ensure_unchanged(folder)
        yield {**files, marker.name: marker}


def _ensure_unchanged(folder: LocalDataset) -> None:
    """See that what is sent is what the hash is of.

    Raises:
        LocalError: it is not.
    """
    try:
        now = _stamps(folder.files)
    except OSError:
        now = {}
    if changed := [name for name, seen in folder.seen.items() if now.get(name) != seen]:
        raise LocalError(
            f"{changed[0]} has changed since the upload began, so nothing was uploaded.",
            hint="wait until `kgtts data prepare` has ended, and run the same command again",
        )


def _zip(folder: LocalDataset, target: Path) -> None:
    """Pack the files without their top folder, since Kaggle makes one of the archive's name."""
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, path in sorted(folder.files.items()):
                entry = zipfile.ZipInfo(name.removeprefix(f"{TOP}/"), _PLAIN_TIME)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                with path.open("rb") as source, archive.open(entry, "w") as packed:
                    shutil.copyfileobj(source, packed, 1 << 20)
    except OSError as error:
        raise LocalError(f"Could not pack the dataset: {error.strerror or error}.") from error
