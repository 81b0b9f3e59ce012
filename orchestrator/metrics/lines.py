"""Cutting bytes that come in pieces into whole lines."""

from orchestrator.metrics.table import Counters

_LONGEST_LINE = 4 * 1024 * 1024  # An event or a log's line is never that long; what is, is no text.


class LineCutter:
    """Gives the whole lines of a stream, many at a time, and counts them.

    Args:
        counters: where lines are counted; a line without an end in sight is dropped as a lost one.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._held: list[bytes] = []
        self._size = 0
        self._dropping = False

    def cut(self, data: bytes) -> bytes:
        """The lines that `data` completes, each with its end; nothing where it completes none."""
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._hold(rest)
            return b""
        if self._dropping:
            self._dropping = False
            _, _, whole = whole.partition(b"\n") if b"\n" in whole else (b"", b"", b"")
            lines = whole + b"\n" if whole else b""
        else:
            lines = b"".join((*self._held, whole, b"\n"))
        self._held, self._size = [], 0
        self._hold(rest)
        self._counters.lines += lines.count(b"\n")
        return lines

    def rest(self) -> bytes:
        """The last line, which has no end."""
        held, self._held, self._size = b"".join(self._held), [], 0
        self._counters.lines += bool(held)
        return held

    def _hold(self, rest: bytes) -> None:
        if self._dropping or not rest:
            return
        self._held.append(rest)
        self._size += len(rest)
        if self._size > _LONGEST_LINE:
            self._held, self._size, self._dropping = [], 0, True
            self._counters.lines += 1
            self._counters.lost_lines += 1
