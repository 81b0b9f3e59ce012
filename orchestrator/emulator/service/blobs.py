"""Uploads on their way: what a client sends before it makes a dataset version of it.

A blob is started, then filled by one PUT or, after a break, by more; when whole, a dataset version takes it.
An upload works for a week, as at Google's storage, and survives a restart of the emulator.
"""

import contextlib
import hmac
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter

from orchestrator.emulator.service.clock import Clock
from orchestrator.emulator.service.store import is_safe_name, write_atomically
from orchestrator.emulator.service.trees import remove_tree

LIFETIME = timedelta(days=7)
GRAIN = 256 << 10  # Google's storage keeps whole multiples of this of an upload that broke off.


@dataclass(frozen=True, slots=True)
class Blob:
    """One upload: `token` names it to Kaggle, `upload_id` lets whoever has it send its `size` bytes."""

    token: str
    upload_id: str
    name: str
    size: int
    started_at: datetime


_BLOB = TypeAdapter(Blob)


class BusyError(Exception):
    """Another request is sending this blob."""


class OverlongError(Exception):
    """More bytes came than the blob was declared to have."""


class Blobs:
    """The uploads in a folder.

    Args:
        folder: where they lie; what has outlived its week is removed.
        clock: the time that they expire by.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        for path in folder.iterdir() if folder.is_dir() else ():
            if self.find(path.name) is None:
                remove_tree(path)

    def start(self, name: str, size: int) -> Blob:
        """Reserve a place for a file of `size` bytes."""
        blob = Blob(secrets.token_hex(16), secrets.token_hex(32), name, size, self._clock.now())
        write_atomically(self._folder / blob.token / "blob.json", _BLOB.dump_json(blob))
        return blob

    def find(self, token: str) -> Blob | None:
        """A blob by its token; None when there is none, or its week is over."""
        path = self._folder / token / "blob.json"
        if not is_safe_name(token) or not path.is_file():
            return None
        blob = _BLOB.validate_json(path.read_bytes())
        return blob if self._clock.now() < blob.started_at + LIFETIME else None

    def opened(self, token: str, upload_id: str) -> Blob | None:
        """The blob that an upload address gives access to."""
        blob = self.find(token)
        right = blob is not None and hmac.compare_digest(upload_id.encode(), blob.upload_id.encode())
        return blob if right else None

    def is_whole(self, blob: Blob) -> bool:
        """Whether all of it has come."""
        return self.whole(blob).exists()

    def held(self, blob: Blob) -> int:
        """How many bytes of it are kept."""
        path = self.whole(blob) if self.is_whole(blob) else self._part(blob)
        return path.stat().st_size if path.exists() else 0

    @contextlib.contextmanager
    def writing(self, blob: Blob, start: int) -> Iterator["Writer"]:
        """Write a blob from byte `start` on; what lies behind it is dropped.

        Raises:
            BusyError: somebody else is at it.
        """
        with self._lock:
            if blob.token in self._busy:
                raise BusyError
            self._busy.add(blob.token)
        try:
            part = self._part(blob)
            part.touch()
            with part.open("r+b") as file:
                file.truncate(start)
                file.seek(start)
                try:
                    yield Writer(file, blob.size)
                finally:
                    file.flush()
                    if file.tell() == blob.size:
                        part.rename(self.whole(blob))
                    else:
                        file.truncate(file.tell() // GRAIN * GRAIN)
        finally:
            with self._lock:
                self._busy.discard(blob.token)

    def whole(self, blob: Blob) -> Path:
        """Where the whole content lies once it is whole."""
        return self._folder / blob.token / "whole"

    def drop(self, blob: Blob) -> None:
        """Forget a blob."""
        remove_tree(self._folder / blob.token)

    def _part(self, blob: Blob) -> Path:
        return self._folder / blob.token / "part"


class Writer:
    """Takes the pieces of a body; `stop_at` is where a rehearsed break loses the rest."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self.stop_at = size

    def write(self, piece: bytes) -> None:
        """Append a piece.

        Raises:
            OverlongError: it goes beyond the declared size.
        """
        if self._file.tell() + len(piece) > self._size:
            raise OverlongError
        self._file.write(piece[: max(0, self.stop_at - self._file.tell())])
