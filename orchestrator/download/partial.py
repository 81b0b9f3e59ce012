"""A file on its way: its bytes and, behind them, a map with one byte for each block: 1 if it is here.

It survives the death of this process: a block is marked after its bytes were written, so at most the blocks
in flight are lost. What a power cut mixes up, the hashes find.
"""

import contextlib
import hashlib
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from orchestrator.download.hashes import Content

BLOCK = 64 << 10  # Bytes.
PART_SUFFIX = ".part"
_SHORTEST = 4 << 20  # At 25 MB/s a request of 60 ms costs as much as 1.5 MB.
_LONGEST = 32 << 20


class Span(NamedTuple):
    """The bytes from `start` up to, not including, `end`."""

    start: int
    end: int


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
    """One file on its way, in pieces that do not overlap; its methods are safe between threads.

    What an earlier transfer left of the same content is used; what it left of another one is removed.

    Args:
        folder: where it lies.
        path: the file's path, relative to the target.
        content: its content, with a size and an ETag.
        reserve: told how many bytes are missing before any is written; may raise.

    Attributes:
        place: where it lies.
        resumed: bytes that an earlier transfer left.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(
        self, folder: Path, path: PurePosixPath, content: Content, reserve: Callable[[int], object]
    ) -> None:
        assert content.size is not None
        self.content, self.size = content, content.size
        self.place = _place(folder, path, content)
        remove_parts(folder, path, keep=self.place)
        here = _read_map(self.place, self.size)
        self.resumed = _bytes_here(here or b"", self.size)
        reserve(self.size - self.resumed)
        self._here = here or bytes(blocks_in(self.size))
        self._map_at = len(self._here) * BLOCK
        if here is None:
            self.place.unlink(missing_ok=True)
            with self.place.open("xb") as file:
                file.truncate(self._map_at + len(self._here))
        self._lock, self._pieces = threading.Lock(), 1

    def begin(self, span: Span, connections: int) -> list[Span]:
        """Return what is missing besides `span`, which is on its way; each piece ends with `end_piece`."""
        taken = bytearray(self._here)
        first, last = span.start // BLOCK, blocks_in(span.end)
        taken[first:last] = b"\x01" * (last - first)
        spans = missing_spans(self.size, taken, connections)
        self._pieces = len(spans) + 1
        return spans

    def write(self, file: BinaryIO, at: int, data: bytes) -> None:
        """Write a piece's next bytes to `file`, which is `place`, and mark the blocks that end in them.

        Raises:
            OSError: the disk is full.
        """
        end = at + len(data)
        first, last = at // BLOCK, blocks_in(end) if end == self.size else end // BLOCK
        file.seek(at)
        file.write(data)
        if last > first:
            file.seek(self._map_at + first)  # This writes the bytes out: they are here before their mark.
            file.write(b"\x01" * (last - first))
        file.flush()

    def end_piece(self) -> bool:
        """Note that a piece is here; True if it was the last one, and `place` is now the file itself."""
        with self._lock:
            self._pieces -= 1
            is_whole = self._pieces == 0
        if is_whole:
            with self.place.open("r+b") as file:
                file.truncate(self.size)
        return is_whole


def has_part(folder: Path, path: PurePosixPath) -> bool:
    """Return whether an earlier transfer left something of a file, of whatever content."""
    return any(_parts(folder, path))


def remove_parts(folder: Path, path: PurePosixPath, *, keep: Path | None = None) -> None:
    """Remove what is here of a file, except the part at `keep`."""
    for part in _parts(folder, path):
        if part != keep:
            with contextlib.suppress(OSError):  # On Windows a worker may still have it open.
                part.unlink()


def part_size(folder: Path, path: PurePosixPath, content: Content) -> int:
    """Return how many bytes of a file an earlier transfer left."""
    if content.size is None:
        return 0
    return _bytes_here(_read_map(_place(folder, path, content), content.size) or b"", content.size)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:20]


def _place(folder: Path, path: PurePosixPath, content: Content) -> Path:
    """Where a file's part lies: a name short for any path, and different for each content."""
    which = _digest(f"{content.size} {content.etag}")
    return folder / f"{_digest(path.as_posix())}-{which}{PART_SUFFIX}"


def _parts(folder: Path, path: PurePosixPath) -> Iterator[Path]:
    return folder.glob(f"{_digest(path.as_posix())}-*{PART_SUFFIX}")


def _read_map(place: Path, size: int) -> bytes | None:
    """The blocks that are here; None if there is no part, or it does not fit the size."""
    blocks = blocks_in(size)
    try:
        found = place.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size not in (size, blocks * BLOCK + blocks):
            return None
        if found.st_size == size:  # Killed when it was whole, and perhaps not checked yet.
            return b"\x01" * blocks
        with place.open("rb") as file:
            file.seek(blocks * BLOCK)
            here = file.read(blocks)
    except OSError:
        return None
    return here if len(here) == here.count(0) + here.count(1) else None


def _bytes_here(here: bytes, size: int) -> int:
    short = len(here) * BLOCK - size  # By how much the last block is shorter than a whole one.
    return here.count(1) * BLOCK - (short if here and here[-1] else 0)
