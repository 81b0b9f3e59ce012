"""A transfer's options, what it reports while it runs, and what it returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from orchestrator.download.names import Refused


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How a transfer behaves.

    Attributes:
        connections: how many connections all files share.
        attempts: how often one piece is requested in a row without any progress.
        first_delay_s: seconds to wait after the first failure; each further failure doubles them.
        longest_delay_s: the longest such wait, in seconds.
        stall_s: seconds after which a connection is closed that brought next to nothing in them.
        patience_s: seconds without progress of any file after which nothing is requested again.
        sleep: waits for some seconds; by default for real, and Ctrl-C ends the wait.
        free_disk: returns the free bytes of the disk that holds a folder; by default the system's answer.
    """

    connections: int = 10
    attempts: int = 10
    first_delay_s: float = 0.25
    longest_delay_s: float = 15.0
    stall_s: float = 20.0
    patience_s: float = 60.0
    sleep: Callable[[float], object] | None = None
    free_disk: Callable[[Path], int] | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """What a transfer cost.

    Attributes:
        received: bytes received.
        again: bytes among them that had been received before.
        resumed: bytes that an earlier transfer had left here.
        requests: requests to the storage.
        retries: how often something was tried again.
        connections: how many connections were opened.
    """

    received: int = 0
    again: int = 0
    resumed: int = 0
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
    """One file that will be fetched.

    Attributes:
        path: where it will lie, relative to the target.
        size: its size in bytes; None until the storage was asked.
        here: bytes that an earlier transfer left; the whole size if the file is here, unchanged.
    """

    path: PurePosixPath
    size: int | None = None
    here: int = 0


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
