"""What a person is told when a file cannot be brought."""

import errno
from pathlib import Path

from orchestrator.download.storage import GoneError, StorageError
from orchestrator.download.verify import CorruptError
from orchestrator.errors import LocalError, ServiceError


class UnavailableError(ServiceError):
    """The storage has no such file, or a damaged one: asking again is of no use."""


def damaged_twice(name: str, error: CorruptError) -> UnavailableError:
    """The second time that a file is not what it should be."""
    return UnavailableError(
        f"{name} arrived damaged twice ({error}); it was not kept.", hint="run the same pull again later"
    )


def said(name: str, place: Path, error: BaseException) -> BaseException:
    """A failure as a sentence about the file that it befell; its address, a secret, appears nowhere."""
    if isinstance(error, StorageError):
        kind = UnavailableError if isinstance(error, GoneError) else ServiceError
        return kind(
            f"{name} could not be fetched: {error}.",
            hint="run the same pull again: it goes on with what is missing",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return LocalError(f"The disk is full: {place} could not be written.", hint="free some space")
    if isinstance(error, OSError):
        return LocalError(f"{place} could not be written: {error.strerror or error}.")
    return error
