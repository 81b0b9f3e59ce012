"""A file on its way: its bytes and, behind them, how many bytes of each of its ranges are here.

It survives the death of this process: these numbers are written after the bytes that they count, so at most
the bytes in flight are lost. What a power cut mixes up, the hashes find.
"""

import contextlib
import hashlib
import stat
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath

import google_crc32c

from orchestrator.download.hashes import Content, joined_crc32c

FIRST = 8 << 20  # Bytes of the first range, which is requested before the size is known.
PART_SUFFIX = ".part"
_SHORTEST = 16 << 20  # At 25 MB/s a request of 60 ms costs as much as 1.5 MB.
_LONGEST = 32 << 20
_SHARES = 10


@dataclass(slots=True)
class Range:
    """The bytes of a file from `start` up to, not including, `end`; the first `here` of them are here.

    `crc32c` is that of the bytes that this process wrote.
    """

    start: int
    end: int
    here: int = 0
    crc32c: int = field(default=0, compare=False)

    @property
    def at(self) -> int:
        """The first byte that is missing; `end` if none is."""
        return self.start + self.here


def ranges_of(size: int | None, *, in_one: bool = False) -> list[Range]:
    """Divide a file of `size` bytes, if it is known and the file shall not come in one.

    Ranges get shorter the less is left, so that all connections end at about the same time.
    """
    if size is None or in_one:
        return [Range(0, sys.maxsize if size is None else size)]
    bounds = [0, min(size, FIRST)]
    while (left := size - bounds[-1]) > 0:
        bounds.append(min(size, bounds[-1] + max(_SHORTEST, min(_LONGEST, left // _SHARES))))
    return [Range(start, end) for start, end in pairwise(bounds)]


class Partial:
    """One file on its way, in ranges; its methods are safe between threads if each range has one thread.

    What an earlier transfer left of the same content is used, if that can be resumed; what it left of another
    one is removed.

    Args:
        folder: where it lies.
        path: where the file goes, relative to the target.
        content: its content.
        in_one: whether a new file comes in one range.
        is_hashed: whether to compute the CRC32C of what is written.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        path: PurePosixPath,
        content: Content,
        *,
        in_one: bool = False,
        is_hashed: bool = False,
    ) -> None:
        self.content, self.place, self._is_hashed = content, _place(folder, path, content), is_hashed
        remove_parts(folder, path, keep=self.place)
        self._ranges = _left(self.place, content)
        self.resumed = sum(part.here for part in self._ranges)  # Bytes that an earlier transfer left.
        if not self._ranges:
            self._ranges = ranges_of(content.size, in_one=in_one)
            self.place.unlink(missing_ok=True)
            with self.place.open("xb") as file:
                file.truncate((content.size or 0) + 8 * len(self._ranges))
        # The ranges that are not whole; one of them even if the whole file is here.
        self.missing = [part for part in self._ranges if part.at < part.end] or self._ranges[-1:]
        self._open, self._lock = len(self.missing), threading.Lock()

    @contextlib.contextmanager
    def writer(self, part: Range) -> Iterator[Callable[[bytes], None]]:
        """Give the function that writes the next bytes of a range, and notes that they are here.

        Raises:
            OSError: the disk is full.
        """
        # Unbuffered: written is written. Two files: neither has to be told where to go on after the other.
        with self.place.open("r+b", buffering=0) as file, self.place.open("r+b", buffering=0) as notes:
            file.seek(part.at)
            note = None if self.content.size is None else self.content.size + 8 * self._ranges.index(part)

            def write(data: bytes) -> None:
                while data:
                    count = file.write(data)
                    if self._is_hashed:
                        part.crc32c = google_crc32c.extend(part.crc32c, data[:count])
                    part.here += count
                    data = data[count:]  # Nothing, but on a disk that is nearly full.
                if note is not None:
                    notes.seek(note)
                    notes.write(array("Q", [part.here]))

            yield write

    @property
    def crc32c(self) -> bytes | None:
        """The CRC32C of the whole file; None if it was not asked for, or not all bytes came through here."""
        if self.resumed or not self._is_hashed:
            return None
        return joined_crc32c((part.crc32c, part.here) for part in self._ranges)

    def end_range(self) -> bool:
        """Note that one more of `missing` is whole; True if it was the last, and `place` is the file now."""
        with self._lock:
            self._open -= 1
            is_whole = self._open == 0
        if is_whole:
            with self.place.open("r+b") as file:
                file.truncate(self._ranges[-1].at)
        return is_whole


def has_part(folder: Path, path: PurePosixPath) -> bool:
    """Return whether an earlier transfer left something of a file, of whatever content."""
    return bool(_parts_of(folder, path))


def remove_parts(folder: Path, path: PurePosixPath, *, keep: Path | None = None) -> None:
    """Remove what is here of a file, except the part at `keep`."""
    for part in _parts_of(folder, path):
        if part != keep:
            with contextlib.suppress(OSError):  # On Windows a worker may still have it open.
                part.unlink()


def part_size(folder: Path, path: PurePosixPath, content: Content) -> int:
    """Return how many bytes of a file an earlier transfer left."""
    return sum(part.here for part in _left(_place(folder, path, content), content))


def _parts_of(folder: Path, path: PurePosixPath) -> list[Path]:
    """The parts of a file, of whatever content."""
    beginning = f"{_digest(path.as_posix())}-"  # `glob` would compile a pattern for each file.
    try:
        return [part for part in folder.iterdir() if part.name.startswith(beginning)]
    except FileNotFoundError:
        return []


def _place(folder: Path, path: PurePosixPath, content: Content) -> Path:
    """Where a file's part lies: a name short for any path, and different for each content."""
    return folder / f"{_digest(path.as_posix())}-{_digest(f'{content.size} {content.etag}')}{PART_SUFFIX}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:20]


def _left(place: Path, content: Content) -> list[Range]:
    """What an earlier transfer left of a content; empty if nothing, or if it does not fit."""
    if (size := content.size) is None or not content.can_be_resumed:
        return []
    try:
        found = place.lstat()
        if found.st_size == size and stat.S_ISREG(found.st_mode):
            return [Range(0, size, size)]  # Killed when it was whole, and perhaps not checked yet.
        ranges = ranges_of(size, in_one=found.st_size == size + 8)
        if found.st_size != size + 8 * len(ranges) or not stat.S_ISREG(found.st_mode):
            return []
        with place.open("rb") as file:
            file.seek(size)
            counts = array("Q", file.read())
    except (OSError, ValueError):
        return []
    left = [Range(part.start, part.end, count) for part, count in zip(ranges, counts, strict=True)]
    return left if all(part.at <= part.end for part in left) else []
