"""A file on its way: its bytes, and beside them a map of the blocks that are here.

Both files survive the death of this process: a block is marked in the map after its bytes were written, so at
most the blocks in flight are lost. What a power cut mixes up, the hashes find.
"""

import contextlib
import errno
import hashlib
import stat
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path, PurePosixPath

from orchestrator.download.hashes import Hasher
from orchestrator.download.storage import Remote, Span, StoppedError

BLOCK = 64 << 10  # Bytes; the map has one byte for each block.
PART_SUFFIX, MAP_SUFFIX = ".part", ".map"
_SHORTEST = 4 << 20  # At 25 MB/s a request of 60 ms costs as much as 1.5 MB.
_LONGEST = 32 << 20  # Hashing goes from the front, and should not fall far behind.
_READ = 1 << 20
_HASH_AT_ONCE = 8 << 20  # A worker that hashed more would let its connection wait.


class AbandonedError(Exception):
    """The file starts over: nobody needs the bytes that were requested."""


def blocks_in(size: int) -> int:
    """Return how many blocks a file of `size` bytes has; the last one may be shorter."""
    return -(-size // BLOCK)


def missing_spans(size: int, taken: bytes | bytearray, connections: int) -> list[Span]:
    """Divide the bytes that are missing into ranges, in their order.

    Ranges get shorter the less is left, so that all connections end at about the same time.

    Args:
        size: bytes of the file.
        taken: one byte for each block: 0 if it is missing, else 1.
        connections: how many connections share the file.
    """
    spans, left, first = list[Span](), taken.count(0), taken.find(0)
    while first >= 0:
        until = taken.find(1, first)
        most = max(_SHORTEST, min(_LONGEST, left * BLOCK // max(1, connections))) // BLOCK
        last = min(len(taken) if until < 0 else until, first + most)
        spans.append(Span(first * BLOCK, min(size, last * BLOCK)))
        left -= last - first
        first = taken.find(0, last)
    return spans


class Partial:
    """One file on its way; its methods are safe between threads.

    What an earlier transfer left of the same content is used; what it left of another one is removed.

    Args:
        folder: where the bytes and the map lie.
        path: the file's path, relative to the target.
        remote: its content, with a size and a validator.
        sha256: its hash in the session's manifest, or None.
        reserve: told how many bytes are missing before any is written; may raise.

    Attributes:
        place: where its bytes lie.
        resumed: bytes that an earlier transfer left.
        streaming: held by the thread that reads the whole file, as the storage ignores ranges.

    Raises:
        OSError: the two files cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        path: PurePosixPath,
        remote: Remote,
        sha256: str | None,
        reserve: Callable[[int], None],
    ) -> None:
        assert remote.size is not None
        self.remote, self.size = remote, remote.size
        stem = _stem(path, remote)
        remove_parts(folder, path, keep=stem)
        self.place, self._map_place = folder / f"{stem}{PART_SUFFIX}", folder / f"{stem}{MAP_SUFFIX}"
        here = _read_map(self.place, self.size)
        self.resumed = _bytes_here(here, self.size) if here else 0
        reserve(self.size - self.resumed)
        self._here = here or bytearray(blocks_in(self.size))
        if here is None:
            # The map goes first and comes last: whatever a kill leaves in between counts as nothing.
            self._map_place.unlink(missing_ok=True)
            self.place.unlink(missing_ok=True)
            with self.place.open("xb") as file:
                file.truncate(self.size)
            with self._map_place.open("xb") as file:
                file.write(self._here)
        self._lock, self._hashing, self.streaming = threading.Lock(), threading.Lock(), threading.Lock()
        self._hasher, self._hashed = Hasher(remote.expected, sha256), 0
        self._pieces, self._closed = 1, False
        with contextlib.ExitStack() as files:
            self._data = files.enter_context(self.place.open("r+b", buffering=0))
            self._map = files.enter_context(self._map_place.open("r+b", buffering=0))
            self._reader = files.enter_context(self.place.open("rb", buffering=0))
            self._files = files.pop_all()

    def begin(self, span: Span, connections: int) -> list[Span]:
        """Return what is missing besides `span`, which is on its way; each piece ends with `end_piece`."""
        taken = bytearray(self._here)
        first, last = span.start // BLOCK, blocks_in(span.end)
        taken[first:last] = b"\x01" * (last - first)
        spans = missing_spans(self.size, taken, connections)
        self._pieces = len(spans) + 1
        return spans

    def end_piece(self) -> bool:
        """Note that a piece is here; True if it was the last one."""
        with self._lock:
            self._pieces -= 1
            return self._pieces == 0 and not self._closed

    def has(self, span: Span) -> bool:
        """Return whether the blocks of a span are here."""
        return 0 not in self._here[span.start // BLOCK : blocks_in(span.end)]

    def write(self, start: int, data: bytes) -> int:
        """Write those bytes whose blocks are not here; return how many these were.

        Whoever writes a block writes it from its first byte to its last.

        Raises:
            AbandonedError: the file starts over.
            OSError: the disk is full.
        """
        new, end = 0, start + len(data)
        edges = [start, *range((start // BLOCK + 1) * BLOCK, end, BLOCK), end]
        with self._lock:
            if self._closed:
                raise AbandonedError
            for one, other in pairwise(edges):
                block = one // BLOCK
                if one == other or self._here[block]:
                    continue
                self._data.seek(one)
                view = memoryview(data)[one - start : other - start]
                while view:
                    view = view[self._data.write(view) :]
                new += other - one
                if other == self.size or other % BLOCK == 0:
                    self._here[block] = 1
                    self._map.seek(block)
                    self._map.write(b"\x01")
        return new

    def hash_front(self, stopped: threading.Event, *, everything: bool = False) -> None:
        """Hash what has arrived, from the front up to the first gap.

        Unless `everything` is wanted, this returns soon, and at once if another thread is at it.

        Raises:
            StoppedError: the transfer was ended.
            AbandonedError: the file starts over.
            OSError: the file on this disk was cut off.
        """
        if not self._hashing.acquire(blocking=everything):
            return
        try:
            until = self.size if everything else self._hashed + _HASH_AT_ONCE
            while self._hashed < (end := min(self._front(), until)):
                if stopped.is_set():
                    raise StoppedError
                if self._closed:
                    raise AbandonedError
                self._reader.seek(self._hashed)
                data = self._reader.read(min(_READ, end - self._hashed))
                if not data:
                    raise OSError(errno.EIO, "it was cut off by another program")
                self._hasher.update(data)
                self._hashed += len(data)
        finally:
            self._hashing.release()

    def _front(self) -> int:
        """The first byte that is missing, given that those before `_hashed` are here."""
        found = self._here.find(0, self._hashed // BLOCK)
        return self.size if found < 0 else found * BLOCK

    def check(self) -> None:
        """Compare the hashes of the whole file; raises `CorruptError`."""
        self._hasher.check()

    def close(self, *, discard: bool = False) -> None:
        """Close both files. They stay for the next transfer, unless `discard` removes them."""
        with self._lock:
            self._closed = True
        with self._hashing:
            self._files.close()
        if discard:
            self.place.unlink(missing_ok=True)
            self._map_place.unlink(missing_ok=True)


def has_part(folder: Path, path: PurePosixPath) -> bool:
    """Return whether an earlier transfer left something of a file, of whatever content."""
    return bool(list(folder.glob(f"{_digest(path.as_posix())}-*{MAP_SUFFIX}")))


def remove_parts(folder: Path, path: PurePosixPath, *, keep: str = "") -> None:
    """Remove what earlier transfers left of a file, except the part `keep`."""
    for part in folder.glob(f"{_digest(path.as_posix())}-*"):
        if part.stem != keep:
            part.unlink()


def part_size(folder: Path, path: PurePosixPath, remote: Remote) -> int:
    """Return how many bytes of a file an earlier transfer left."""
    here = None
    if remote.size is not None:
        here = _read_map(folder / f"{_stem(path, remote)}{PART_SUFFIX}", remote.size)
    return _bytes_here(here, remote.size or 0) if here else 0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:20]


def _stem(path: PurePosixPath, remote: Remote) -> str:
    """The name of a file's parts: short for any path, and different for each content."""
    return f"{_digest(path.as_posix())}-{_digest(f'{remote.size} {remote.validator}')}"


def _read_map(place: Path, size: int) -> bytearray | None:
    """The blocks that are here; None if either file is missing or does not fit the size."""
    index = place.with_suffix(MAP_SUFFIX)
    try:
        is_regular = all(stat.S_ISREG(file.lstat().st_mode) for file in (place, index))
        if not is_regular or place.lstat().st_size != size:
            return None
        here = bytearray(index.read_bytes())
    except OSError:
        return None
    return here if len(here) == blocks_in(size) == here.count(0) + here.count(1) else None


def _bytes_here(here: bytearray, size: int) -> int:
    short = len(here) * BLOCK - size  # By how much the last block is shorter than a whole one.
    return here.count(1) * BLOCK - (short if here and here[-1] else 0)
