"""Write files completely or not at all."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import LocalError

_LONGEST_STEM = 200  # In bytes; file systems take names of 255.


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that replaces it when the block ends; until then `path` stays.

    The file gets the permissions that the user's umask gives to any new file.

    Raises:
        LocalError: the folder cannot be written to, or is full.
    """
    stem = path.name.encode()[:_LONGEST_STEM].decode(errors="ignore")
    temporary = path.with_name(f".{stem}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LocalError(f"Could not write {path}: {error.strerror or error}.") from error


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader finds the old file or the new one, never a part.

    Raises:
        LocalError: as `replacing`.
    """
    with replacing(path) as file:
        file.write(text.encode())
