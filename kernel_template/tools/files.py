"""Atomic writes, logs that survive a full disk, hashes, and sizes and times for people."""

import contextlib
import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from kernel_template.contract import OWN_PREFIX

_HASH_CHUNK = 4 * 1024 * 1024
_KILO = 1000
_MINUTE = 60
_HOUR = 3600


class WriteFile(Protocol):
    """Writes a whole file; tests use one that fails."""

    def __call__(self, path: Path, data: bytes) -> None:
        """Write `data` to `path`, or raise OSError and leave `path` as it was."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to a temporary file beside `path`, then rename it.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full; `path` is then unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=OWN_PREFIX, suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner can read; everybody may read outputs.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def json_bytes(value: Any) -> bytes:
    """Encode `value` as indented JSON. Invalid Unicode, such as in a hostile file name, is escaped."""
    try:
        return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(value, indent=1) + "\n").encode()


def is_disk_full(error: OSError) -> bool:
    """Whether `error` says that the disk, or the quota on it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex. Reads in pieces, since a checkpoint is 1 GB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def folder_bytes(folder: Path, most: int | None = None) -> int:
    """The size in bytes of all files below `folder`, or of the first `most`; hard links count once."""
    total = files = 0
    seen: set[tuple[int, int]] = set()
    for place, _, names in os.walk(folder):
        for name in names:
            files += 1
            if most is not None and files > most:
                return total
            with contextlib.suppress(OSError):
                status = Path(place, name).lstat()
                if status.st_nlink == 1 or (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    total += status.st_size
    return total


def human_size(size: float) -> str:
    """Write a size in bytes for people, in powers of 1000: `999 B`, `71.2 MB`, `1.0 GB`."""
    if size < _KILO:
        return f"{int(size)} B"
    for unit in ("kB", "MB", "GB"):
        size /= _KILO
        if size < _KILO:
            return f"{size:.1f} {unit}"
    return f"{size / _KILO:.1f} TB"


def human_seconds(seconds: float) -> str:
    """Write a duration for people: `0.4 s`, `12 s`, `3 min 5 s`, `6 h 28 min`."""
    if seconds < 10:  # noqa: PLR2004 - below ten seconds, tenths matter.
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def human_limit(seconds: float) -> str:
    """Write a time limit as the guide does: `6 hours`, `90 minutes`, `45 seconds`."""
    for unit, length in (("hour", _HOUR), ("minute", _MINUTE)):
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return f"{count} {unit}" + ("s" if count != 1 else "")
    return f"{seconds:g} second" + ("s" if seconds != 1 else "")


class LineFile:
    """A log to which lines are appended, each flushed at once.

    A log that cannot be written must not end the training. The first error is passed to `on_error`, and
    nothing is written after it.
    """

    def __init__(self, path: Path, *, on_error: Callable[[OSError], None] | None = None) -> None:
        self.path = path
        self._on_error = on_error
        self._file: io.FileIO | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = io.FileIO(path, "ab")
        except OSError as error:
            self._failed(error)

    def write(self, line: str) -> None:
        """Append `line` and a newline."""
        if self._file is None:
            return
        try:
            self._file.write(line.encode("utf-8", "backslashreplace") + b"\n")
        except OSError as error:
            self.close()
            self._failed(error)

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def reopened(self) -> "LineFile":
        """Open the same file again, after it was closed and perhaps replaced."""
        return LineFile(self.path, on_error=self._on_error)

    def _failed(self, error: OSError) -> None:
        if self._on_error is not None:
            self._on_error(error)
