"""The storage's side of a transfer: one question at a time, its answer checked before a byte is used.

Kaggle's outputs lie in Google Cloud Storage behind signed URLs: it honours `Range` and `If-Range`, and sends
`ETag`, `Last-Modified` and `x-goog-hash` with every answer.
"""

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from orchestrator import untrusted
from orchestrator.download.ranges import Span
from orchestrator.download.verify import Expected, expected

if TYPE_CHECKING:
    import requests

CHUNK = 256 << 10  # At most so much of a body is in memory, for each connection.
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)
_LONGEST_ETAG = 512
_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_OLD = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)  # Google: 400 ExpiredToken.
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class StorageError(Exception):
    """A question that brought nothing; the message is the end of "… could not be fetched: …"."""


class TransientError(StorageError):
    """Asking again may help.

    Attributes:
        retry_after_s: how long the storage wants to be left alone, where it says so.
    """

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class ExpiredError(StorageError):
    """The address does not work any more; a new listing has another."""


class GoneError(StorageError):
    """The storage has no such file."""


class BeyondEndError(StorageError):
    """The file has no such bytes: it is empty, or shorter than it was."""


class StoppedError(Exception):
    """The transfer was ended before this file was whole."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file as an answer describes it.

    Attributes:
        validator: what changes with its content; empty where the storage says nothing of it.
        etag: its strong ETag, which `If-Range` takes, or nothing.
        size: bytes of the whole, where it is said.
        expected: its hashes.
    """

    validator: str
    etag: str
    size: int | None
    expected: Expected


def _remote(headers: Mapping[str, Any], size: int | None) -> Remote:
    etag = headers.get("ETag", "").strip()
    etag = etag if etag.startswith('"') and len(etag) <= _LONGEST_ETAG else ""
    weak = [
        headers.get(name, "")[:_LONGEST_ETAG]
        for name in ("x-goog-hash", "x-goog-generation", "Last-Modified")
    ]
    validator = etag or ("|".join([*weak, str(size)]) if any(weak) else "")
    return Remote(validator, etag, size, expected(headers))


class Answer:
    """An answer whose body has not been read.

    Attributes:
        remote: the file, as the answer describes it.
        start: which byte of the file the body begins with.
        end: which byte it ends before, where that is said.
        is_whole: whether it is all of the file.
        is_same: whether the storage says that the file is the one of the ETag asked with; there is no body.
    """

    def __init__(self, response: "requests.Response", span: Span | None) -> None:
        self._response = response
        headers = response.headers
        self.is_same = response.status_code == HTTPStatus.NOT_MODIFIED
        self.is_whole = response.status_code == HTTPStatus.OK
        self.start, self.end = 0, None
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            found = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
            if found is None or span is None:
                raise TransientError("the storage answered with a part that it does not describe")
            self.start, last, total = (int(number) for number in found.groups())
            self.end = last + 1
            if self.start != span.start or self.end != min(span.end, total):
                raise TransientError("the storage answered with other bytes than were asked for")
            self.remote = _remote(headers, total)
        else:
            length = headers.get("Content-Length", "")
            encoded = headers.get("Content-Encoding", "identity") != "identity"
            self.end = int(length) if length.isdecimal() and not encoded else None
            stored = headers.get("x-goog-stored-content-length", "")
            if self.is_whole and self.end is not None and stored not in ("", str(self.end)) and not encoded:
                raise TransientError("the storage announced fewer bytes than it has")
            self.remote = _remote(headers, self.end)

    def read(self) -> bytes:
        """The next bytes as they come, nothing at the end.

        Raises:
            TransientError: the connection broke, or nothing came for too long.
        """
        import urllib3  # noqa: PLC0415  # Only a pull needs it.

        try:
            return cast("bytes", self._response.raw.read1(CHUNK, decode_content=False) or b"")
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            # The last two: what a socket that `stop` shut under a reader can end in.
            raise TransientError(f"the connection broke ({type(error).__name__})") from error


class Storage:
    """The connections of one transfer; `stop` ends them all, those that wait for bytes included.

    Args:
        connections: how many are kept.
        connect_s: seconds to wait for a connection.
        stall_s: seconds without a byte after which one is given up.
    """

    def __init__(self, connections: int, connect_s: float, stall_s: float) -> None:
        import requests  # noqa: PLC0415  # Only a pull needs it.
        from requests.adapters import HTTPAdapter  # noqa: PLC0415  # As above.

        self._session = requests.Session()
        self._adapter = HTTPAdapter(pool_maxsize=connections)
        self._session.mount("http://", self._adapter)
        self._session.mount("https://", self._adapter)
        self._timeout = (connect_s, stall_s)
        self._lock = threading.Lock()
        self._open: set[requests.Response] = set()
        self.stopped = threading.Event()

    @property
    def connections(self) -> int:
        """How many were opened so far."""
        pools = self._adapter.poolmanager.pools
        keys = list(pools.keys())  # It is no dictionary, but made for threads.
        return sum(pool.num_connections for key in keys if (pool := pools.get(key)))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def stop(self) -> None:
        """Wake whoever waits for bytes; nothing is asked any more."""
        with self._lock:
            self.stopped.set()
            for response in self._open:
                # urllib3 2.3 made this for exactly that; with an older one the wait ends at its time-out.
                with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
                    response.raw.shutdown()

    @contextlib.contextmanager
    def ask(self, url: str, span: Span | None, *, same: str = "", unless: str = "") -> Iterator[Answer]:
        """Ask for a file or for a part of it.

        Args:
            url: the signed address; it appears in no message.
            span: the bytes wanted; None for all.
            same: a strong ETag: with another content, all of that comes instead of the part.
            unless: an ETag: where the file still has it, nothing comes.

        Raises:
            StorageError: nothing came, see its kinds.
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

    def _send(self, url: str, headers: Mapping[str, str]) -> "requests.Response":
        import requests  # noqa: PLC0415  # Only a pull needs it.

        if self.stopped.is_set():
            raise StoppedError
        try:
            return self._session.get(url, stream=True, timeout=self._timeout, headers=headers)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise TransientError(_broken(error)) from None  # The request's address holds the signature.
        except requests.RequestException as error:
            raise StorageError(_broken(error)) from None  # As above.


def _broken(error: Exception) -> str:
    return f"the connection failed ({type(error).__name__})"


def _check_status(response: "requests.Response") -> None:
    status = response.status_code
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED):
        return
    words = f"the storage answered {status}"
    if status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TransientError(words, untrusted.retry_after(response.headers))
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise BeyondEndError(words)
    raise (
        ExpiredError(words)
        if status in _OLD
        else GoneError(words)
        if status in _GONE
        else StorageError(words)
    )
