"""The storage's side of a transfer: one request at a time, its answer checked before a byte is used.

Kaggle keeps outputs in Google Cloud Storage behind signed URLs. It honours `Range` and `If-Range`, and sends
`ETag`, `Last-Modified` and `x-goog-hash` with every answer.
"""

import contextlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import requests
import urllib3

from orchestrator.connections import HttpSession, RedirectError, time_limit
from orchestrator.download.hashes import Content, described
from orchestrator.download.transfer import TransferOptions
from orchestrator.models import OutputFile
from orchestrator.untrusted import retry_after

LOOK = (0, 1)  # The first byte: its answer says what the file is.
CHUNK = 1 << 20  # The most of a body that is in memory, for each connection.
_ENOUGH = 64 << 10  # Bytes that count as progress.
_SLOWEST = 800  # Bytes a second: ten such connections would bring less than 30 MB in an hour.
_LONGEST_RETRY_AFTER_S = 60.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)
_PAGES = (".html", ".htm", ".xhtml")
_OK, _PARTIAL, _BROKEN = 200, 206, 500

T = TypeVar("T")


class StoppedError(Exception):
    """The transfer was ended, or these bytes are not wanted any more."""


class StorageError(Exception):
    """A request that brought nothing; the message is the end of "… could not be fetched: …".

    `retry_after_s` is for how many seconds the storage asks to be left alone, if it does.
    """

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class TransientError(StorageError):
    """Asking again may help."""


class ExpiredError(StorageError):
    """The URL has expired; a new listing has another one."""


class GoneError(StorageError):
    """The storage has no such file."""


class BeyondEndError(StorageError):
    """The file has no such bytes: it is empty, or shorter than it was."""


_KINDS: Mapping[int, type[StorageError]] = {
    400: ExpiredError,  # Google: ExpiredToken.
    401: ExpiredError,
    403: ExpiredError,
    404: GoneError,
    408: TransientError,
    410: GoneError,
    416: BeyondEndError,
    429: TransientError,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the storage answered.

    Attributes:
        content: the whole file's, as the answer describes it.
        is_whole: whether the body is the whole file.
        body: the bytes as they arrive; `TransientError` if no more come.
    """

    content: Content
    is_whole: bool
    body: Iterator[bytes]


def _checked(response: requests.Response, name: str, span: tuple[int, int] | None, stall_s: float) -> Answer:
    """Return the answer in a response whose body has not come yet; that of a `LOOK` is read.

    Raises:
        StorageError: it does not bring what was asked for.
    """
    status, headers = response.status_code, response.headers
    if status not in (_OK, _PARTIAL):
        kind = TransientError if status >= _BROKEN else _KINDS.get(status, StorageError)
        raise kind(f"the storage answered {status}", retry_after(headers))
    if "html" in headers.get("Content-Type", "").lower() and not name.lower().endswith(_PAGES):
        raise TransientError("the answer is a web page, perhaps a login page of this network")
    # What is compressed on the way, although that was not asked for, comes as one stream of unknown size.
    is_encoded = headers.get("Content-Encoding", "identity") != "identity"
    is_whole, size = status == _OK, None
    if not is_whole:
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if found is None or span is None:
            raise TransientError("the storage answered with a part that it does not describe")
        start, last, size = map(int, found.groups())
        if (start, last + 1) != (span[0], min(span[1], size)):
            raise TransientError("the storage answered with other bytes than were asked for")
    elif not is_encoded and (length := headers.get("Content-Length", "")).isdecimal():
        size = int(length)
        if headers.get("x-goog-stored-content-length", length) != length:
            raise TransientError("the storage announced fewer bytes than it has")
    body = _body(response, stall_s, is_encoded=is_encoded)
    if span is LOOK and not is_whole:
        next(body, None)  # Only then can the connection be used again.
    return Answer(described(headers, None if is_encoded else size), is_whole, body)


def _body(response: requests.Response, stall_s: float, *, is_encoded: bool) -> Iterator[bytes]:
    """Yield the bytes of a body as they arrive.

    Raises:
        TransientError: the connection broke, was silent for too long, or brings next to nothing.
    """
    since, received = time.monotonic(), 0
    while True:
        try:
            data = response.raw.read1(CHUNK, decode_content=is_encoded)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            # The last two come from a socket that `Storage.stop` shut down while it was read.
            raise TransientError(f"the connection broke ({type(error).__name__})") from error
        if not data:
            return
        now = time.monotonic()
        received += len(data)
        if now - since > stall_s:
            if received < _SLOWEST * stall_s:
                raise TransientError(f"only {received:,} bytes came in {now - since:.0f} s")
            since, received = now, 0
        yield data
        del data  # Its memory is used again for the next.


class Storage:
    """The files of one listing, and the connections to them.

    Args:
        files: names and signed URLs.
        relist: requests the listing again, for when the URLs have expired; None if nobody can.
        options: connections, waits and retries.
    """

    def __init__(
        self,
        files: Sequence[OutputFile],
        relist: Callable[[], Sequence[OutputFile]] | None,
        options: TransferOptions,
    ) -> None:
        # By name; of equal names the first. Their URLs are secrets, which appear in no message.
        self.files = {file.name: file for file in reversed(files)}
        self.relist, self.options = relist, options
        self.stopped = threading.Event()  # Set when the transfer has ended.
        self.requests = 0  # Sent so far.
        self.progress_at = time.monotonic()  # When any file last got on.
        self.listing = threading.Lock()  # Held while a new listing is requested.
        self._session = HttpSession(read_s=options.stall_s, connections=options.connections)
        self._lock = threading.Lock()
        self._open: set[requests.Response] = set()

    @property
    def connections(self) -> int:
        """How many were opened so far."""
        pools = self._session.adapter.poolmanager.pools
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
    def ask(self, file: OutputFile, span: tuple[int, int] | None, *, same: str = "") -> Iterator[Answer]:
        """Request a file or a part of it.

        Args:
            file: the file.
            span: the first byte wanted, and the one after the last; None for the whole file.
            same: a strong ETag: if the file has another one now, the whole of it comes instead of the part.

        Raises:
            StorageError: nothing came; see its kinds.
            StoppedError: the transfer was ended.
        """
        headers = {"Accept-Encoding": "identity"}
        if span is not None:
            headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
            if same:
                headers["If-Range"] = same
        with self._lock:
            self.requests += 1
        self.check_stopped()
        try:
            with time_limit(self.options.stall_s):  # For the head of the answer, however it trickles in.
                response = self._session.stream_from(file.url, headers)
        except RedirectError as error:
            raise StorageError(str(error)) from None
        except requests.RequestException as error:
            lost = isinstance(error, requests.ConnectionError | requests.Timeout)
            kind = TransientError if lost else StorageError
            # Without its cause: the request holds the URL, and that the signature.
            raise kind(f"the connection failed ({type(error).__name__})") from None
        with response:
            try:
                with self._lock:
                    self._open.add(response)
                self.check_stopped()
                yield _checked(response, file.name, span, self.options.stall_s)
            finally:
                with self._lock:
                    self._open.discard(response)

    def check_stopped(self) -> None:
        """Raise `StoppedError` if the transfer has ended."""
        if self.stopped.is_set():
            raise StoppedError


class Attempts:
    """The attempts at one piece of a file: how often it is requested again, and after which waits.

    Args:
        storage: where it is requested.
        name: the file's name in the listing.
        retried: told why, before each further attempt.
    """

    def __init__(self, storage: Storage, name: str, retried: Callable[[str], object]) -> None:
        self._storage, self._name, self._retried = storage, name, retried
        self._failures = self._fresh = 0
        self._may_renew = True

    def until_done(self, request: Callable[[OutputFile], T]) -> T:
        """Make attempts until `request` returns, and return that; it is given the file with its present URL.

        Raises:
            StorageError: no attempt is left, or another one would not help.
            StoppedError: the transfer was ended.
        """
        while True:
            file = self._storage.files[self._name]
            try:
                return request(file)
            except TransientError as error:
                if self._storage.stopped.is_set():
                    raise StoppedError from error
                self._retried(str(error))
                self._wait(error)
            except ExpiredError:
                with self._storage.listing:
                    if self._storage.files[self._name] == file:  # No other thread has renewed it meanwhile.
                        if self._storage.relist is None or not self._may_renew:
                            raise
                        self._may_renew = False  # One new listing, and one more after each progress.
                        fresh = {item.name: item for item in reversed(self._storage.relist())}
                        if self._name not in fresh:
                            raise GoneError("it is not among the session's outputs any more") from None
                        self._storage.files |= fresh
                self._retried("its address had expired")

    def progress(self, count: int, *, is_new: bool) -> None:
        """Note that `count` bytes arrived; enough that are new start the count of failures anew."""
        self._may_renew = True
        self._fresh += count
        if self._fresh >= _ENOUGH:
            self._failures, self._fresh = 0 if is_new else self._failures, 0
            self._storage.progress_at = time.monotonic()

    def _wait(self, error: TransientError) -> None:
        options, idle_s = self._storage.options, time.monotonic() - self._storage.progress_at
        self._failures, self._fresh = self._failures + 1, 0
        if self._failures >= options.attempts or idle_s > options.patience_s:
            raise error
        delay = min(options.first_delay_s * 2 ** (self._failures - 1), options.longest_delay_s)
        # Jitter: connections that broke together do not come back together.
        delay *= random.uniform(0.5, 1.0)  # noqa: S311  # No secret.
        if error.retry_after_s is not None:
            delay = max(delay, min(error.retry_after_s, _LONGEST_RETRY_AFTER_S))
        (options.sleep or self._storage.stopped.wait)(delay)
