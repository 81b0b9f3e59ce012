"""The ledger's file: made with its tables, opened, checked, and brought to today's form."""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from orchestrator.errors import LocalError
from orchestrator.files import rename
from orchestrator.locks import machine_lock

# Append only: a released migration never changes. Each runs in one transaction with its number.
_MIGRATIONS = (
    (
        """
        CREATE TABLE sessions (
        id INTEGER PRIMARY KEY,
        service TEXT NOT NULL,
        run_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        owner TEXT NOT NULL,
        slug TEXT NOT NULL,
        version INTEGER,
        accelerator TEXT,
        fingerprint TEXT NOT NULL,
        outcome TEXT NOT NULL,
        message TEXT,
        state TEXT,
        pushed_at TEXT NOT NULL,
        seen_at TEXT,
        UNIQUE (service, run_id, number)
    )
    """,
        "CREATE INDEX sessions_by_kernel ON sessions (service, owner, slug, version)",
    ),
    (
        """
        CREATE TABLE summaries (
        service TEXT NOT NULL,
        run_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        kernel TEXT NOT NULL,
        from_step INTEGER NOT NULL,
        to_step INTEGER NOT NULL,
        from_epoch INTEGER NOT NULL,
        to_epoch INTEGER NOT NULL,
        reason TEXT NOT NULL,
        seconds REAL NOT NULL,
        PRIMARY KEY (service, run_id, number)
    )
    """,
    ),
)
_TIMEOUT_S = 30.0  # With another program that holds the file.


class LedgerUnwritableError(LocalError):
    """The ledger cannot be written; what is in it can be read perhaps."""


class LedgerBusyError(LocalError):
    """Another program holds the ledger for longer than kgtts waits."""


class LedgerDamagedError(LocalError):
    """The ledger's file is no database, or a part of it cannot be read."""


def migrate(database: sqlite3.Connection, path: Path) -> None:
    """Bring the database of the ledger at `path` to today's form.

    Raises:
        LocalError: it is of a newer kgtts.
    """
    for number in range(_schema(database) + 1, len(_MIGRATIONS) + 1):
        database.execute("BEGIN IMMEDIATE")
        try:
            # Under the lock: another process may have done it meanwhile.
            if _schema(database) < number:
                for statement in _MIGRATIONS[number - 1]:
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {number}")
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")
    if _schema(database) > len(_MIGRATIONS):
        raise LocalError(
            f"The ledger {path} was made by a newer kgtts.",
            hint="pip install --upgrade kgtts, or set KGTTS_HOME to another folder",
        )


def check_whole(database: sqlite3.Connection) -> None:
    """Check that every page of a database fits the others.

    Raises:
        sqlite3.DatabaseError: one does not.
    """
    found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _schema(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def connect(path: Path | None, mode: str = "rw") -> sqlite3.Connection:
    """Open a database that is there, or one in memory; a missing file is an error and is not made."""
    if path is None:
        database = sqlite3.connect(":memory:", isolation_level=None)
    else:
        place = path.resolve().as_posix()
        address = f"file://{'' if place.startswith('/') else '/'}{quote(os.fsencode(place))}?mode={mode}"
        database = sqlite3.connect(address, uri=True, timeout=_TIMEOUT_S, isolation_level=None)
    database.row_factory = sqlite3.Row
    return database


def is_absent(path: Path) -> bool:
    """Whether there is certainly nothing at a path.

    Raises:
        OSError: it cannot be found out.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False


def _check_kind(path: Path) -> None:
    """See that a ledger is a file with something in it: kgtts never makes an empty one."""
    if path.is_dir():
        raise sqlite3.DatabaseError("it is a folder")
    if path.stat().st_size == 0:
        raise sqlite3.DatabaseError("it is empty, so what it knew is lost")


def rebuilt(path: Path) -> Path:
    """Where `list --repair` writes a whole ledger that is to take the place of the damaged one at `path`."""
    return path.with_name(f"{path.name}.repaired")


def check_repaired(path: Path) -> None:
    """See that no repair is half done.

    Raises:
        sqlite3.DatabaseError: one is.
    """
    if not is_absent(rebuilt(path)):
        raise sqlite3.DatabaseError("its repair was interrupted")


def create_if_absent(path: Path) -> None:
    """Make a new ledger; it appears with its tables, so that an empty file is always a damaged one.

    Raises:
        LedgerUnwritableError: it cannot be made.
    """
    try:
        if not is_absent(path):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with machine_lock(path.parent, f"ledger {path.name}"):
            if not is_absent(path):  # Another process has made it meanwhile.
                return
            new = path.with_name(f"{path.name}.new")
            for left in (new, new.with_name(f"{new.name}-journal")):  # By one that was killed.
                left.unlink(missing_ok=True)
            database = connect(new, "rwc")
            try:
                migrate(database, path)
            finally:
                database.close()
            rename(new, path)
    except (OSError, sqlite3.OperationalError, LocalError) as error:
        raise _unwritable(path, error) from error


def check_writable(path: Path) -> None:
    """See that the ledger can be written, before anything is read from it.

    Raises:
        LedgerUnwritableError: it cannot.
        sqlite3.DatabaseError: another program holds it, or it is no database.
    """
    try:
        _check_kind(path)
        database = connect(path)
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute(f"PRAGMA user_version = {_schema(database)}")  # SQLite begins on any file.
            database.execute("ROLLBACK")
        finally:
            database.close()
    except (OSError, sqlite3.OperationalError) as error:
        if is_busy(error):
            raise
        raise _unwritable(path, error) from error


def is_busy(error: Exception) -> bool:
    """Whether another program holds the file."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _unwritable(path: Path, error: Exception) -> LedgerUnwritableError:
    return LedgerUnwritableError(
        f"The ledger {path} cannot be used: {str(error).rstrip('.')}.",
        hint="set KGTTS_HOME to another folder",
    )


def copy(path: Path, target: sqlite3.Connection) -> None:
    """Copy a whole ledger.

    Raises:
        sqlite3.Error, OSError, ValueError: not all of it can be read.
    """
    _check_kind(path)
    source = connect(path, "ro")
    try:
        source.execute("BEGIN")
        check_whole(source)
        version = _schema(source)
        statements = "\n".join(source.iterdump())  # Not its pages: their header may forbid writing.
        target.executescript(f"{statements}\nPRAGMA user_version = {version};")
    finally:
        source.close()
