"""A lock between the processes of one machine, given back by the system however its holder ends."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from orchestrator.errors import LocalError

_PATIENCE_S = 120.0


@contextmanager
def machine_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock `name`, waiting for another process that holds it.

    SQLite's write lock does it: it works the same on every system and needs no clean-up after a kill.

    Raises:
        LocalError: it was not free for two minutes, or the folder cannot be written.
    """
    place = folder / "locks" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.db"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(place, timeout=_PATIENCE_S, isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
    except (sqlite3.OperationalError, OSError) as error:
        raise LocalError(
            f"Another kgtts on this machine is working on the same run ({error}).",
            hint="try again when it has finished",
        ) from error
    with closing(database):
        yield
