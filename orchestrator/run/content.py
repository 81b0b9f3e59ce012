"""What uploads of datasets and of base voices share: what Kaggle holds is known by its content, and awaited.

A small file among the others has the hash of all of them in its name, so that a listing tells whether
anything has changed.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from orchestrator.errors import ForbiddenError, NotFoundError, ServiceError
from orchestrator.files import write_atomically
from orchestrator.models import InputFile
from orchestrator.ports import Clock

_MARKER = re.compile(r"(?:.*/)?kgtts-content-([0-9a-f]{32})\.json")
_READY_WITHIN_S = 3600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 3.0, 60.0


def content_of(files: Mapping[str, Path]) -> str:
    """Return a hash of all names and files.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        with path.open("rb") as file:
            own = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{own} {name}\n".encode())
    return digest.hexdigest()[:32]


def write_marker(folder: Path, content: str, about: Mapping[str, object]) -> Path:
    """Write the file that names a content into a folder, and return it."""
    marker = folder / f"kgtts-content-{content}.json"
    write_atomically(marker, json.dumps({"schema": 1, "content": content, **about}) + "\n")
    return marker


def holds(files: Iterable[InputFile], content: str) -> bool:
    """Whether files that Kaggle lists are those of a content."""
    return any((match := _MARKER.fullmatch(file.name)) and match[1] == content for file in files)


def wait(clock: Clock, source: str, is_done: Callable[[], bool]) -> None:
    """Ask until something is done, at first every 3 s, later every minute.

    What was made just now may not be visible yet: NotFoundError and ForbiddenError mean that it is not done.

    Raises:
        ServiceError: it is not done within an hour, or Kaggle could not be asked.
    """
    deadline, pause = clock.monotonic() + _READY_WITHIN_S, _FIRST_PAUSE_S
    while True:
        try:
            if is_done():
                return
        except (NotFoundError, ForbiddenError):
            pass
        left = deadline - clock.monotonic()
        if left <= 0:
            raise ServiceError(
                f"Kaggle has not prepared {source} within {_READY_WITHIN_S / 60:.0f} minutes.",
                hint="run the same command again to wait longer; nothing is uploaded twice",
            )
        clock.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)
