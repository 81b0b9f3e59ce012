"""A file on its way: its bytes, and beside them a map of the blocks that are here.

Both files survive the death of this process: a block is marked in the map after its bytes were written, so at
most the blocks in flight are lost. What a power cut mixes up, the hashes find.
"""

import contextlib
import errno
import hashlib
import mmap
import stat
import threading
from collections.abc import Callable, Iterator
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
        with self._map_place.open("r+b") as file:
            # Memory that the system writes, whatever becomes of this process; of nothing there is no map.
            self._map = mmap.mmap(file.fileno(), len(self._here)) if self._here else None
        self._reader = self.place.open("rb", buffering=0)

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

    @contextlib.contextmanager
    def writing(self, at: int) -> Iterator[Callable[[bytes], int]]:
        """Give a function that writes the bytes from `at` on, one chunk after the other.

        It skips blocks that are here, and returns how many bytes were new. Whoever writes a block writes it
        from its first byte to its last. The function raises `OSError` if the disk is full.

        Raises:
            AbandonedError: the file starts over; the function raises it too.
        """
        try:
            file = self.place.open("r+b", buffering=0)
        except FileNotFoundError:
            if self._closed:
                raise AbandonedError from None
            raise
        with file:
            position = at

            def write(data: bytes) -> int:
                nonlocal position
                new = 0
                for span in self._runs(position, position + len(data)):
                    view = memoryview(data)[span.start - position : span.end - position]
                    if file.tell() != span.start:
                        file.seek(span.start)
                    while view:
                        view = view[file.write(view) :]
                    self._mark(span)
                    new += span.size
                position += len(data)
                return new

            yield write

    def _runs(self, start: int, end: int) -> list[Span]:
        """The parts of a chunk whose blocks are missing; nearly always that is all of it."""
        if self._closed:
            raise AbandonedError
        if 1 not in self._here[start // BLOCK : blocks_in(end)]:
            return [Span(start, end)]
        edges = [start, *range((start // BLOCK + 1) * BLOCK, end, BLOCK), end]
        return [Span(one, other) for one, other in pairwise(edges) if not self._here[one // BLOCK]]

    def _mark(self, span: Span) -> None:
        """Mark the blocks that end within a span."""
        first, last = span.start // BLOCK, blocks_in(span.end) if span.end == self.size else span.end // BLOCK
        done = b"\x01" * (last - first)
        with self._lock:
            if self._closed:
                raise AbandonedError
            if done and self._map is not None:
                self._here[first:last] = done
                self._map[first:last] = done

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
        with self._hashing, self._lock:
            self._reader.close()
            if self._map is not None:
                self._map.close()
        if discard:
            for place in (self._map_place, self.place):
                with contextlib.suppress(OSError):  # As in `remove_parts`.
                    place.unlink()


def has_part(folder: Path, path: PurePosixPath) -> bool:
    """Return whether an earlier transfer left something of a file, of whatever content."""
    return bool(list(folder.glob(f"{_digest(path.as_posix())}-*{MAP_SUFFIX}")))


def remove_parts(folder: Path, path: PurePosixPath, *, keep: str = "") -> None:
    """Remove what earlier transfers left of a file, except the part `keep`."""
    for part in folder.glob(f"{_digest(path.as_posix())}-*"):
        if part.stem != keep:
            with contextlib.suppress(OSError):  # On Windows a worker may still have it open.
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
