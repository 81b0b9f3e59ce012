"""The storage's side of a transfer: one request at a time, its answer checked before a byte is used.

Kaggle keeps outputs in Google Cloud Storage behind signed URLs. It honours `Range` and `If-Range`, and sends
`ETag`, `Last-Modified` and `x-goog-hash` with every answer.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import requests
import urllib3

from orchestrator.connections import RedirectError, Session
from orchestrator.download.hashes import Expected, expected
from orchestrator.models import OutputFile
from orchestrator.untrusted import retry_after

CHUNK = 256 << 10  # The most of a body that is in memory, for each connection.
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)
_LONGEST_ETAG = 512
_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_EXPIRED = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
)  # Google: 400 ExpiredToken.
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class StorageError(Exception):
    """A request that brought nothing; the message is the end of "… could not be fetched: …"."""


class TransientError(StorageError):
    """Asking again may help, after `retry_after_s` seconds if the storage says so."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class ExpiredError(StorageError):
    """The URL has expired; a new listing has another one."""


class GoneError(StorageError):
    """The storage has no such file."""


class BeyondEndError(StorageError):
    """The file has no such bytes: it is empty, or shorter than it was."""


class StoppedError(Exception):
    """The transfer was ended before this file was complete."""


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` up to, not including, `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Remote:
    """A file as an answer describes it.

    Attributes:
        validator: what changes with the content: a strong ETag, or hashes, date and size instead; may be "".
        etag: the strong ETag, which `If-Range` takes, or "".
        size: bytes of the whole file; None if the answer does not say.
        expected: its hashes.
    """

    validator: str
    etag: str
    size: int | None
    expected: Expected


class Answer:
    """An answer whose body has not been read; raises `TransientError` if it does not fit the request.

    Attributes:
        remote: the file, as the answer describes it.
        end: the byte of the file before which the body ends; None if the answer does not say.
        is_whole: whether the body is the whole file.
        is_same: whether the storage says that the file still has the ETag asked about; there is no body.
    """

    def __init__(self, response: requests.Response, span: Span | None) -> None:
        self._response = response
        headers = response.headers
        self.is_same = response.status_code == HTTPStatus.NOT_MODIFIED
        self.is_whole = response.status_code == HTTPStatus.OK
        self.end: int | None = None
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
            if found is None or span is None:
                raise TransientError("the storage answered with a part that it does not describe")
            start, last, total = (int(number) for number in found.groups())
            self.end = last + 1
            if start != span.start or self.end != min(span.end, total):
                raise TransientError("the storage answered with other bytes than were asked for")
            self.remote = _remote(headers, total)
            return
        length = headers.get("Content-Length", "")
        encoded = headers.get("Content-Encoding", "identity") != "identity"
        self.end = int(length) if length.isdecimal() and not encoded else None
        stored = headers.get("x-goog-stored-content-length", "")
        if self.is_whole and self.end is not None and stored not in ("", str(self.end)):
            raise TransientError("the storage announced fewer bytes than it has")
        self.remote = _remote(headers, self.end)

    def read(self) -> bytes:
        """Return the next bytes as they arrive; b"" at the end.

        Raises:
            TransientError: the connection broke, or was silent for too long.
        """
        try:
            return cast("bytes", self._response.raw.read1(CHUNK, decode_content=False) or b"")
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            # The last two come from a socket that `Storage.stop` shut down while it was read.
            raise TransientError(f"the connection broke ({type(error).__name__})") from error


class Storage:
    """The connections of one transfer."""

    def __init__(self, connections: int, connect_s: float, stall_s: float) -> None:
        self._session = Session(connect_s=connect_s, read_s=stall_s, connections=connections)
        self._adapter = self._session.adapter
        self._lock = threading.Lock()
        self._open: set[requests.Response] = set()
        self.stopped = threading.Event()

    @property
    def connections(self) -> int:
        """The number of connections opened so far."""
        pools = self._adapter.poolmanager.pools
        keys = list(pools.keys())  # It is not a dictionary, but safe between threads.
        return sum(pool.num_connections for key in keys if (pool := pools.get(key)))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def stop(self) -> None:
        """Wake every thread that waits for bytes, and refuse further requests."""
        with self._lock:
            self.stopped.set()
            for response in self._open:
                with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
                    response.raw.shutdown()

    @contextlib.contextmanager
    def ask(self, url: str, span: Span | None, *, same: str = "", unless: str = "") -> Iterator[Answer]:
        """Request a file or a part of it.

        Args:
            url: the signed URL, a secret: it appears in no message.
            span: the bytes wanted; None for the whole file.
            same: a strong ETag: if the file has another one now, the whole of it comes instead of the part.
            unless: an ETag: if the file still has it, no body comes.

        Raises:
            StorageError: nothing came; see its kinds.
            StoppedError: the transfer was ended.
        """
        headers = {"Accept-Encoding": "identity"}
        if span is not None:
            headers["Range"] = f"bytes={span.start}-{span.end - 1}"
            if same:
                headers["If-Range"] = same
        if unless:
            headers["If-None-Match"] = unless
        with self._send(url, headers) as response:
            with self._lock:
                if self.stopped.is_set():
                    raise StoppedError
                self._open.add(response)
            try:
                _check_status(response)
                yield Answer(response, span)
            finally:
                with self._lock:
                    self._open.discard(response)

    def _send(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        if self.stopped.is_set():
            raise StoppedError
        try:
            return self._session.get(url, stream=True, headers=headers)
        except RedirectError as error:
            raise StorageError(str(error)) from None
        except requests.RequestException as error:
            lost = isinstance(error, requests.ConnectionError | requests.Timeout)
            kind = TransientError if lost else StorageError
            # Without its cause: the request holds the URL, and that the signature.
            raise kind(f"the connection failed ({type(error).__name__})") from None


class SignedUrls:
    """The signed URLs of a listing; `relist` requests it again when they have expired."""

    def __init__(
        self, files: Sequence[OutputFile], relist: Callable[[], Sequence[OutputFile]] | None
    ) -> None:
        self._urls = {file.name: file.url for file in reversed(files)}  # Of equal names the first is fetched.
        self._relist = relist
        self._lock = threading.Lock()
        self._renewed_at: dict[str, int] = {}

    def __getitem__(self, name: str) -> str:
        return self._urls[name]

    def renew(self, name: str, tried: str, error: ExpiredError, progress: int) -> None:
        """See that a file has another URL than `tried`.

        A file may cause one new listing, and another one after each `progress` in bytes.

        Raises:
            ExpiredError: there is no other URL.
            GoneError: the new listing has no such file.
            KgttsError: the listing could not be read.
        """
        with self._lock:
            if self._urls[name] != tried:
                return  # Another thread has renewed it meanwhile.
            if self._relist is None or progress <= self._renewed_at.get(name, -1):
                raise error
            self._renewed_at[name] = progress
            fresh = {file.name: file.url for file in reversed(self._relist())}
            if name not in fresh:
                raise GoneError("it is not among the session's outputs any more")
            self._urls |= fresh


def _remote(headers: Mapping[str, Any], size: int | None) -> Remote:
    etag = headers.get("ETag", "").strip()
    etag = etag if etag.startswith('"') and len(etag) <= _LONGEST_ETAG else ""  # A weak one begins with W/.
    weak = [
        headers.get(name, "")[:_LONGEST_ETAG]
        for name in ("x-goog-hash", "x-goog-generation", "Last-Modified")
    ]
    validator = etag or ("|".join([*weak, str(size)]) if any(weak) else "")
    return Remote(validator, etag, size, expected(headers))


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED):
        return
    words = f"the storage answered {status}"
    if status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TransientError(words, retry_after(response.headers))
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise BeyondEndError(words)
    if status in _EXPIRED:
        raise ExpiredError(words)
    raise GoneError(words) if status in _GONE else StorageError(words)
