"""Files written whole or not at all, line files that survive a full disk, hashes, and sizes for people."""

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

_HASH_CHUNK = 4 * 1024 * 1024
_KILO = 1000
_MINUTE = 60
_HOUR = 3600


class WriteFile(Protocol):
    """How the parts write a whole file; tests hand in one that fails."""

    def __call__(self, path: Path, data: bytes) -> None:
        """Put `data` at `path`, or leave what was there and raise OSError."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to a temporary file beside `path` and move it into place.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full; `path` is then what it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".kgtts-", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner reads; outputs are for all.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def json_bytes(value: Any) -> bytes:
    """`value` as indented JSON; text that is no valid Unicode (a hostile file name) is escaped, not fatal."""
    try:
        return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(value, indent=1) + "\n").encode()


def is_disk_full(error: OSError) -> bool:
    """Whether `error` says that there is no room (or no quota) left on the disk."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex, read in pieces: a checkpoint is 1 GB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def human_size(size: float) -> str:
    """Bytes for people, in powers of 1000: `999 B`, `71.2 MB`, `1.0 GB`."""
    if size < _KILO:
        return f"{int(size)} B"
    for unit in ("kB", "MB", "GB"):
        size /= _KILO
        if size < _KILO:
            return f"{size:.1f} {unit}"
    return f"{size / _KILO:.1f} TB"


def human_seconds(seconds: float) -> str:
    """A duration for people: `0.4 s`, `12 s`, `3 min 5 s`, `6 h 28 min`."""
    if seconds < 10:  # noqa: PLR2004 - below ten seconds, tenths are of interest.
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def human_limit(seconds: float) -> str:
    """A time limit in the guide's words: `6 hours`, `90 minutes`, `45 seconds`."""
    for unit, length in (("hour", _HOUR), ("minute", _MINUTE)):
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return f"{count} {unit}" + ("s" if count != 1 else "")
    return f"{seconds:g} second" + ("s" if seconds != 1 else "")


class LineFile:
    """A text file that grows line by line, flushed each time, and gives up quietly when the disk is full.

    A log that cannot be written must not end a training that still runs. The first error is told to
    `on_error`; nothing is written after it.
    """

    def __init__(self, path: Path, *, on_error: Callable[[OSError], None] | None = None) -> None:
        self.path = path
        self._on_error = on_error
        self._file: io.FileIO | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = io.FileIO(path, "ab")
        except OSError as error:
            self._tell(error)

    def write(self, line: str) -> None:
        """Append `line` and a line end."""
        if self._file is None:
            return
        try:
            self._file.write(line.encode("utf-8", "backslashreplace") + b"\n")
        except OSError as error:
            self.close()
            self._tell(error)

    def close(self) -> None:
        """Close the file; more calls do no harm."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def reopened(self) -> "LineFile":
        """The same file anew, after it was closed and perhaps replaced."""
        return LineFile(self.path, on_error=self._on_error)

    def _tell(self, error: OSError) -> None:
        if self._on_error is not None:
            self._on_error(error)
