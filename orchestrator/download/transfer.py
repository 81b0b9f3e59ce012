"""A transfer's options, what it reports while it runs, and what it returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from orchestrator.download.names import Refused


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How a transfer behaves; `_s` is in seconds."""

    connections: int = 10  # All files share them.
    attempts: int = 10  # How often one piece is requested in a row without any progress.
    first_delay_s: float = 0.25  # The wait after the first failure; each further failure doubles it.
    longest_delay_s: float = 15.0
    stall_s: float = 20.0  # A connection that brought next to nothing for so long is closed.
    patience_s: float = 60.0  # Without progress of any file for so long, nothing is requested again.
    sleep: Callable[[float], object] | None = None  # None waits for real, and Ctrl-C ends the wait.
    free_disk: Callable[[Path], int] | None = None  # The free bytes of a folder's disk; None asks the system.


@dataclass(frozen=True, slots=True)
class Counts:
    """What a transfer cost."""

    received: int = 0  # Bytes.
    again: int = 0  # Bytes among them that had been received before.
    resumed: int = 0  # Bytes that an earlier transfer had left here.
    requests: int = 0
    retries: int = 0
    connections: int = 0


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file in place: its relative path, its size in bytes, and whether it was here before, unchanged."""

    path: PurePosixPath
    size: int
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Planned:
    """One file that will be fetched: its relative path, its size in bytes if it is known, and those here."""

    path: PurePosixPath
    size: int | None = None
    here: int = 0  # What an earlier transfer left; the whole size if the file is in place, unchanged.


@dataclass(frozen=True, slots=True)
class Transfer:
    """The result of a transfer: files in place, refused names, and what it cost."""

    files: Sequence[Fetched]
    refused: Sequence[Refused]
    counts: Counts = field(default_factory=Counts)


class TransferListener:
    """Hears of a transfer while it runs, from several threads; this one ignores it all."""

    def planned(self, files: Sequence[Planned]) -> None:
        """These files will be fetched; called once, at the beginning."""

    def sized(self, file: Planned) -> None:
        """The size of a file is known; called again if the file starts over."""

    def received(self, path: PurePosixPath, count: int) -> None:
        """`count` more bytes of a file arrived."""

    def retried(self, path: PurePosixPath, why: str) -> None:
        """A piece of a file is requested again."""

    def placed(self, file: Fetched) -> None:
        """A file is in place, complete and verified."""
