"""Datasets: those that were filled by hand, and those that were uploaded, with all their versions.

A folder ROOT/datasets/OWNER/SLUG is version 1 of a dataset and always ready; versions that come over the wire
lie in ROOT/uploaded and are ready when their time of preparation has passed. `[?]` marks what Kaggle does not
tell: the words of refusals, and what a kernel sees while a first version is prepared (here: nothing).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter
from slugify import slugify

from orchestrator.emulator.service.blobs import Blob, Blobs
from orchestrator.emulator.service.clock import Clock
from orchestrator.emulator.service.store import Store, is_safe_name, write_atomically
from orchestrator.emulator.service.trees import remove_tree

_LENGTHS = range(6, 51)  # Of titles and slugs (client 2.2.4, dataset_create_new).
_LONG_READY = datetime.min.replace(tzinfo=UTC)


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


class DatasetRejectedError(Exception):
    """The dataset or its version is refused; the text is the answer's `error`."""


class Datasets:
    """All datasets of an emulator. Thread-safe.

    Args:
        store: the emulator's folder.
        blobs: the files that a version is made of.
        username: whose account it is.
        clock: the time that versions become ready by.
        processing_s: how long a version is prepared, in seconds.
    """

    def __init__(self, store: Store, blobs: Blobs, username: str, clock: Clock, processing_s: float) -> None:
        self._root = store.root
        self._blobs = blobs
        self._username = username
        self._clock = clock
        self._processing = timedelta(seconds=processing_s)
        self._lock = threading.RLock()

    def find(self, owner: str, slug: str) -> Dataset | None:
        """A dataset by its name; None when there is none."""
        if not is_safe_name(owner) or not is_safe_name(slug):
            return None
        by_hand = self._root / "datasets" / owner / slug
        record = self._uploaded(owner, slug) / "dataset.json"
        first: tuple[DatasetVersion, ...] = ()
        if by_hand.is_dir():
            changed = datetime.fromtimestamp(by_hand.stat().st_mtime, UTC)
            first = (DatasetVersion(1, "", changed, _LONG_READY),)
        with self._lock:
            if not record.is_file():
                return Dataset(owner, slug, slug, private=True, versions=first) if first else None
            found = _DATASET.validate_json(record.read_bytes())
        # A folder that was filled after the upload is not a version of it.
        return replace(found, versions=first + found.versions) if found.versions[0].number > 1 else found

    def is_ready(self, version: DatasetVersion) -> bool:
        """Whether a version has been prepared."""
        return version.ready_at <= self._clock.now()

    def folder(self, dataset: Dataset, number: int) -> Path:
        """Where the files of a version lie."""
        uploaded = self._uploaded(dataset.owner, dataset.slug) / str(number)
        return uploaded if uploaded.is_dir() else self._root / "datasets" / dataset.owner / dataset.slug

    def create(self, owner: str, slug: str, title: str, tokens: Sequence[str], *, private: bool) -> Dataset:
        """Make a dataset of uploaded files.

        Raises:
            DatasetRejectedError: Kaggle would say no; nothing was made.
        """
        with self._lock:
            self._check_owner(owner)
            for what, text in (("title", title), ("slug", slug)):
                if len(text) not in _LENGTHS:
                    raise DatasetRejectedError(f"The dataset {what} must be between 6 and 50 characters")
            if slugify(slug) != slug:
                raise DatasetRejectedError(f"The slug {slug!r} is not valid.")
            titles = {
                self._titled(path) for path in self._uploaded(self._username, "").glob("*/dataset.json")
            }
            if self.find(self._username, slug) is not None or title in titles:
                raise DatasetRejectedError(
                    f'The requested title "{title}" is already in use by a dataset. '
                    "Please choose another title."
                )
            return self._add(Dataset(self._username, slug, title, private, ()), 1, tokens, "Initial release")

    def add_version(self, owner: str, slug: str, tokens: Sequence[str], notes: str) -> Dataset:
        """Make a version of a dataset that holds the uploaded files and no others.

        Raises:
            DatasetRejectedError: Kaggle would say no; nothing was made.
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
        blobs = self._whole(tokens)
        folder = self._uploaded(dataset.owner, dataset.slug) / str(number)
        remove_tree(folder)  # Of an emulator that ended before it wrote the record.
        folder.mkdir(parents=True)
        for blob in blobs:
            self._blobs.whole(blob).rename(folder / blob.name)
            self._blobs.drop(blob)
        now = self._clock.now()
        version = DatasetVersion(number, notes, now, now + self._processing)
        made = replace(dataset, versions=(*dataset.versions, version))
        write_atomically(folder.parent / "dataset.json", _DATASET.dump_json(made, indent=1))
        return made

    def _whole(self, tokens: Sequence[str]) -> list[Blob]:
        blobs = [blob for token in tokens if (blob := self._blobs.find(token)) and self._blobs.is_whole(blob)]
        if not blobs or len(blobs) < len(tokens):
            raise DatasetRejectedError("The files were not uploaded, or not to their end.")
        if len({blob.name for blob in blobs}) < len(blobs):
            raise DatasetRejectedError("Two files have the same name.")
        return blobs

    def _check_owner(self, owner: str) -> None:
        if owner.lower() != self._username.lower():
            raise DatasetRejectedError("You do not have permission to save a dataset for another user.")

    def _titled(self, record: Path) -> str:
        return _DATASET.validate_json(record.read_bytes()).title

    def _uploaded(self, owner: str, slug: str) -> Path:
        return self._root / "uploaded" / owner / slug
