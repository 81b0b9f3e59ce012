"""Datasets with all their versions, filled by hand or uploaded.

A folder ROOT/datasets/OWNER/SLUG is version 1 of a dataset and always ready. Uploaded versions lie in
ROOT/uploaded and become ready once they have been processed for `dataset_processing_s`. `[?]` Guesses: how
refusals are worded, and what a kernel sees while a first version is processed (here: nothing).
"""

import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter
from slugify import slugify

from orchestrator.emulator.options import WaitableClock
from orchestrator.emulator.service.exceptions import DatasetRejectedError
from orchestrator.emulator.service.files import is_safe_name, remove_tree, write_bytes_atomically
from orchestrator.emulator.service.uploads import StoredUpload, UploadFolder

_LENGTHS = range(6, 51)  # Characters of titles and slugs (client 2.2.4, dataset_create_new).
_ALWAYS = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One version of a dataset."""

    number: int
    notes: str
    created_at: datetime
    ready_at: datetime


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset with its versions, oldest first: at least one."""

    owner: str
    slug: str
    title: str
    private: bool
    versions: tuple[DatasetVersion, ...]

    @property
    def ref(self) -> str:
        """`owner/slug`."""
        return f"{self.owner}/{self.slug}"


_DATASET = TypeAdapter(Dataset)


class Datasets:
    """All datasets of an emulator. Thread-safe.

    Args:
        root: the emulator's folder.
        uploads: the files that versions are made of.
        username: the owner of the account.
        clock: the time that versions become ready by.
        processing_s: how long a version is processed before it is ready, in seconds.
    """

    def __init__(
        self, root: Path, uploads: UploadFolder, username: str, clock: WaitableClock, processing_s: float
    ) -> None:
        self._root = root
        self._uploads = uploads
        self._username = username
        self._clock = clock
        self._processing = timedelta(seconds=processing_s)
        self._lock = threading.RLock()

    def find(self, owner: str, slug: str) -> Dataset | None:
        """A dataset by its name; None if there is none."""
        if not is_safe_name(owner) or not is_safe_name(slug):
            return None
        by_hand = self._root / "datasets" / owner / slug
        record = self._uploaded(owner, slug) / "dataset.json"
        first: tuple[DatasetVersion, ...] = ()
        if by_hand.is_dir():
            changed = datetime.fromtimestamp(by_hand.stat().st_mtime, UTC)
            first = (DatasetVersion(1, "", changed, _ALWAYS),)
        with self._lock:
            if not record.is_file():
                return Dataset(owner, slug, slug, private=True, versions=first) if first else None
            found = _DATASET.validate_json(record.read_bytes())
        # If the folder was filled after version 1 was uploaded, it is not a version.
        return replace(found, versions=first + found.versions) if found.versions[0].number > 1 else found

    def is_ready(self, version: DatasetVersion) -> bool:
        """Whether a version has been processed and can be mounted."""
        return version.ready_at <= self._clock.now()

    def folder(self, dataset: Dataset, number: int) -> Path:
        """The folder of a version's files."""
        uploaded = self._uploaded(dataset.owner, dataset.slug) / str(number)
        return uploaded if uploaded.is_dir() else self._root / "datasets" / dataset.owner / dataset.slug

    def create(self, owner: str, slug: str, title: str, tokens: Sequence[str], *, private: bool) -> Dataset:
        """Create a dataset from uploaded files.

        Args:
            owner: the owner as given in the request.
            slug: the dataset's slug.
            title: the dataset's title.
            tokens: the uploads that become version 1.
            private: whether others cannot see it.

        Raises:
            DatasetRejectedError: Kaggle would refuse it; nothing was created.
        """
        with self._lock:
            self._check_owner(owner)
            for what, text in (("title", title), ("slug", slug)):
                if len(text) not in _LENGTHS:
                    raise DatasetRejectedError(f"The dataset {what} must be between 6 and 50 characters")
            if slugify(slug) != slug:
                raise DatasetRejectedError(f"The slug {slug!r} is not valid.")
            titles = {self._title(path) for path in self._uploaded(self._username, "").glob("*/dataset.json")}
            if self.find(self._username, slug) is not None or title in titles:
                raise DatasetRejectedError(
                    f'The requested title "{title}" is already in use by a dataset. '
                    "Please choose another title."
                )
            return self._add(Dataset(self._username, slug, title, private, ()), 1, tokens, "Initial release")

    def add_version(self, owner: str, slug: str, tokens: Sequence[str], notes: str) -> Dataset:
        """Create a version of a dataset that holds the uploaded files and no others.

        Raises:
            DatasetRejectedError: Kaggle would refuse it; nothing was created.
        """
        with self._lock:
            self._check_owner(owner)
            dataset = self.find(self._username, slug)
            if dataset is None:
                raise DatasetRejectedError(f"Dataset {owner}/{slug} was not found")
            if not notes:
                raise DatasetRejectedError("Version notes are required.")
            number = dataset.versions[-1].number + 1
            by_hand = not (self._uploaded(self._username, slug) / "1").is_dir()
            kept = dataset.versions[1:] if by_hand else dataset.versions
            return self._add(replace(dataset, versions=kept), number, tokens, notes)

    def _add(self, dataset: Dataset, number: int, tokens: Sequence[str], notes: str) -> Dataset:
        uploads = self._complete(tokens)
        folder = self._uploaded(dataset.owner, dataset.slug) / str(number)
        remove_tree(folder)  # Left by an emulator that was killed before it wrote the record.
        folder.mkdir(parents=True)
        for upload in uploads:
            self._uploads.content(upload).rename(folder / upload.name)
            self._uploads.delete(upload)
            _unpack(folder / upload.name)
        now = self._clock.now()
        version = DatasetVersion(number, notes, now, now + self._processing)
        changed = replace(dataset, versions=(*dataset.versions, version))
        write_bytes_atomically(folder.parent / "dataset.json", _DATASET.dump_json(changed, indent=1))
        return changed

    def _complete(self, tokens: Sequence[str]) -> list[StoredUpload]:
        found = [upload for token in tokens if (upload := self._uploads.find(token))]
        uploads = [upload for upload in found if self._uploads.is_complete(upload)]
        if not uploads or len(uploads) < len(tokens):
            raise DatasetRejectedError("The files were not uploaded, or not completely.")
        if len({upload.name for upload in uploads}) < len(uploads):
            raise DatasetRejectedError("Two files have the same name.")
        return uploads

    def _check_owner(self, owner: str) -> None:
        if owner.lower() != self._username.lower():
            raise DatasetRejectedError("You do not have permission to save a dataset for another user.")

    def _title(self, record: Path) -> str:
        return _DATASET.validate_json(record.read_bytes()).title

    def _uploaded(self, owner: str, slug: str) -> Path:
        return self._root / "uploaded" / owner / slug


def _unpack(file: Path) -> None:
    """Put the files of an uploaded ZIP archive into a folder of its name, in its place.

    So Kaggle shows a folder that the official client uploads with `--dir-mode zip`. What is no archive stays.
    """
    if file.suffix.lower() != ".zip" or not zipfile.is_zipfile(file) or file.with_suffix("").exists():
        return
    with zipfile.ZipFile(file) as archive:
        archive.extractall(file.with_suffix(""))  # It never leaves that folder.
    file.unlink()
