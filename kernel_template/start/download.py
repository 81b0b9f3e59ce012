"""Downloads outputs of the session before by their signed URLs, into a folder that serves like a mount.

Kaggle mounts nothing of a session that was killed, but lists what it left, with URLs that expire. Whoever has
such a URL can download, so none is ever printed, raised or written: messages name the file.

A download that cannot succeed ends within a minute: after one expired URL, a second other refusal, or four
silent or broken connections in a row. A connection that breaks goes on
where it was, and a file that its storage describes by an MD5 is checked.
"""

import base64
import contextlib
import hashlib
import http.client
import ipaddress
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from kernel_template.contract import OWN_PREFIX, EndReason
from kernel_template.tools.files import human_seconds, human_size, is_disk_full
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.paths import Paths
from kernel_template.tools.process import StopSign
from kernel_template.tools.report import MessageSink

_CHUNK = 1024 * 1024
_KEEP_FREE = 256 * 1024 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15})")
_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_EXPIRED = b"ExpiredToken"  # Google's word in the answer for a URL that was valid.
_WORDS = 500
_LENGTH = re.compile(r"[0-9]{1,15}")
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class DownloadRules:
    """How long a download is tried, in seconds, and the outside world, which tests replace.

    Attributes:
        silence_s: without a byte, until a connection counts as broken.
        pauses_s: before each further try; the tries count from the last new byte on.
        refused_s: before a refusal is believed: a single one can be a slip of the storage.
        longest_s: for all files together.
        clock: seconds, monotonic.
        sleep: waits for some seconds.
        free_bytes: the free bytes on the disk of a folder.
    """

    silence_s: float = 8.0
    pauses_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    refused_s: float = 2.0
    longest_s: float = 1800.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    free_bytes: Callable[[Path], int] = _free_bytes


class DownloadError(Exception):
    """A file cannot be downloaded; the message is the end of "… could not be downloaded: …"."""


class DamagedError(DownloadError):
    """The storage has something else in place of the file, or nothing; others may still be there."""


class _BrokenError(Exception):
    """A request that brought nothing, or not all; another may."""


class _RefusedError(_BrokenError):
    """The storage refuses the URL."""


@dataclass(slots=True)
class _Part:
    """A file on its way: what has arrived, and what is known of the whole."""

    file: IO[bytes]
    size: int | None  # As state.json says.
    sha256: str | None  # As above.
    have: int = 0
    total: int | None = None  # As the storage says.
    etag: str = ""
    md5: str | None = None
    digest: Any = field(init=False)  # SHA-256 if state.json has one, since one hash of 1 GB is enough.

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what has arrived."""
        self.file.seek(0)
        self.file.truncate()
        self.have = 0
        self.digest = hashlib.sha256() if self.sha256 else hashlib.md5(usedforsecurity=False)

    def take(self, chunk: bytes) -> None:
        """Write the next bytes."""
        self.file.write(chunk)
        self.digest.update(chunk)
        self.have += len(chunk)

    @property
    def damage(self) -> str | None:
        """What is wrong with all that has arrived; None if nothing is."""
        if self.sha256 is not None:
            same = self.digest.hexdigest() == self.sha256
            return None if same else "its SHA-256 differs from the one in state.json"
        if self.md5 in (None, base64.b64encode(self.digest.digest()).decode()):
            return None
        return "its MD5 differs from the storage's"


class Downloads:
    """The outputs of one session that can be downloaded.

    Args:
        urls: the signed URL of each, by its path.
        paths: this session's folders.
        report: prints messages.
        stop: says when the session was told to stop.
        rules: how long to try.

    Attributes:
        folder: where they lie, by the same paths, until `remove`.
    """

    def __init__(
        self, urls: Mapping[str, str], paths: Paths, report: MessageSink, stop: StopSign, rules: DownloadRules
    ) -> None:
        self.folder = paths.temp / "before"
        self._urls = {path: url for path, url in urls.items() if _is_inside(path)}
        self._working = paths.working
        self._report = report
        self._stop = stop
        self._rules = rules
        self._began = rules.clock()
        self._bytes = 0

    def __iter__(self) -> Iterator[str]:
        """The paths of what can be downloaded."""
        return iter(self._urls)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def bring(self, path: str, size: int | None = None, sha256: str | None = None) -> None:
        """Download one file, unless it is here or has no URL.

        Args:
            path: its path among the outputs.
            size: its size in bytes, if it is known.
            sha256: its hash, in hex, if it is known.

        Raises:
            DamagedError: the storage has something else in its place, or nothing.
            DownloadError: it could not be downloaded.
            KernelFailure: the session was told to stop.
        """
        target = self.folder / path
        if path not in self._urls or target.is_file():
            return
        part = target.with_name(f"{OWN_PREFIX}{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                self._fetch(self._urls[path], arriving := _Part(file, size, sha256))
            part.replace(target)
            self._report.say(f"✓ Downloaded: {path} ({human_size(arriving.have)})")
        except OSError as error:
            why = "the disk is full" if is_disk_full(error) else error.strerror or type(error).__name__
            raise DownloadError(f"it cannot be written: {why}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink()

    def _fetch(self, url: str, part: _Part) -> None:
        """Request the file until it is whole."""
        tries = refusals = damages = 0
        while True:
            before = part.have
            try:
                self._request(url, part)
            except _RefusedError as error:
                refusals += 1
                if refusals > 1:
                    raise DownloadError(str(error)) from None
                self._wait(self._rules.refused_s)
                continue
            except _BrokenError as error:
                tries = 0 if part.have > before else tries
                if tries >= len(self._rules.pauses_s):
                    raise DownloadError(f"{error}, {tries + 1} times in a row") from None
                self._wait(self._rules.pauses_s[tries])
                tries += 1
                continue
            if (why := part.damage) is None:
                return
            damages += 1
            if damages > 1:
                raise DamagedError(why)
            part.restart()

    def _request(self, url: str, part: _Part) -> None:
        """Request what is missing of a file, and take it.

        Raises:
            _BrokenError: not all has arrived.
        """
        with self._answer(url, part) as answer:
            while chunk := _read(answer):
                part.take(chunk)
                self._bytes += len(chunk)
                self._check_time()
        if part.total is not None and part.have < part.total:
            raise _BrokenError("the connection broke")
        if part.size is not None and part.have != part.size:
            raise DamagedError(f"it has {human_size(part.have)} instead of {human_size(part.size)}")

    @contextlib.contextmanager
    def _answer(self, url: str, part: _Part) -> Iterator[http.client.HTTPResponse]:
        """Request a file from byte `part.have` on; check that the answer fits, and that there is room."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "kgtts-session"}
        if part.have:
            headers["Range"] = f"bytes={part.have}-{part.total - 1 if part.total else ''}"
            if part.etag:
                headers["If-Range"] = part.etag
        try:
            request = urllib.request.Request(url, headers=headers)  # noqa: S310 - `_opener` checks it.
            answer = _opener(url).open(request, timeout=self._rules.silence_s)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error.code, _beginning(error)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Without its cause and its text, which may hold the URL.
            raise _BrokenError(f"the connection failed ({type(error).__name__})") from None
        with answer:
            self._begin(answer, part)
            yield answer

    def _begin(self, answer: http.client.HTTPResponse, part: _Part) -> None:
        """Note what an answer says about its file."""
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            if found is None or int(found[1]) != part.have:
                raise _BrokenError("the storage answered with another part than was asked for")
            part.total = int(found[2])
        else:
            if part.have:
                part.restart()
            length = answer.headers.get("Content-Length", "")
            if length and _LENGTH.fullmatch(length.strip()) is None:
                raise _BrokenError("the storage answered with a length that no file has")
            part.total = int(length) if length else None
        etag = answer.headers.get("ETag", "")
        part.etag = etag if etag.startswith('"') else ""  # A weak one begins with W/.
        hashes = dict(
            item.strip().split("=", 1)
            for value in answer.headers.get_all("x-goog-hash", [])
            for item in value.split(",")
            if "=" in item
        )
        part.md5 = hashes.get("md5")
        if part.size is not None and part.total not in (None, part.size):
            raise DamagedError(f"it has {human_size(part.total or 0)} instead of {human_size(part.size)}")
        whole = part.total or part.size or 0
        self._check_room(whole - part.have, whole)

    def _check_room(self, here: int, moved: int) -> None:
        """Check that the rest of a file fits into its folder, and the whole of it where it is moved to.

        Raises:
            DownloadError: it does not.
        """
        needs = {self.folder: here}
        if self.folder.stat().st_dev != self._working.stat().st_dev:
            needs[self._working] = moved
        for folder, needed in needs.items():
            if (free := self._rules.free_bytes(folder)) < needed + _KEEP_FREE:
                raise DownloadError(
                    f"it needs {human_size(needed)} of disk, but only {human_size(free)} is free in {folder}"
                )

    def _wait(self, seconds: float) -> None:
        self._check_time()
        self._rules.sleep(seconds)
        self._check_time()

    def _check_time(self) -> None:
        """Raise if the session was told to stop, or if this takes too long."""
        if (word := self._stop.received) is not None:
            raise KernelFailure(
                EndReason.INTERRUPTED, f"The session was told to stop ({word}) during a download."
            )
        if self._rules.clock() - self._began > self._rules.longest_s:
            raise DownloadError(
                f"only {human_size(self._bytes)} came in {human_seconds(self._rules.longest_s)}"
            )


def _is_inside(path: str) -> bool:
    """Whether a path stays inside the folder that it is relative to."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not PurePosixPath(path).is_absolute() and ".." not in parts


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Return an opener: without a proxy for an emulator on this machine, by https alone for all else.

    Raises:
        ValueError: the URL is not one that kgtts uses.
    """
    if _check_url(url):
        return urllib.request.build_opener(urllib.request.ProxyHandler({}), _Redirects)
    return urllib.request.build_opener(_Redirects)


def _check_url(url: str) -> bool:
    """Whether a URL leads to this machine without encryption, as an emulator's does.

    Raises:
        ValueError: it leads elsewhere, and not by https.
    """
    parts = urlsplit(url)
    is_emulator = parts.scheme == "http" and _is_loopback(parts.hostname or "")
    if not is_emulator and parts.scheme != "https":
        raise ValueError
    return is_emulator


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to where a first URL may lead, too."""

    def redirect_request(  # noqa: PLR0913, PLR0917  # The base class's.
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request to the new address.

        Raises:
            ValueError: it is not one that kgtts uses.
        """
        try:
            _check_url(newurl)
        except ValueError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _beginning(answer: IO[bytes]) -> bytes:
    """The first bytes of an answer with an error; empty if they do not come."""
    try:
        return answer.read(_WORDS)
    except (OSError, http.client.HTTPException, ValueError):
        return b""


def _refusal(status: int, body: bytes) -> Exception:
    """What an answer with an error says about the next try."""
    words = f"the storage answered {status}"
    if _EXPIRED in body:
        return DownloadError(f"its address has expired ({words})")
    if status in _GONE:
        return DamagedError(f"the storage does not have it any more ({status})")
    if status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _BrokenError(words)
    return _RefusedError(f"its address is not valid any more ({words})")


def _read(answer: http.client.HTTPResponse) -> bytes:
    """The next bytes of an answer; empty at its end.

    Raises:
        _BrokenError: the connection broke, or was silent for too long.
    """
    try:
        return answer.read1(_CHUNK)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _BrokenError(f"the connection broke ({type(error).__name__})") from None
