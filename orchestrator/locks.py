"""A lock between the processes of one machine, given back by the system however its holder ends."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from orchestrator.errors import LocalError

_PATIENCE_S = 120.0


@contextmanager
def machine_lock(folder: Path, name: str, *, patience_s: float = _PATIENCE_S) -> Iterator[None]:
    """Hold the lock `name`, waiting up to `patience_s` seconds for another process that holds it.

    SQLite's write lock does it: it works the same on every system and needs no clean-up after a kill.

    Raises:
        LocalError: it was not free in time, or the folder cannot be written.
    """
    place = folder / "locks" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.db"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(place, timeout=patience_s, isolation_level=None)
    except (sqlite3.Error, OSError) as error:
        raise _unusable(place, error) from error
    with closing(database):
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                raise _unusable(place, error) from error
            raise LocalError(
                "Another kgtts on this machine is working on the same run.",
                hint="try again when it has finished",
            ) from error
        yield  # Closing takes the transaction back: nothing is ever written.


def _unusable(place: Path, error: Exception) -> LocalError:
    return LocalError(
        f"The lock {place} cannot be used: {error}.",
        hint=f"delete {place}, or set KGTTS_HOME to a folder that can be written",
    )
