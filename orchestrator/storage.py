"""One file from Kaggle's storage: opened with patience, checked, renamed into place."""

import base64
import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import LocalError, ServiceError
from orchestrator.models import OutputFile

if TYPE_CHECKING:
    import requests

PART_PREFIX, PART_SUFFIX = ".kgtts-", ".part"  # The name of a file on its way.
_CHUNK = 1 << 20
_TIMEOUT_S = (10.0, 60.0)
_KEEP_FREE = 64 << 20
_AGAIN = "run the same pull again: it goes on with what is missing"


class CorruptError(Exception):
    """The bytes received are not those that the storage has."""


class StoppedError(Exception):
    """The transfer was ended before this file was whole."""


class UnavailableError(ServiceError):
    """The storage has no such file, or a damaged one: asking again is of no use."""


class Downloads:
    """The downloads of one transfer; `stop` ends them all, those that wait for bytes included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[requests.Response] = set()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def stop(self) -> None:
        """Wake whoever waits for bytes; no file is placed any more."""
        with self._lock:
            self._stopped = True
            for response in self._open:
                # urllib3 2.3 made this for exactly that; with an older one the wait ends at its time-out.
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    response.raw.shutdown()

    @contextlib.contextmanager
    def open(self, session: "requests.Session", file: OutputFile) -> Iterator["requests.Response"]:
        """Ask the storage for a file; its body is read by `store`.

        Raises:
            ServiceError: it cannot be had.
            StoppedError: the transfer was ended.
        """
        with self._ask(session, file) as response:
            with self._lock:
                if self._stopped:
                    raise StoppedError
                self._open.add(response)
            try:
                yield response
            finally:
                with self._lock:
                    self._open.discard(response)

    def _ask(self, session: "requests.Session", file: OutputFile) -> "requests.Response":
        import requests  # noqa: PLC0415  # Only `pull` needs it.
        import stamina  # noqa: PLC0415  # As above.

        def worth_retrying(error: Exception) -> bool:
            if self._stopped:
                return False
            if isinstance(error, requests.HTTPError):
                code = error.response.status_code
                return bool(
                    code == requests.codes.too_many_requests or code >= requests.codes.internal_server_error
                )
            return isinstance(error, requests.ConnectionError | requests.Timeout)

        try:
            for attempt in stamina.retry_context(on=worth_retrying, attempts=5, timeout=60.0):
                with attempt:
                    response = session.get(
                        file.url, stream=True, timeout=_TIMEOUT_S, headers={"Accept-Encoding": "identity"}
                    )
                    try:
                        response.raise_for_status()
                    except requests.HTTPError:
                        response.close()
                        raise
                    return response
        except requests.HTTPError as error:
            gone = error.response.status_code in (requests.codes.not_found, requests.codes.gone)
            kind = UnavailableError if gone else ServiceError
            raise kind(
                f"{file.name} could not be fetched: the storage answered {error.response.status_code}.",
                hint=_AGAIN,
            ) from None  # The request's address holds the signature.
        except requests.RequestException as error:
            raise ServiceError(
                f"{file.name} could not be fetched: {type(error).__name__}.", hint=_AGAIN
            ) from None  # As above.
        raise AssertionError  # stamina re-raises the last failure itself.

    def store(self, response: "requests.Response", place: Path, on_bytes: Callable[[int], None]) -> int:
        """Write the body beside `place`, check it, and rename it into place; give its size.

        Raises:
            CorruptError: what came is not what the storage has; `place` is as it was.
            StoppedError: the transfer was ended; `place` is as it was.
            LocalError: no room, or no permission to write.
        """
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _check_room(place.parent, _expected(response.headers).size)
            # A name of its own: derived from the file's, it could be too long, or another file's.
            handle, name = tempfile.mkstemp(dir=place.parent, prefix=PART_PREFIX, suffix=PART_SUFFIX)
            part = Path(name)
            try:
                size = self._receive(response, handle, on_bytes)
                part.chmod(0o644)
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise LocalError(
                    f"The disk is full: {place} could not be written.", hint="free some space"
                ) from error
            raise LocalError(f"{place} could not be written: {error.strerror or error}.") from error
        return size

    def _receive(self, response: "requests.Response", handle: int, on_bytes: Callable[[int], None]) -> int:
        """Write the body to the open file `handle` and check it."""
        import requests  # noqa: PLC0415  # As in `_ask`.

        digest = hashlib.md5(usedforsecurity=False)
        received = 0
        with os.fdopen(handle, "wb") as file:
            try:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    received += len(chunk)
                    on_bytes(len(chunk))
            except requests.RequestException as error:  # An OSError too, but none of this machine's.
                raise CorruptError("the connection broke") from error
        if self._stopped:  # A body without a length looks whole when it is cut off.
            raise StoppedError
        _check_content(_expected(response.headers), received, digest.digest())
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
        raise CorruptError(f"{size} of {expected.size} bytes came")
    if expected.md5 is not None and md5 != expected.md5:
        raise CorruptError("its MD5 is not the one that the storage names")


def _check_room(folder: Path, size: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if size is not None and free < size + _KEEP_FREE:
        raise LocalError(
            f"{folder} has {free >> 20} MB free, and a file of {size >> 20} MB is to come.",
            hint="free some space, or choose another folder with --to",
        )
