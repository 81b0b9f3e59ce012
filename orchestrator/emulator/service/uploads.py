"""Files that a client uploads before it makes a version of a dataset or a model of them.

An upload is started, then filled by one PUT or, after an interruption, by more; a version takes it once it is
complete. An upload is valid for a week, as at Google's storage, and survives a restart.
"""

import contextlib
import hmac
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter

from orchestrator.emulator.options import WaitableClock
from orchestrator.emulator.service.exceptions import UploadBusyError, UploadTooLongError
from orchestrator.emulator.service.files import is_safe_name, write_bytes_atomically
from orchestrator.files import remove_tree

LIFETIME = timedelta(days=7)
CHUNK_MULTIPLE = 256 << 10  # Of an interrupted upload, Google's storage keeps whole multiples of this.


class UploadKind(StrEnum):
    """What an upload is for; nothing else can be made of it."""

    DATASET = "dataset"
    MODEL = "model"
    INBOX = "inbox"  # Pictures of datasets, and files that are sent to nobody in particular.


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """One upload: `token` names it to Kaggle, and whoever knows `upload_id` may send its `size` bytes."""

    token: str
    upload_id: str
    name: str
    size: int
    started_at: datetime
    kind: UploadKind = UploadKind.DATASET


_UPLOAD = TypeAdapter(StoredUpload)


class UploadFolder:
    """The uploads in a folder.

    Args:
        folder: where they lie; expired ones are removed.
        clock: the time that they expire by.
    """

    def __init__(self, folder: Path, clock: WaitableClock) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        for path in folder.iterdir() if folder.is_dir() else ():
            if self.find(path.name) is None:
                remove_tree(path)

    def start(self, name: str, size: int, kind: UploadKind) -> StoredUpload:
        """Start the upload of a file of `size` bytes."""
        upload = StoredUpload(
            secrets.token_hex(16), secrets.token_hex(32), name, size, self._clock.now(), kind
        )
        write_bytes_atomically(self._folder / upload.token / "blob.json", _UPLOAD.dump_json(upload))
        return upload

    def find(self, token: str) -> StoredUpload | None:
        """An upload by its token; None if there is none or it has expired."""
        path = self._folder / token / "blob.json"
        if not is_safe_name(token) or not path.is_file():
            return None
        upload = _UPLOAD.validate_json(path.read_bytes())
        return upload if self._clock.now() < upload.started_at + LIFETIME else None

    def open(self, token: str, upload_id: str) -> StoredUpload | None:
        """The upload that an upload URL gives access to; None if it gives access to none."""
        upload = self.find(token)
        granted = upload is not None and hmac.compare_digest(upload_id.encode(), upload.upload_id.encode())
        return upload if granted else None

    def is_complete(self, upload: StoredUpload) -> bool:
        """Whether all of it has arrived."""
        return self.content(upload).exists()

    def received(self, upload: StoredUpload) -> int:
        """How many bytes of it are stored."""
        path = self.content(upload) if self.is_complete(upload) else self._part(upload)
        return path.stat().st_size if path.exists() else 0

    @contextlib.contextmanager
    def writing(self, upload: StoredUpload, start: int) -> Iterator["UploadWriter"]:
        """Write an upload from byte `start` on; what was stored beyond it is dropped.

        Raises:
            UploadBusyError: another request is writing it.
        """
        with self._lock:
            if upload.token in self._busy:
                raise UploadBusyError
            self._busy.add(upload.token)
        try:
            part = self._part(upload)
            part.touch()
            with part.open("r+b") as file:
                file.truncate(start)
                file.seek(start)
                try:
                    yield UploadWriter(file, upload.size)
                finally:
                    file.flush()
                    if file.tell() == upload.size:
                        part.rename(self.content(upload))
                    else:
                        file.truncate(file.tell() // CHUNK_MULTIPLE * CHUNK_MULTIPLE)
        finally:
            with self._lock:
                self._busy.discard(upload.token)

    def content(self, upload: StoredUpload) -> Path:
        """The file that holds the content once the upload is complete."""
        return self._folder / upload.token / "whole"

    def delete(self, upload: StoredUpload) -> None:
        """Delete an upload and what has arrived of it."""
        remove_tree(self._folder / upload.token)

    def _part(self, upload: StoredUpload) -> Path:
        return self._folder / upload.token / "part"


class UploadWriter:
    """Writes the pieces of a request's body; bytes beyond `stop_at` are dropped, to rehearse a failure."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self.stop_at = size

    def write(self, piece: bytes) -> None:
        """Append a piece.

        Raises:
            UploadTooLongError: it goes beyond the declared size.
        """
        if self._file.tell() + len(piece) > self._size:
            raise UploadTooLongError
        self._file.write(piece[: max(0, self.stop_at - self._file.tell())])
