"""Fetching the outputs of a session: safe names, verified content, renamed into place only when whole."""

import contextlib
import json
import re
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.files import write_atomically
from orchestrator.models import OutputFile
from orchestrator.storage import (
    PART_PREFIX,
    PART_SUFFIX,
    CorruptError,
    Downloads,
    StoppedError,
    UnavailableError,
)

if TYPE_CHECKING:
    import requests

INDEX_NAME = ".kgtts-pull.json"
_FILES_AT_ONCE = 4
_LEFTOVER_AFTER_S = 3600.0
# Control characters of both kinds (terminals obey them), lone surrogates (no file system takes them), and
# what Windows reads as a path.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\:]")


class UnsafeNameError(ValueError):
    """A server gave a file name that would leave the target folder or trouble a file system."""


def safe_name(name: str) -> PurePosixPath:
    """The relative path that a server's file name stands for.

    Raises:
        UnsafeNameError: absolute, with `..`, backslashes, drive letters or control characters, or too long.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or not path.parts or _UNSAFE.search(name):
        raise UnsafeNameError(name)
    if any(len(part.encode()) > 255 for part in path.parts) or path.name == INDEX_NAME:  # noqa: PLR2004  # NAME_MAX.
        raise UnsafeNameError(name)
    return path


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file in place: its relative path, size in bytes, and whether it was here already, unchanged."""

    path: PurePosixPath
    size: int
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a fetch brought, and the names that it refused to write."""

    files: Sequence[Fetched]
    refused: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Known:
    etag: str
    size: int
    modified_ns: int


class TransferListener:
    """Hears of a transfer as it goes, from several threads; this one does nothing with it."""

    def planned(self, count: int) -> None:
        """So many files are to come."""

    def received(self, size: int) -> None:
        """A piece of so many bytes came."""

    def placed(self, file: Fetched) -> None:
        """A file is in place, whole and checked."""


def fetch(files: Sequence[OutputFile], target: Path, listener: TransferListener) -> Transfer:
    """Bring `files` below `target`, several at once; unchanged ones are not fetched again.

    Args:
        files: names and signed URLs as the server gives them.
        target: the folder; made where it is missing.
        listener: hears of every file and piece.

    Raises:
        ServiceError: a file could not be fetched, or is not what the server says it is.
        LocalError: no room, or no permission to write.
    """
    import requests  # noqa: PLC0415  # Only `pull` needs it.

    refused, wanted = _split_by_safety(files, target)
    _drop_leftovers(target)
    index = _Index(target / INDEX_NAME)
    with requests.Session() as session, ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        fetcher = _Fetcher(session, target, index, listener)
        listener.planned(len(wanted))
        running = [pool.submit(fetcher.fetch, path, file) for path, file in wanted.items()]
        try:
            ended, _ = wait(running, return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()
        finally:
            # After a failure or Ctrl-C nobody wants to wait for the gigabyte that is on its way.
            fetcher.downloads.stop()
            pool.shutdown(cancel_futures=True)
            index.save()
        fetched = [future.result() for future in running]
    return Transfer(fetched, refused)


def _drop_leftovers(target: Path) -> None:
    """Remove what a killed transfer left half fetched; a part that still grows is another transfer's."""
    for part in target.glob(f"**/{PART_PREFIX}*{PART_SUFFIX}"):
        with contextlib.suppress(OSError):
            if not part.is_symlink() and time.time() - part.stat().st_mtime > _LEFTOVER_AFTER_S:
                part.unlink()


def _split_by_safety(
    files: Sequence[OutputFile], target: Path
) -> tuple[list[str], dict[PurePosixPath, OutputFile]]:
    refused: list[str] = []
    wanted: dict[PurePosixPath, OutputFile] = {}
    taken: set[str] = set()
    root = target.resolve()
    for file in files:
        try:
            path = safe_name(file.name)
        except UnsafeNameError:
            refused.append(file.name)
            continue
        # A link inside the target must not lead out of it; names that differ by case only would collide on
        # some file systems.
        if not (target / path).resolve().is_relative_to(root) or path.as_posix().casefold() in taken:
            refused.append(file.name)
            continue
        taken.add(path.as_posix().casefold())
        wanted[path] = file
    return refused, wanted


class _Index:
    """What lies in the target and where it came from: an unchanged file is known without reading it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, _Known] = {}
        try:
            for name, item in json.loads(path.read_text(encoding="utf-8")).items():
                self._known[name] = _Known(str(item["etag"]), int(item["size"]), int(item["modified_ns"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self._known = {}

    def holds(self, path: PurePosixPath, place: Path, etag: str) -> bool:
        known = self._known.get(path.as_posix())
        if known is None or not etag or known.etag != etag or place.is_symlink() or not place.is_file():
            return False
        there = place.stat()
        return (there.st_size, there.st_mtime_ns) == (known.size, known.modified_ns)

    def remember(self, path: PurePosixPath, place: Path, etag: str) -> None:
        there = place.stat()
        self._known[path.as_posix()] = _Known(etag, there.st_size, there.st_mtime_ns)

    def save(self) -> None:
        if self._known:
            items = {
                name: {"etag": known.etag, "size": known.size, "modified_ns": known.modified_ns}
                for name, known in sorted(self._known.items())
            }
            write_atomically(self._path, json.dumps(items, ensure_ascii=False, indent=1) + "\n")


@dataclass(frozen=True, slots=True)
class _Fetcher:
    """What the files of one transfer share."""

    session: "requests.Session"
    target: Path
    index: _Index
    listener: TransferListener
    downloads: Downloads = field(default_factory=Downloads)

    def fetch(self, path: PurePosixPath, file: OutputFile) -> Fetched:
        """Bring one file and say so."""
        fetched = self._bring(path, file)
        self.listener.placed(fetched)
        return fetched

    def _bring(self, path: PurePosixPath, file: OutputFile) -> Fetched:
        """Bring one file; one that arrives damaged is fetched once more."""
        place = self.target / path
        for last in (False, True):
            try:
                with self.downloads.open(self.session, file) as response:
                    etag = response.headers.get("ETag", "")
                    if self.index.holds(path, place, etag):
                        return Fetched(path, place.stat().st_size, unchanged=True)
                    size = self.downloads.store(response, place, self.listener.received)
            except CorruptError as error:
                if self.downloads.stopped:
                    raise StoppedError from error
                if last:
                    raise UnavailableError(
                        f"{file.name} arrived damaged twice ({error}); it was not kept.",
                        hint="run the same pull again later",
                    ) from error
                continue
            self.index.remember(path, place, etag)
            return Fetched(path, size, unchanged=False)
        raise AssertionError  # The last attempt returns or raises.
