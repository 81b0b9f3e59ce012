"""Shared by the transfer's tests."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.download import Fetched, Planned, Transfer, TransferListener, TransferOptions, fetch
from orchestrator.models import OutputFile

QUIET = TransferListener()
AT_ONCE = TransferOptions(sleep=lambda _: None)


def bring(
    files: Sequence[OutputFile],
    target: Path,
    listener: TransferListener = QUIET,
    options: TransferOptions = AT_ONCE,
    **changes: Any,
) -> Transfer:
    """Download without waits between attempts."""
    return fetch(files, target, listener, options=options, **changes)


def content(target: Path) -> dict[str, bytes]:
    """Return every file below the target, except our own index and parts."""
    return {
        path.relative_to(target).as_posix(): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file() and not any(part.startswith(".kgtts-") for part in path.relative_to(target).parts)
    }


def parts(target: Path) -> list[str]:
    """Return the names of partial files, and of anything else that a transfer may not leave."""
    found = [*target.rglob(".kgtts-parts*/*"), *target.rglob("..kgtts-*")]
    return sorted(path.name for path in found if path.name != "lock")


class Ear(TransferListener):
    """Records what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def planned(self, files: Sequence[Planned]) -> None:
        """Note the names."""
        self.heard.append(("planned", [str(file.path) for file in files]))

    def sized(self, file: Planned) -> None:
        """Note the size and what is here."""
        self.heard.append(("sized", file.size, file.here))

    def received(self, path: PurePosixPath, count: int) -> None:
        """Note the bytes."""
        self.heard.append(("received", str(path), count))

    def retried(self, path: PurePosixPath, why: str) -> None:
        """Note the reason."""
        self.heard.append(("retried", str(path), why))

    def placed(self, file: Fetched) -> None:
        """Note the name and whether it was here."""
        self.heard.append(("placed", str(file.path), file.unchanged))
