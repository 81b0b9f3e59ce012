"""Which bytes of a big file are asked for next: pure arithmetic over its blocks."""

from dataclasses import dataclass

BLOCK = 64 << 10  # Bytes; what is known to be here is known by blocks.
BIG = 8 << 20  # Files from here on come in several ranges at once.
_SHORTEST = 4 << 20  # At 25 MB/s a question of 60 ms costs as much as 1.5 MB.
_LONGEST = 32 << 20  # So that hashing, which goes from the front, is never far behind.


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to, not including, `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes."""
        return self.end - self.start


def blocks_in(size: int, block: int = BLOCK) -> int:
    """How many blocks a file of `size` bytes has; the last may be shorter."""
    return -(-size // block)


def next_span(
    size: int, taken: bytes | bytearray, *, block: int = BLOCK, connections: int = 8
) -> Span | None:
    """The bytes that the next free connection should ask for, or None where none are left.

    Ranges are taken from the front, and are shorter the less is left, so that all connections end at about
    the same time.

    Args:
        size: bytes of the file.
        taken: one byte a block, 0 where nobody has it or fetches it, else 1.
        block: bytes of a block.
        connections: how many share the file.
    """
    first = taken.find(0)
    if first < 0:
        return None
    until = taken.find(1, first)
    until = len(taken) if until < 0 else until
    left = taken.count(0) * block
    most = max(_SHORTEST, min(_LONGEST, left // max(1, connections)))
    last = min(until, first + max(1, most // block))
    return Span(first * block, min(size, last * block))
