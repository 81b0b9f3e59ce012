"""Datasets and models of Kaggle on this machine: downloaded whole, unpacked once, renewed if they changed."""

import hashlib
import json
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from orchestrator import untrusted
from orchestrator.download import Fetch, TransferListener, UnsafeNameError, fetch, safe_name
from orchestrator.errors import CredentialsError, LocalError, ServiceError
from orchestrator.files import remove_tree, rename, write_atomically
from orchestrator.formatting import size
from orchestrator.models import InputArchive
from orchestrator.ports import Kaggle

_RECORD = ".kgtts-input.json"  # Beside the files: what the archive that they come from was.
_CHUNK = 1 << 20
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError)


class KaggleInputs:
    """Brings datasets and models to this machine.

    Args:
        kaggle: the account; None uses what was downloaded before.
        folder: where they are kept for the next time.
        listener: hears of downloads.
        say: is told in a sentence what is downloaded, or why what is here is used.
        fetch_files: downloads, as `download.fetch`.
    """

    def __init__(
        self,
        kaggle: Kaggle | None,
        folder: Path,
        listener: TransferListener,
        say: Callable[[str], None],
        fetch_files: Fetch = fetch,
    ) -> None:
        self._kaggle, self._folder, self._listener, self._say = kaggle, folder, listener, say
        self._fetch = fetch_files

    def dataset(self, source: str) -> Path:
        """Give the folder with the newest version of the dataset `owner/slug`.

        Raises:
            CredentialsError: it is not here, and there is no login.
            NotFoundError, ForbiddenError, ServiceError: Kaggle does not give it.
            LocalError: there is no room for it.
        """
        place = self._folder / "datasets" / source
        here = _record(place)
        if self._kaggle is None:
            return self._as_it_is("dataset", source, place)
        try:
            archive = self._kaggle.dataset_archive(source)
        except ServiceError as error:
            if here is None:
                raise
            self._say(f"{error.message} The dataset {source} is used as it was downloaded before.")
            return place
        if here is not None and archive.identity and here.get("identity") == archive.identity:
            return place
        kaggle = self._kaggle
        self._bring("dataset", source, place, archive, lambda: kaggle.dataset_archive(source))
        return place

    def model(self, source: str) -> Path:
        """Give the folder with a model version, `owner/model/framework/variation/version`; it never changes.

        Raises:
            CredentialsError, NotFoundError, ForbiddenError, ServiceError, LocalError: as `dataset`.
        """
        place = self._folder / "models" / source
        if _record(place) is not None:
            return place
        if self._kaggle is None:
            return self._as_it_is("model", source, place)
        kaggle = self._kaggle
        self._bring(
            "model", source, place, kaggle.model_archive(source), lambda: kaggle.model_archive(source)
        )
        return place

    def _as_it_is(self, kind: str, source: str, place: Path) -> Path:
        if _record(place) is None:
            option = "--data FOLDER" if kind == "dataset" else "--voice NAME (`kgtts base list`)"
            raise CredentialsError(
                f"The {kind} {source} is not on this machine, and there is no Kaggle login to get it.",
                hint=f"kgtts train {option}; or log in: kgtts kaggle auth login",
            )
        self._say(f"The {kind} {source} is used as it was downloaded before.")
        return place

    def _bring(
        self, kind: str, source: str, place: Path, archive: InputArchive, again: Callable[[], InputArchive]
    ) -> None:
        """Download an archive and unpack it; one that broke off before goes on, if it is the same."""
        of = "" if archive.size is None else f" ({size(archive.size)})"
        self._say(f"Downloading the {kind} {source} from Kaggle{of}.")
        key = hashlib.sha256(f"{kind} {source} {archive.identity}".encode()).hexdigest()[:16]
        staging = self._folder / "parts" / key
        done = self._fetch([archive.file], staging, self._listener, relist=lambda: [again().file])
        packed, fresh = staging / done.files[0].path, staging / "unpacked"
        try:
            remove_tree(fresh)
            unpack(packed, fresh)
            write_atomically(
                fresh / _RECORD, json.dumps({"source": source, "identity": archive.identity}) + "\n"
            )
            remove_tree(place)
            place.parent.mkdir(parents=True, exist_ok=True)
            rename(fresh, place)
        except OSError as error:
            raise LocalError(f"Could not unpack {source} into {place}: {error.strerror or error}.") from error
        except ServiceError:
            packed.unlink(missing_ok=True)  # The next try fetches it again.
            raise
        remove_tree(staging)


def _record(place: Path) -> dict[str, object] | None:
    return untrusted.read_json_object(place / _RECORD)


def unpack(archive: Path, target: Path) -> None:
    """Unpack a ZIP or tar archive of a server: plain files only, none outside `target`.

    Raises:
        ServiceError: it is damaged, or made to do harm.
        LocalError: there is no room.
        OSError: a file could not be written.
    """
    target.mkdir(parents=True)
    try:
        with (
            zipfile.ZipFile(archive)
            if zipfile.is_zipfile(archive)
            else tarfile.open(archive, "r:*") as opened
        ):
            for name, length, source in _entries(opened):
                if shutil.disk_usage(target).free < length:
                    raise LocalError(
                        f"{name} has {size(length)}, more than is free in {target}.",
                        hint="make room, or set KGTTS_HOME to a folder with room",
                    )
                place = target / safe_name(name)
                place.parent.mkdir(parents=True, exist_ok=True)
                with source as read, place.open("xb") as file:
                    shutil.copyfileobj(read, file, _CHUNK)
                if place.stat().st_size != length:
                    raise ServiceError(f"{archive.name} is damaged: {name} is not whole.")
    except UnsafeNameError as error:
        raise ServiceError(f"{archive.name} is refused: the name {error} in it.") from error
    except FileExistsError as error:
        raise ServiceError(f"{archive.name} is refused: it has the same name twice.") from error
    except _DAMAGED as error:
        raise ServiceError(
            f"{archive.name} arrived damaged: {error}.", hint="run the same command again"
        ) from error


def _entries(opened: zipfile.ZipFile | tarfile.TarFile) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Give the name, size and content of each file in an archive.

    Raises:
        ServiceError: something in it is no plain file.
    """
    if isinstance(opened, zipfile.ZipFile):
        for item in opened.infolist():
            if stat.S_ISLNK(item.external_attr >> 16):
                raise ServiceError(f"The archive is refused: {item.filename[:80]!r} in it is a link.")
            if not item.is_dir():
                yield item.filename, item.file_size, opened.open(item)
        return
    for member in opened:
        content = opened.extractfile(member) if member.isreg() else None
        if content is not None:
            yield member.name.removeprefix("./"), member.size, content
        elif not member.isdir():
            raise ServiceError(f"The archive is refused: {member.name[:80]!r} in it is no plain file.")
