"""Uploads to Kaggle's storage: streamed from disk, and resumed after a break.

As the official client does it (2.2.4, upload_complete and _resume_upload): a PUT sends the whole file. After
a break, an empty PUT with `Content-Range: bytes */SIZE` asks what arrived (308, `Range: bytes=0-LAST`), and
the next one sends the rest.
"""

import contextlib
import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import stamina
from kagglesdk.blobs.types.blob_api_service import ApiBlobType, ApiStartBlobUploadRequest
from kagglesdk.datasets.types.dataset_api_service import ApiDatasetNewFile, ApiUploadDirectoryInfo

from orchestrator.connections import HttpSession
from orchestrator.errors import LocalError, RefusedError, ServiceError
from orchestrator.files import write_atomically
from orchestrator.kaggle.errors import Calls, retry_delay, translated
from orchestrator.models import Sending

ATTEMPTS = 10  # As the official client.
WORTH_REMEMBERING = 8 << 20
_VALID_S = 7 * 86400.0  # How long Google's storage keeps an upload that broke off.
_LONGEST_WAIT_S = 15.0
_TAKEN = (requests.codes.ok, requests.codes.created)
_RESUME_INCOMPLETE = 308
_TRY_AGAIN = (_RESUME_INCOMPLETE, requests.codes.request_timeout, requests.codes.too_many_requests)
_RANGE = re.compile(r"bytes=0-(\d{1,18})", re.ASCII)


class _UnfinishedError(Exception):
    """The storage does not have the whole file, but may still accept the rest."""


class Uploads:
    """Uploads for datasets and models.

    Args:
        call: makes the calls to Kaggle.
        blobs: the SDK's client of the blob service.
        service: the address that calls go to.
    """

    def __init__(self, call: Calls, blobs: Any, service: str) -> None:
        self._call = call
        self._blobs = blobs
        self._service = service
        self._remembered: list[Path] = []

    def upload(self, path: Path, kind: ApiBlobType, sending: Sending) -> str:
        """Upload one file; return the token that names it in a version of what it is for.

        Args:
            path: the file.
            kind: what it is for.
            sending: who is told how far it is, and where an upload that breaks off is remembered.

        Raises:
            LocalError: the file cannot be read.
            ServiceError: the upload failed. RefusedError, ForbiddenError, NotFoundError: Kaggle refused it.
        """
        doing = f"upload {path.name}"
        try:
            size = path.stat().st_size
            memory = self._memory(path, size, kind, sending.unfinished)
            place = None if memory is None else _recall(memory)
            if place is not None and self._is_address(place.url):
                with contextlib.suppress(ServiceError, requests.RequestException), translated(doing):
                    _send(path, size, place.url, sending.sent, is_begun=True)
                    return place.token
                # It has expired, or the connection broke for good: another place is as good.
            place = self._start(doing, path, kind)
            if memory is not None:
                _remember(memory, place)
            with translated(doing):
                _send(path, size, place.url, sending.sent)
        except OSError as error:
            raise LocalError(f"Could not {doing}: {error.strerror}.") from error
        except _UnfinishedError as error:
            raise ServiceError(
                f"Could not {doing}: Kaggle's storage did not accept it ({error}).", hint="try again later"
            ) from error
        return place.token

    def _start(self, doing: str, path: Path, kind: ApiBlobType) -> "_Place":
        found = path.stat()
        request = ApiStartBlobUploadRequest()
        request.type, request.name = kind, path.name
        request.content_length, request.last_modified_epoch_seconds = found.st_size, int(found.st_mtime)
        # Safe to repeat: it only reserves another place.
        answer = self._call(doing, lambda: self._blobs.start_blob_upload(request))
        with translated(doing):
            place = _Place(str(answer.token), str(answer.create_url))
        if not place.token or not self._is_address(place.url):
            raise ServiceError(f"Could not {doing}: Kaggle gave no address to send it to.")
        return place

    def _is_address(self, url: str) -> bool:
        return url.startswith(("https://", f"{self._service}/"))

    def _memory(self, path: Path, size: int, kind: ApiBlobType, folder: Path | None) -> Path | None:
        """The file that remembers the upload of this content; None if it is not worth it."""
        if folder is None or size < WORTH_REMEMBERING:
            return None
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        name = f"{self._service}\n{kind.name}\n{path.name}\n{content}"
        memory = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
        _forget_old(folder)
        self._remembered.append(memory)
        return memory

    def forget(self) -> None:
        """Forget uploads of which a version was made."""
        for memory in self._remembered:
            with contextlib.suppress(OSError):
                memory.unlink(missing_ok=True)
        self._remembered.clear()

    def fill(self, body: Any, files: Mapping[str, Path], kind: ApiBlobType, sending: Sending) -> None:
        """Upload files and put them into a request.

        Args:
            body: what has `files` and `directories`: a request, or the body of one.
            files: by their names, with `/` for folders; each file's own name is the last part of its name.
            kind: what they are for.
            sending: as for `upload`.

        Raises:
            As for `upload`.
        """
        body.files, body.directories = [], []
        folders: dict[str, Any] = {"": body}
        for name, path in files.items():
            file = ApiDatasetNewFile()
            file.token = self.upload(path, kind, sending)
            folder = _folder(folders, name.rpartition("/")[0])
            folder.files = [*folder.files, file]


def check_names(what: str, files: Mapping[str, Path]) -> None:
    """Refuse names that Kaggle would not give these files.

    Raises:
        RefusedError: there are no files, a name leads out of the top folder, or is not its file's.
    """
    if not files:
        raise RefusedError(f"Kaggle does not accept {what}: it has no files.")
    for name, path in files.items():
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or parts[-1] != path.name:
            raise RefusedError(f"Kaggle does not accept {what}: {path} cannot be {name!r} there.")


def _folder(folders: dict[str, Any], name: str) -> Any:
    """Return the folder of a request that has this name; it is made, and those above it, if there is none."""
    if name not in folders:
        above, _, own = name.rpartition("/")
        made = ApiUploadDirectoryInfo()
        made.name, made.files, made.directories = own, [], []
        parent = _folder(folders, above)
        parent.directories = [*parent.directories, made]
        folders[name] = made
    return folders[name]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file is sent to, and the token that names it."""

    token: str
    url: str = field(repr=False)


def _remember(memory: Path, place: _Place) -> None:
    with contextlib.suppress(LocalError, OSError):  # Without it the file is sent from its start.
        write_atomically(memory, json.dumps({"token": place.token, "url": place.url}))
        memory.chmod(0o600)


def _forget_old(folder: Path) -> None:
    """Remove uploads that nobody went on with, as long as the address that a storage gives can be valid."""
    oldest = time.time() - _VALID_S
    for known in folder.glob("*.json"):
        with contextlib.suppress(OSError):
            if known.stat().st_mtime < oldest:
                known.unlink()


def _recall(memory: Path) -> _Place | None:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        return _Place(str(known["token"]), str(known["url"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


class _Counted(io.BufferedReader):
    """A file that tells how many bytes of it were read."""

    def __init__(self, raw: io.FileIO, sent: Callable[[int], None]) -> None:
        super().__init__(raw)
        self._sent = sent

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self._sent(len(piece))
        return piece

    def rewind(self, start: int) -> None:
        """Go to byte `start`; what is read again counts again."""
        self._sent(start - self.tell())
        self.seek(start)


def _send(path: Path, size: int, url: str, sent: Callable[[int], None], *, is_begun: bool = False) -> None:
    # Not the SDK's session: the storage must not see the credentials.
    with HttpSession() as session, _Counted(io.FileIO(path), sent) as file:
        for attempt in stamina.retry_context(
            on=_worth_another, attempts=ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=_LONGEST_WAIT_S
        ):
            with attempt:
                is_new = attempt.num == 1 and not is_begun
                start = 0 if is_new else _arrived(session, url, size)
                file.rewind(start)
                if start < size or is_new:
                    rest = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
                    # requests takes the length from where the file stands, and streams it.
                    _checked(session.put(url, data=file, headers=rest, allow_redirects=False))


def _arrived(session: HttpSession, url: str, size: int) -> int:
    """Ask how many bytes the storage has."""
    headers = {"Content-Range": f"bytes */{size}"}
    answer = session.put(url, data=b"", headers=headers, allow_redirects=False)
    if answer.status_code != _RESUME_INCOMPLETE:
        _checked(answer)
        return size
    told = _RANGE.fullmatch(answer.headers.get("Range", ""))
    return min(int(told[1]) + 1, size) if told else 0


def _checked(answer: requests.Response) -> None:
    status = answer.status_code
    if status in _TRY_AGAIN or status >= requests.codes.internal_server_error:
        raise _UnfinishedError(status)
    if status not in _TAKEN:
        raise ServiceError(
            f"Could not upload a file: Kaggle's storage refused it ({status}).", hint="try again later"
        )


def _worth_another(error: Exception) -> bool:
    return isinstance(error, _UnfinishedError) or bool(retry_delay(error))
