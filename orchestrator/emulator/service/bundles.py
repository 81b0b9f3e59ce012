"""What datasets and models share: versions made of uploaded files, and archives of whole versions.

A request names its files by the tokens of their uploads, each in a folder of the new version. An uploaded
archive (.zip, .tar) is unpacked into a folder of its name, as Kaggle does with the folders that the official
client sends with `--dir-mode zip` or `tar`.
"""

import gzip
import hashlib
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.emulator.options import WaitableClock
from orchestrator.emulator.service.exceptions import RejectedError
from orchestrator.emulator.service.files import list_files
from orchestrator.emulator.service.uploads import StoredUpload, UploadFolder, UploadKind
from orchestrator.files import remove_tree

_PLAIN_TIME = (1980, 1, 1, 0, 0, 0)  # The same content makes the same archive.


ALWAYS = datetime.min.replace(tzinfo=UTC)  # Versions filled by hand are ready since then.


@dataclass(frozen=True, slots=True)
class BundleVersion:
    """One version of a dataset, or of a model's variation."""

    number: int
    notes: str
    created_at: datetime
    ready_at: datetime


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file of a version that is to be made: the folder that it goes to ("" is the top), and its upload."""

    folder: str
    token: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Processing:
    """How versions are prepared.

    Attributes:
        span: how long it takes until one is ready.
        exclusive: whether a next version is refused meanwhile.
    """

    span: timedelta
    exclusive: bool


class Bundles:
    """Makes the folders of versions, and archives of them.

    Args:
        uploads: the files that versions are made of.
        archives: the folder of the archives.
        clock: the time that versions are made at.
        processing: how versions are prepared.
    """

    def __init__(
        self, uploads: UploadFolder, archives: Path, clock: WaitableClock, processing: Processing
    ) -> None:
        self.clock = clock
        self.processing = processing
        self._uploads = uploads
        self._archives = archives
        self._lock = threading.Lock()

    def version(self, number: int, notes: str) -> BundleVersion:
        """A version that is made now, and ready once it has been processed."""
        now = self.clock.now()
        return BundleVersion(number, notes, now, now + self.processing.span)

    def is_ready(self, version: BundleVersion) -> bool:
        """Whether a version has been processed and can be mounted."""
        return version.ready_at <= self.clock.now()

    def fill(self, folder: Path, files: Sequence[NewFile], kind: UploadKind) -> dict[str, str]:
        """Move uploaded files into `folder`, which uses up their uploads; return their descriptions by name.

        Raises:
            RejectedError: a file was not uploaded whole, or for something else, or there are none, or two
                have one name; nothing was changed.
        """
        uploads = [self._complete(file.token, kind) for file in files]
        places = [_place(file.folder, upload.name) for file, upload in zip(files, uploads, strict=True)]
        if not places:
            raise RejectedError("There are no files.")
        if len({place.lower() for place in places}) < len(places):
            raise RejectedError("Two files have the same name.")
        remove_tree(folder)  # Left by an emulator that was killed before it wrote the record.
        for upload, place in zip(uploads, places, strict=True):
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            self._uploads.content(upload).rename(target)
            self._uploads.delete(upload)
            _unpack(target)
        return {
            place: file.description for place, file in zip(places, files, strict=True) if file.description
        }

    def archive(self, folder: Path, name: str, suffix: str) -> Path:
        """Pack a version's folder as `.zip` or `.tar.gz`, once, and return the archive.

        Args:
            folder: the folder.
            name: what tells it from other folders.
            suffix: the kind of the archive.
        """
        entries = list_files(folder)
        states = [(entry.name, entry.size, (folder / entry.name).stat().st_mtime_ns) for entry in entries]
        place = self._archives / hashlib.sha256(name.encode()).hexdigest()[:16]
        target = place / f"{hashlib.sha256(repr(states).encode()).hexdigest()[:16]}{suffix}"
        with self._lock:
            if not target.exists():
                remove_tree(place)
                place.mkdir(parents=True)
                part = place / "part"
                (_zip if suffix == ".zip" else _tar)(folder, [entry.name for entry in entries], part)
                part.rename(target)
        return target

    def _complete(self, token: str, kind: UploadKind) -> StoredUpload:
        upload = self._uploads.find(token)
        if upload is None or not self._uploads.is_complete(upload):
            raise RejectedError("The files were not uploaded, or not completely.")
        if upload.kind is not kind:
            raise RejectedError(f"The file {upload.name} was not uploaded for a {kind}.")
        return upload


def _place(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _unpack(file: Path) -> None:
    """Replace an archive by a folder of its name with its files; leave any other file alone."""
    target = file.with_suffix("")
    if target.exists():
        return
    suffix = file.suffix.lower()
    if suffix == ".zip" and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                archive.extract(name, target)  # It never leaves that folder.
    elif suffix == ".tar" and tarfile.is_tarfile(file):
        with tarfile.open(file) as packed:
            for member in packed:
                if member.isfile():
                    with suppress(tarfile.FilterError):  # Its name leads out of that folder.
                        packed.extract(member, target, filter="data")
    else:
        return
    file.unlink()


def _zip(folder: Path, names: Sequence[str], target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            entry = zipfile.ZipInfo(name, _PLAIN_TIME)
            entry.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, archive.open(entry, "w") as packed:
                shutil.copyfileobj(source, packed, 1 << 20)


def _tar(folder: Path, names: Sequence[str], target: Path) -> None:
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source:
                archive.addfile(entry, source)
