"""One file on its way: which of its bytes are here, who fetches which, and how far it is checked."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.download.options import Patience
from orchestrator.download.partial import Origin, Part
from orchestrator.download.ranges import BLOCK, Span, blocks_in, next_span
from orchestrator.download.storage import Remote
from orchestrator.download.verify import Hasher
from orchestrator.models import OutputFile

_IGNORED = 2  # So often in a row a range may be ignored before all is read in one stream.
_LITTLE = 20  # Less than one part in so many is not worth another question.


@dataclass(slots=True)
class Claim:
    """Bytes that one worker fetches: those of `span` from `at` on are still to come."""

    part: Part
    span: Span
    at: int

    @property
    def left(self) -> Span:
        """What is still to come."""
        return Span(self.at, self.span.end)


class Job:
    """One file of a transfer; its methods are thread-safe.

    Args:
        path: where it will lie, relative to the target.
        file: the listing's name for it.
        sha256: its hash in the session's manifest, in hexadecimal.
        patience: for reading it in one stream.
    """

    def __init__(self, path: PurePosixPath, file: OutputFile, sha256: str | None, patience: Patience) -> None:
        self.path, self.name = path, file.name
        self.patience = patience
        self.part: Part | None = None
        self.damaged = 0
        self.restarts = 0
        self.got = 0
        self.resumed = 0
        self.renewed_at = -1
        self._hasher: Hasher | None = None
        self._sha256 = sha256
        self._lock = threading.Lock()
        self._taken = bytearray()
        self._ignored = 0
        self._streaming = False
        self._room = 0

    def adopt(self, folder: int, remote: Remote, promise: Callable[[int], None]) -> Part:
        """Go on with what is here of the file as the storage describes it, or begin it.

        Args:
            folder: the open folder that it will lie in.
            remote: the file, with a size and a validator.
            promise: sees that there is room for so many bytes.

        Raises:
            OSError: it cannot be written.
            LocalError: there is no room.
        """
        assert remote.size is not None
        origin = Origin(remote.validator, remote.etag, remote.size)
        part = Part.open(folder, self.path.name, origin, self._promised(promise))
        with self._lock:
            self.part, self._taken = part, part.taken
            self._hasher = self.hasher_for(remote)
            self._ignored, self._streaming = 0, False
            self.resumed = part.here
        return part

    def _promised(self, promise: Callable[[int], None]) -> Callable[[int], None]:
        """What is promised to a file that begins anew counts once."""

        def more(size: int) -> None:
            promise(max(0, size - self._room))
            self._room = max(self._room, size)

        return more

    def close(self) -> None:
        """Let go of what is here of the file; it stays for the next transfer."""
        if self.part is not None:
            self.forget(self.part, discard=False)

    def forget(self, part: Part, *, discard: bool = True) -> bool:
        """Let go of a part; False where it was done already."""
        with self._lock:
            if self.part is not part:
                return False
            self.part, self._hasher = None, None
            self._taken = bytearray()
        if discard:
            part.discard()
        part.release()
        return True

    def claim(self, connections: int, first: Span | None = None) -> Claim | None:
        """Bytes for a worker: those of `first`, or the next that nobody has; the part is held for it."""
        with self._lock:
            part = self.part
            if part is None or part.retired or self._streaming or not part.hold():
                return None
            span = first or next_span(part.origin.size, self._taken, connections=connections)
            if span is None:
                part.release()
                return None
            _mark(self._taken, span, 1)
            return Claim(part, span, span.start)

    def unclaim(self, claim: Claim) -> None:
        """Give up what is left of a claim, and the hold on its part."""
        with self._lock:
            if self.part is claim.part and claim.at < claim.span.end:
                _mark(self._taken, claim.left, 0)
        claim.part.release()

    def hasher_for(self, remote: Remote) -> Hasher:
        """A hasher that knows what is said of the file."""
        return Hasher(remote.expected, self._sha256)

    def hasher_of(self, part: Part) -> Hasher | None:
        """The hasher of a part, unless the file has begun anew since."""
        with self._lock:
            return self._hasher if self.part is part else None

    def ask_again(self, part: Part) -> bool:
        """Whether a range that was ignored is worth another question: much is here, and it happens rarely."""
        with self._lock:
            self._ignored += 1
            much = self._taken.count(1) * _LITTLE > len(self._taken)  # Here or on its way.
            return self.part is part and much and self._ignored <= _IGNORED

    def begin_stream(self, part: Part) -> bool:
        """Whether this worker may read the file in one stream; it then calls `end_stream`."""
        with self._lock:
            if self._streaming or self.part is not part or not part.hold():
                return False
            self._streaming = True
            return True

    def end_stream(self, part: Part) -> None:
        """The stream is over, at its end or before."""
        with self._lock:
            self._streaming = False
        part.release()

    def heeded(self) -> None:
        """A range was not ignored."""
        self._ignored = 0

    def take(self, part: Part, block: int) -> bool:
        """Claim one block for a stream; False where somebody has it."""
        with self._lock:
            if self.part is not part or self._taken[block]:
                return False
            self._taken[block] = 1
            return True

    def untake(self, part: Part, block: int) -> None:
        """Give a block back."""
        with self._lock:
            if self.part is part:
                self._taken[block] = 0

    def count(self, size: int) -> None:
        """Note bytes that came."""
        with self._lock:
            self.got += size


def _mark(taken: bytearray, span: Span, value: int) -> None:
    first, last = span.start // BLOCK, blocks_in(span.end)
    taken[first:last] = bytes([value]) * (last - first)
