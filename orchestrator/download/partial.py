"""A file on its way: its bytes in place under another name, and beside them a map of what is here.

Both survive a SIGKILL: the map is memory that the system writes, and a block is marked after its bytes were
written, so at most the blocks in flight are lost. What a power cut mixes up, the hashes find.
"""

import contextlib
import hashlib
import json
import mmap
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.download.names import OWN_PREFIX
from orchestrator.download.ranges import BLOCK, blocks_in
from orchestrator.errors import LocalError

try:
    import fcntl
except ModuleNotFoundError as error:
    raise LocalError(
        "Results cannot be brought to this machine: its system is not POSIX.",
        hint="on Windows, run kgtts in WSL: https://learn.microsoft.com/windows/wsl/install",
    ) from error

PART_SUFFIX, MAP_SUFFIX = ".part", ".map"
_HEADER = 4096
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_CREAT


@dataclass(frozen=True, slots=True)
class Origin:
    """Which content of a file a part belongs to.

    Attributes:
        validator: what changes with the content: a strong ETag, or hashes, size and date instead.
        etag: the strong ETag for `If-Range`, or nothing.
        size: bytes of the whole.
    """

    validator: str
    etag: str
    size: int


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:20]


def stem_of(name: str) -> str:
    """How the names of a file's parts begin; short whatever the name, and no other file's."""
    return f"{OWN_PREFIX}{_digest(name)}-"


class Part:
    """The part of one file, open and locked against other processes; its methods are thread-safe.

    Closed by its last user: `hold` and `release` count them, `retire` tells them to leave.
    """

    def __init__(self, folder: int, stem: str, origin: Origin, descriptors: tuple[int, int]) -> None:
        self.origin = origin
        self.retired = False
        self._stem = stem
        self._data, self._index = descriptors
        self._map = mmap.mmap(self._index, _HEADER + blocks_in(origin.size))
        self._lock = threading.Lock()
        self._users = 1
        self._folder = os.dup(folder)

    @classmethod
    def open(cls, folder: int, name: str, origin: Origin, promise: Callable[[int], None]) -> Self:
        """Open what is here of `name`'s content `origin`, or begin it.

        Args:
            folder: the open folder that the file will lie in; a duplicate is kept.
            name: the file's own name there.
            origin: the content; parts of `name` with another one are removed.
            promise: told how many bytes are still to come, before any is written; it may raise.

        Raises:
            OSError: no room, or no permission.
        """
        stem = stem_of(name) + _digest(origin.validator)
        clear_others(folder, stem_of(name), keep=stem)
        try:
            descriptors = _open_pair(folder, stem)
        except BlockingIOError:  # Another process fetches the same: each has its own, and both are right.
            stem += f"-{secrets.token_hex(4)}"
            descriptors = _open_pair(folder, stem)
        part = None
        try:
            if _read_header(descriptors[1]) == origin and os.fstat(descriptors[0]).st_size == origin.size:
                part = cls(folder, stem, origin, descriptors)
                promise(origin.size - part.here)
                return part
            try:
                promise(origin.size)
                _begin(descriptors, origin)
            except BaseException:
                for suffix in (PART_SUFFIX, MAP_SUFFIX):
                    _remove(folder, stem + suffix)
                raise
            part = cls(folder, stem, origin, descriptors)
        except BaseException:
            if part is not None:
                part.release()
            else:
                for one in descriptors:
                    os.close(one)
            raise
        return part

    @property
    def taken(self) -> bytearray:
        """One byte a block: 1 where it is here."""
        return bytearray(self._map[_HEADER:])

    @property
    def here(self) -> int:
        """How many bytes are here."""
        return _here(self.origin, self.taken)

    def write(self, start: int, data: bytes) -> None:
        """Write bytes at `start`; whoever writes a block does so from its begin to its end.

        Raises:
            OSError: the disk is full.
        """
        view, at = memoryview(data), start
        while view:
            written = os.pwrite(self._data, view, at)
            view, at = view[written:], at + written
        first, last = start // BLOCK, at // BLOCK
        if at == self.origin.size:
            last = blocks_in(at)
        if last > first:
            self._map[_HEADER + first : _HEADER + last] = b"\x01" * (last - first)

    def front(self, start: int) -> int:
        """Up to which byte everything is here, given that it is up to `start`."""
        found = self._map.find(b"\x00", _HEADER + start // BLOCK)
        return self.origin.size if found < 0 else (found - _HEADER) * BLOCK

    def read(self, start: int, count: int) -> bytes:
        """Bytes that are here."""
        return os.pread(self._data, count, start)

    def stat(self) -> os.stat_result:
        """What the system says of the bytes."""
        return os.fstat(self._data)

    def place(self, name: str) -> None:
        """Rename the part, whole and checked, to `name`.

        Raises:
            OSError: something is in the way.
        """
        os.fchmod(self._data, 0o644)
        os.replace(self._stem + PART_SUFFIX, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        _remove(self._folder, self._stem + MAP_SUFFIX)

    def discard(self) -> None:
        """Remove both files; who still writes, writes to nowhere."""
        self.retired = True
        _remove(self._folder, self._stem + PART_SUFFIX)
        _remove(self._folder, self._stem + MAP_SUFFIX)

    def hold(self) -> bool:
        """Become a user; False where it is closed already."""
        with self._lock:
            if self._users == 0:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        """Stop being a user; the last one closes."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
        self._map.close()
        for one in (self._data, self._index, self._folder):
            os.close(one)


def find_part(folder: int, name: str) -> Origin | None:
    """The newest content of which a part of `name` is here, if any."""
    stem, found = stem_of(name), list[tuple[float, Origin]]()
    for entry in os.listdir(folder):
        if not (entry.startswith(stem) and entry.endswith(MAP_SUFFIX)):
            continue
        with contextlib.suppress(OSError):
            index = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                if origin := _read_header(index):
                    found.append((os.fstat(index).st_mtime, origin))
            finally:
                os.close(index)
    return max(found, key=lambda item: item[0])[1] if found else None


def clear_others(folder: int, stem: str, *, keep: str = "") -> None:
    """Remove parts that begin with `stem`, but for `keep`'s and those that another process holds."""
    for entry in os.listdir(folder):
        if entry.startswith(stem) and entry.endswith((PART_SUFFIX, MAP_SUFFIX)):
            if keep and entry.startswith(f"{keep}."):
                continue
            index = entry.removesuffix(PART_SUFFIX).removesuffix(MAP_SUFFIX) + MAP_SUFFIX
            if not _is_held(folder, index):
                _remove(folder, entry)


def _is_held(folder: int, index: str) -> bool:
    try:
        handle = os.open(index, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _open_pair(folder: int, stem: str) -> tuple[int, int]:
    index = os.open(stem + MAP_SUFFIX, _FLAGS, 0o600, dir_fd=folder)
    try:
        fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.open(stem + PART_SUFFIX, _FLAGS, 0o600, dir_fd=folder), index
    except BaseException:
        os.close(index)
        raise


def _begin(descriptors: tuple[int, int], origin: Origin) -> None:
    data, index = descriptors
    os.ftruncate(index, 0)  # First: a kill from here on leaves a map that says nothing.
    os.ftruncate(data, 0)
    os.ftruncate(data, origin.size)
    told = {"validator": origin.validator, "etag": origin.etag, "size": origin.size}
    header = json.dumps(told).encode()
    os.ftruncate(index, _HEADER + blocks_in(origin.size))
    os.pwrite(index, header.ljust(_HEADER, b"\n"), 0)


def _read_header(index: int) -> Origin | None:
    try:
        told = json.loads(os.pread(index, _HEADER, 0))
        origin = Origin(str(told["validator"]), str(told["etag"]), int(told["size"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return origin if os.fstat(index).st_size == _HEADER + blocks_in(origin.size) else None


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)


def part_size(place: Path, validator: str) -> int:
    """How many bytes are here of what will lie at `place`; nothing is opened for writing."""
    index = place.with_name(stem_of(place.name) + _digest(validator) + MAP_SUFFIX)
    try:
        handle = os.open(index, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        origin = _read_header(handle)
        if origin is None:
            return 0
        return _here(origin, os.pread(handle, blocks_in(origin.size), _HEADER))
    finally:
        os.close(handle)


def _here(origin: Origin, taken: bytes | bytearray) -> int:
    short = blocks_in(origin.size) * BLOCK - origin.size
    missing = taken.count(0) * BLOCK
    return origin.size - missing + (short if taken and not taken[-1] else 0)
