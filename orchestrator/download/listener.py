"""What a transfer tells while it goes, and what it gives at its end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from orchestrator.download.names import Refused
from orchestrator.download.options import Counts


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file in place: its relative path, size in bytes, and whether it was here already, unchanged."""

    path: PurePosixPath
    size: int
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Planned:
    """One file to come: its relative path, and its size in bytes where that is known.

    Attributes:
        path: where it will lie.
        size: bytes; None until the storage was asked.
        here: bytes of it that an earlier transfer left; all of them where the file is unchanged.
    """

    path: PurePosixPath
    size: int | None = None
    here: int = 0


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a fetch brought, the names that it refused to write, and what it cost."""

    files: Sequence[Fetched]
    refused: Sequence[Refused]
    counts: Counts = field(default_factory=Counts)


class TransferListener:
    """Hears of a transfer as it goes, from several threads; this one does nothing with it."""

    def planned(self, files: Sequence[Planned]) -> None:
        """These files are to come; called once, at the beginning."""

    def sized(self, file: Planned) -> None:
        """The size of one of them is known now; again where it begins anew."""

    def received(self, path: PurePosixPath, count: int) -> None:
        """A piece of a file came, of so many bytes."""

    def retried(self, path: PurePosixPath, why: str) -> None:
        """A piece of a file is asked for again."""

    def verified(self, path: PurePosixPath) -> None:
        """All of a file is here, and it is what the storage and the manifest say."""

    def placed(self, file: Fetched) -> None:
        """A file is in place, whole and checked."""
