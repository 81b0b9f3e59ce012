"""Datasets with all their versions, filled by hand or uploaded.

A folder ROOT/datasets/OWNER/SLUG is version 1 of a dataset and always ready. Uploaded versions lie in
ROOT/uploaded and become ready once they have been processed for `dataset_processing_s`. `[?]` Guesses: how
most refusals are worded, and what a kernel sees while a first version is processed (here: nothing).
"""

import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from slugify import slugify

from orchestrator.emulator.service.bundles import ALWAYS, Bundles, BundleVersion, NewFile
from orchestrator.emulator.service.exceptions import (
    ApiError,
    RejectedError,
    absent,
    permission_denied,
)
from orchestrator.emulator.service.files import is_safe_name, write_bytes_atomically
from orchestrator.emulator.service.uploads import UploadKind
from orchestrator.files import remove_tree

# Characters of titles and slugs (client 2.2.5, dataset_create_new; its documentation allows slugs of 3).
_LENGTHS = range(6, 51)
_SUBTITLE_LENGTHS = range(20, 81)
# From the client's documentation (docs/datasets_metadata.md, 2026). It also has `copyright-authors`, which
# Kaggle refuses, as users report.
LICENSES = frozenset(
    {
        "AGPL-3.0",
        "CC-BY-3.0",
        "CC-BY-3.0-IGO",
        "CC-BY-4.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-ND-4.0",
        "CC-BY-NC-SA-3.0-IGO",
        "CC-BY-NC-SA-4.0",
        "CC-BY-ND-4.0",
        "CC-BY-SA-3.0",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "CDLA-Permissive-1.0",
        "CDLA-Sharing-1.0",
        "DbCL-1.0",
        "EU-ODP-Legal-Notice",
        "FDL-1.3",
        "GPL-2.0",
        "GPL-3.0",
        "LGPL-3.0",
        "ODC-BY-1.0",
        "ODbL-1.0",
        "PDDL",
        "US-Government-Works",
        "apache-2.0",
        "other",
        "unknown",
    }
)
FREQUENCIES = ("not specified", "never", "annually", "quarterly", "monthly", "weekly", "daily", "hourly")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset with its versions, oldest first: at least one.

    `descriptions` are those of its files, by their names.
    """

    owner: str
    slug: str
    title: str
    private: bool
    versions: tuple[BundleVersion, ...]
    subtitle: str = ""
    description: str = ""
    license: str = "unknown"
    keywords: tuple[str, ...] = ()
    collaborators: Mapping[str, str] = field(default_factory=dict)  # Names, and their roles.
    sources: str = ""
    frequency: str = FREQUENCIES[0]
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """`owner/slug`."""
        return f"{self.owner}/{self.slug}"

    @property
    def key(self) -> int:
        """The numeric id."""
        return zlib.crc32(self.ref.lower().encode())


_DATASET = TypeAdapter(Dataset)


class Datasets:
    """All datasets of an emulator. Thread-safe.

    Args:
        root: the emulator's folder.
        bundles: makes versions of uploads, and knows which are ready.
        username: the owner of the account.
        absent: the HTTP status for what does not exist, 403 or 404.
    """

    def __init__(self, root: Path, bundles: Bundles, username: str, absent: int) -> None:
        self._root = root
        self.bundles = bundles
        self._username = username
        self._absent = absent
        self._lock = threading.RLock()

    def all(self) -> list[Dataset]:
        """Every dataset, the last changed first."""
        places = {
            (path.parent.name, path.name)
            for pattern in ("datasets/*/*", "uploaded/*/*")
            for path in self._root.glob(pattern)
        }
        found = [dataset for owner, slug in places if (dataset := self.find(owner, slug))]
        return sorted(found, key=lambda item: (item.versions[-1].created_at, item.ref), reverse=True)

    def find(self, owner: str, slug: str) -> Dataset | None:
        """A dataset by its name; None if there is none."""
        if not is_safe_name(owner) or not is_safe_name(slug):
            return None
        by_hand = self._by_hand(owner, slug)
        record = self._uploaded(owner, slug) / "dataset.json"
        first: tuple[BundleVersion, ...] = ()
        if by_hand.is_dir():
            changed = datetime.fromtimestamp(by_hand.stat().st_mtime, UTC)
            first = (BundleVersion(1, "", changed, ALWAYS),)
        with self._lock:
            if not record.is_file():
                return Dataset(owner, slug, slug, private=True, versions=first) if first else None
            found = _DATASET.validate_json(record.read_bytes())
        # If the folder was filled after version 1 was uploaded, it is not a version.
        uploaded = found.versions
        versions = uploaded if uploaded and uploaded[0].number == 1 else first + uploaded
        return replace(found, versions=versions) if versions else None

    def get(self, owner: str, slug: str, number: int = 0) -> tuple[Dataset, BundleVersion]:
        """A dataset, and its version `number`; 0 is the newest.

        Raises:
            ApiError: 403 or 404 if there is no such dataset, 404 if it has no such version.
        """
        found = self.find(owner, slug)
        if found is None:
            raise absent(self._absent, "datasets.get", f"Dataset {owner}/{slug}")
        versions = [version for version in found.versions if number in (0, version.number)]
        if not versions:
            raise ApiError(404, f"Version {number} of dataset {owner}/{slug} was not found")
        return found, versions[-1]

    def find_key(self, key: int) -> Dataset | None:
        """A dataset by its numeric id; None if there is none."""
        return next((dataset for dataset in self.all() if dataset.key == key), None)

    def folder(self, dataset: Dataset, number: int) -> Path:
        """The folder of a version's files."""
        uploaded = self._uploaded(dataset.owner, dataset.slug) / str(number)
        return uploaded if uploaded.is_dir() else self._by_hand(dataset.owner, dataset.slug)

    def archive(self, dataset: Dataset, number: int) -> Path:
        """A ZIP archive of a version's files."""
        return self.bundles.archive(self.folder(dataset, number), f"{dataset.ref}/{number}", ".zip")

    def create(self, new: Dataset, files: Sequence[NewFile]) -> Dataset:
        """Create a dataset from uploaded files.

        Args:
            new: the dataset, without versions.
            files: what becomes version 1.

        Raises:
            RejectedError: Kaggle would refuse it; nothing was created.
        """
        with self._lock:
            if new.owner.lower() != self._username.lower():
                raise RejectedError("You do not have permission to save a dataset for another user.")
            # Without a slug in the request, Kaggle makes one of the title.
            slug = new.slug or slugify(new.title)
            new = replace(new, owner=self._username, slug=slug)
            if faults := _faults(new):
                raise RejectedError(faults[0])
            if len(slug) not in _LENGTHS:
                raise RejectedError("The dataset slug must be between 6 and 50 characters")
            if slugify(slug) != slug:
                raise RejectedError('Slug can only contain alphanumeric or "-" characters')
            for other in self.all():
                taken = new.title == other.title or slug == other.slug
                if taken and other.owner.lower() == self._username.lower():
                    raise RejectedError(
                        f'The requested title "{new.title}" is already in use by a dataset. '
                        "Please choose another title."
                    )
            return self._add(new, 1, files, "Initial release")

    def add_version(
        self, dataset: Dataset, files: Sequence[NewFile], notes: str, *, alone: bool = False
    ) -> Dataset:
        """Create a version of a dataset that holds the uploaded files and no others.

        Args:
            dataset: the dataset, with its metadata from now on.
            files: the files.
            notes: what is new.
            alone: whether all earlier versions are deleted.

        Raises:
            RejectedError: Kaggle would refuse it; nothing was created.
            ApiError: 403, it is another account's, or its newest version is still processed.
        """
        with self._lock:
            self._check_mine(dataset)
            if self.bundles.processing.exclusive and not self.bundles.is_ready(dataset.versions[-1]):
                raise permission_denied("datasets.update")  # kagglehub #181: "wait until it is processed".
            if not notes:
                raise RejectedError("Version notes are required.")
            if faults := _faults(dataset):
                raise RejectedError(faults[0])
            if alone and self._has_by_hand(dataset):
                raise RejectedError("The emulator does not delete the version that is a folder of yours.")
            added = self._add(dataset, dataset.versions[-1].number + 1, files, notes, alone=alone)
            for version in dataset.versions if alone else ():
                remove_tree(self._uploaded(dataset.owner, dataset.slug) / str(version.number))
            return added

    def update(self, dataset: Dataset, **changes: Any) -> list[str]:
        """Change a dataset's metadata; if something is wrong with it, return what, and change nothing.

        Raises:
            ApiError: 403, it is another account's.
        """
        with self._lock:
            self._check_mine(dataset)
            changed = replace(dataset, **changes)
            faults = _faults(changed)
            if any(other.title == changed.title and other.ref != changed.ref for other in self.all()):
                faults.append(f'The requested title "{changed.title}" is already in use by a dataset.')
            if not faults:
                self._save(changed)
            return faults

    def delete(self, dataset: Dataset) -> None:
        """Delete a dataset with all its versions.

        Raises:
            ApiError: 403, it is another account's; 400, it is a folder that was filled by hand.
        """
        with self._lock:
            self._check_mine(dataset)
            if self._has_by_hand(dataset):
                folder = self._by_hand(dataset.owner, dataset.slug)
                raise ApiError(400, f"The emulator does not delete a folder of yours: remove {folder}.")
            folder = self._uploaded(dataset.owner, dataset.slug)
            # The record goes first: half a dataset must not come back after a crash.
            (folder / "dataset.json").unlink(missing_ok=True)
            remove_tree(folder)

    def _check_mine(self, dataset: Dataset) -> None:
        if dataset.owner.lower() != self._username.lower():
            raise permission_denied("datasets.update")

    def _add(
        self, dataset: Dataset, number: int, files: Sequence[NewFile], notes: str, *, alone: bool = False
    ) -> Dataset:
        folder = self._uploaded(dataset.owner, dataset.slug) / str(number)
        descriptions = self.bundles.fill(folder, files, UploadKind.DATASET)
        version = self.bundles.version(number, notes)
        changed = replace(
            dataset,
            versions=(version,) if alone else (*dataset.versions, version),
            descriptions={**dataset.descriptions, **descriptions},
        )
        self._save(changed)
        return changed

    def _save(self, dataset: Dataset) -> None:
        """Write the record, which leaves out a version that was filled by hand."""
        kept = dataset.versions[1:] if self._has_by_hand(dataset) else dataset.versions
        record = self._uploaded(dataset.owner, dataset.slug) / "dataset.json"
        write_bytes_atomically(record, _DATASET.dump_json(replace(dataset, versions=kept), indent=1))

    def _has_by_hand(self, dataset: Dataset) -> bool:
        """Whether its first version is a folder that was filled by hand."""
        return (
            bool(dataset.versions)
            and dataset.versions[0].number == 1
            and not (self._uploaded(dataset.owner, dataset.slug) / "1").is_dir()
        )

    def _by_hand(self, owner: str, slug: str) -> Path:
        return self._root / "datasets" / owner / slug

    def _uploaded(self, owner: str, slug: str) -> Path:
        return self._root / "uploaded" / owner / slug


def _faults(dataset: Dataset) -> list[str]:
    """What Kaggle would not accept in a dataset's metadata."""
    return [*_faults_of_texts(dataset), *_faults_of_words(dataset)]


def _faults_of_texts(dataset: Dataset) -> Iterable[str]:
    if len(dataset.title) not in _LENGTHS:
        yield "The dataset title must be between 6 and 50 characters"
    if dataset.subtitle and len(dataset.subtitle) not in _SUBTITLE_LENGTHS:
        yield "Subtitle length must be between 20 and 80 characters"


def _faults_of_words(dataset: Dataset) -> Iterable[str]:
    if dataset.license not in LICENSES:
        yield f"The license {dataset.license!r} is not valid."
    if dataset.frequency not in FREQUENCIES:
        yield f"The update frequency {dataset.frequency!r} is not valid."
