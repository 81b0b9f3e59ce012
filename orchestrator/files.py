"""Small certainties about files: written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import LocalError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file, beside `path`, that takes its place once the block is done; until then `path` is as it was.

    Raises:
        LocalError: the folder cannot be written to, or is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The prefix leaves room for the random part where the name is as long as a name may be.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".part")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            temporary.chmod(0o644)  # mkstemp's files are for their owner alone.
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
