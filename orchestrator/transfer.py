"""Fetching the outputs of a session: safe names, verified content, renamed into place only when whole."""

import base64
import errno
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from orchestrator.errors import LocalError, ServiceError
from orchestrator.files import write_atomically
from orchestrator.models import OutputFile

if TYPE_CHECKING:
    import requests

INDEX_NAME = ".kgtts-pull.json"
_CHUNK = 1 << 20
_TIMEOUT_S = (10.0, 60.0)
_KEEP_FREE = 64 << 20
_FILES_AT_ONCE = 4
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\:]")


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
    index = _Index(target / INDEX_NAME)
    with requests.Session() as session, ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        fetcher = _Fetcher(session, target, index, listener)
        listener.planned(len(wanted))
        running = [pool.submit(fetcher.fetch, path, file) for path, file in wanted.items()]
        try:
            fetched = [future.result() for future in running]
        finally:
            for future in running:
                future.cancel()
            pool.shutdown(cancel_futures=True)
            index.save()
    return Transfer(fetched, refused)


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
                with _open(self.session, file) as response:
                    etag = response.headers.get("ETag", "")
                    if self.index.holds(path, place, etag):
                        return Fetched(path, place.stat().st_size, unchanged=True)
                    size = _store(response, place, self.listener.received)
            except _CorruptError as error:
                if last:
                    raise ServiceError(
                        f"{file.name} arrived damaged twice ({error}); it was not kept.",
                        hint="run the same pull again later",
                    ) from error
                continue
            self.index.remember(path, place, etag)
            return Fetched(path, size, unchanged=False)
        raise AssertionError  # The last attempt returns or raises.


class _CorruptError(Exception):
    """The bytes received are not those that the server has."""


def _open(session: "requests.Session", file: OutputFile) -> "requests.Response":
    import requests  # noqa: PLC0415  # As in `fetch`.
    import stamina  # noqa: PLC0415

    def worth_retrying(error: Exception) -> bool:
        if isinstance(error, requests.HTTPError):
            code = error.response.status_code
            return bool(
                code == requests.codes.too_many_requests or code >= requests.codes.internal_server_error
            )
        return isinstance(error, requests.RequestException)

    try:
        for attempt in stamina.retry_context(on=worth_retrying, attempts=5, timeout=60.0):
            with attempt:
                response = session.get(
                    file.url, stream=True, timeout=_TIMEOUT_S, headers={"Accept-Encoding": "identity"}
                )
                response.raise_for_status()
                return response
    except requests.HTTPError as error:
        raise ServiceError(
            f"{file.name} could not be fetched: the storage answered {error.response.status_code}.",
            hint="run the same pull again: it goes on with what is missing",
        ) from None  # The request's address holds the signature.
    except requests.RequestException as error:
        raise ServiceError(
            f"{file.name} could not be fetched: {type(error).__name__}.",
            hint="run the same pull again: it goes on with what is missing",
        ) from None  # As above.
    raise AssertionError  # stamina re-raises the last failure itself.


def _store(response: "requests.Response", place: Path, on_bytes: Callable[[int], None]) -> int:
    """Write the body beside `place`, check it, and rename it into place; give its size."""
    import requests  # noqa: PLC0415  # As in `fetch`.

    expected = _expected(response.headers)
    part = place.with_name(f".{place.name[:200]}.part")
    digest = hashlib.md5(usedforsecurity=False)
    received = 0
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _check_room(place.parent, expected.size)
        try:
            with part.open("wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    received += len(chunk)
                    on_bytes(len(chunk))
            _check_content(expected, received, digest.digest())
            part.replace(place)
        except requests.RequestException as error:
            raise _CorruptError("the connection broke") from error
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise LocalError(
                f"The disk is full: {place} could not be written.", hint="free some space"
            ) from error
        raise LocalError(f"{place} could not be written: {error.strerror or error}.") from error
    return received


@dataclass(frozen=True, slots=True)
class _Expected:
    size: int | None
    md5: bytes | None


def _expected(headers: Mapping[str, Any]) -> _Expected:
    """What the storage says of the file: `Content-Length` and `x-goog-hash: crc32c=…,md5=…` (base64)."""
    length = headers.get("Content-Length", "")
    hashes = dict(
        part.strip().split("=", 1) for part in headers.get("x-goog-hash", "").split(",") if "=" in part
    )
    try:
        md5 = base64.b64decode(hashes["md5"], validate=True) if "md5" in hashes else None
    except ValueError:
        md5 = None
    return _Expected(int(length) if length.isdigit() else None, md5)


def _check_content(expected: _Expected, size: int, md5: bytes) -> None:
    if expected.size is not None and size != expected.size:
        raise _CorruptError(f"{size} of {expected.size} bytes came")
    if expected.md5 is not None and md5 != expected.md5:
        raise _CorruptError("its MD5 is not the one that the storage names")


def _check_room(folder: Path, size: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if size is not None and free < size + _KEEP_FREE:
        raise LocalError(
            f"{folder} has {free >> 20} MB free, and a file of {size >> 20} MB is to come.",
            hint="free some space, or choose another folder with --to",
        )
