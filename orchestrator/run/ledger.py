"""This machine's memory of pushes: a cache of what Kaggle knows, a history of what was tried, and a veto.

Deleting the file loses no result: every session can be named as `owner/slug/version`. While it is there, no
answer of Kaggle's that shows less than it knows is taken for the truth.
"""

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

from orchestrator import __version__
from orchestrator.models import KernelRef, SessionState, SessionSummary
from orchestrator.run.ledger_file import (
    LedgerBusyError,
    LedgerDamagedError,
    check_repaired,
    check_whole,
    check_writable,
    connect,
    copy,
    create_if_absent,
    is_absent,
    is_busy,
    migrate,
    rebuilt,
)

_TABLES = {
    "sessions": (
        *("id", "service", "run_id", "number", "owner", "slug", "version", "accelerator", "fingerprint"),
        *("outcome", "message", "state", "pushed_at", "seen_at"),
    ),
    "summaries": (
        *("service", "run_id", "number", "kernel", "from_step", "to_step", "from_epoch", "to_epoch"),
        *("reason", "seconds"),
    ),
}
_OPTIONAL = ("version", "accelerator", "message", "state", "seen_at")
_WHOLE = ("id", "number", "version", "from_step", "to_step", "from_epoch", "to_epoch")  # Whole numbers.
Row = tuple[str, Mapping[str, object]]  # A table of `_TABLES`, and the values by column.
_DELETED = "deleted with `kgtts cancel`"  # As `kgtts delete` was called; it stands in older ledgers.


class PushOutcome(StrEnum):
    """What became of a push."""

    INTENDED = "intended"  # Recorded before the push is sent; if it stays so, the answer was lost.
    PUSHED = "pushed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session of a run as the ledger remembers it. Times are UTC."""

    id: int
    service: str
    run_id: str
    number: int
    ref: KernelRef
    accelerator: str | None
    fingerprint: str
    outcome: PushOutcome
    message: str | None
    state: SessionState | None
    pushed_at: datetime
    seen_at: datetime | None

    @property
    def is_deleted(self) -> bool:
        """Whether its kernel was deleted from here."""
        return self.state is SessionState.CANCEL_ACKNOWLEDGED and self.message == _DELETED


@dataclass(frozen=True, slots=True)
class Intent:
    """A push that is about to be sent."""

    run_id: str
    number: int
    ref: KernelRef
    accelerator: str | None
    fingerprint: str


class Ledger:
    """The SQLite file with all sessions pushed from this machine; each service's are kept apart.

    Args:
        path: the file.
        service: the address of the service.
        in_memory: whether to write to memory only, to a copy of what can be read of the file.

    Raises:
        LedgerUnwritableError: the file, or its folder, cannot be written.
        LedgerBusyError: another program holds it.
        LedgerDamagedError: the file is damaged.
        LocalError: it is of a newer kgtts.
    """

    def __init__(self, path: Path, service: str, *, in_memory: bool = False) -> None:
        self._path = path
        self._service = service
        self._is_whole = True
        with self._explained():
            if in_memory:
                self._open_copy()
            else:
                check_repaired(path)
                create_if_absent(path)
                check_writable(path)
                self._db = connect(path, "rw")
                with self._closed_on_error():
                    self._check()

    @property
    def is_whole(self) -> bool:
        """Whether all that the file knows is known; False for a copy of one that could not be read whole."""
        return self._is_whole

    @property
    def service(self) -> str:
        """The address of the service whose pushes it shows."""
        return self._service

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def intend(self, intent: Intent, at: datetime) -> SessionRecord:
        """Record a push before it is sent; it replaces an earlier attempt at the same session."""
        with self._explained(), self._db as db:
            cursor = db.execute(
                "INSERT OR REPLACE INTO sessions (service, run_id, number, owner, slug, accelerator,"
                " fingerprint, outcome, pushed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self._service,
                    intent.run_id,
                    intent.number,
                    intent.ref.owner,
                    intent.ref.slug,
                    intent.accelerator,
                    intent.fingerprint,
                    PushOutcome.INTENDED,
                    at.isoformat(),
                ),
            )
        return self._record(cursor.lastrowid or 0)

    def confirm(self, record: SessionRecord, ref: KernelRef) -> SessionRecord:
        """Record that Kaggle took the push as `ref`."""
        return self._update(
            record, outcome=PushOutcome.PUSHED, owner=ref.owner, slug=ref.slug, version=ref.version
        )

    def refuse(self, record: SessionRecord, message: str) -> SessionRecord:
        """Record that Kaggle refused the push, and its words."""
        return self._update(record, outcome=PushOutcome.REFUSED, message=message)

    def observe(
        self, record: SessionRecord, state: SessionState, message: str | None, at: datetime
    ) -> SessionRecord:
        """Record what a look at Kaggle showed."""
        return self._update(record, state=state, message=message, seen_at=at.isoformat())

    def forget_kernel(self, ref: KernelRef, at: datetime) -> None:
        """Record that a kernel was deleted from here, with all its sessions."""
        with self._explained(), self._db as db:
            db.execute(
                "UPDATE sessions SET state = ?, message = ?, seen_at = ?"
                " WHERE service = ? AND owner = ? AND slug = ? AND outcome != ?",
                (
                    SessionState.CANCEL_ACKNOWLEDGED,
                    _DELETED,
                    at.isoformat(),
                    self._service,
                    ref.owner,
                    ref.slug,
                    PushOutcome.REFUSED,
                ),
            )

    def restore(self, rows: Sequence[Row]) -> int:
        """Take over rows of another ledger, as `readable_rows` gives them; gives how many are sessions."""
        with self._explained(), self._db as db:
            for table, row in rows:
                marks = ", ".join("?" * len(row))
                # Table and columns are those of `_TABLES`.
                statement = f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({marks})"  # noqa: S608
                db.execute(statement, (*row.values(),))
        return sum(table == "sessions" for table, _ in rows)

    def newest(self) -> SessionRecord | None:
        """The session pushed last; refused pushes do not count."""
        rows = self._select("outcome != ?", (PushOutcome.REFUSED,))
        return rows[0] if rows else None

    def of_kernel(self, ref: KernelRef) -> SessionRecord | None:
        """The newest session of this kernel, or the one of `ref.version`."""
        where, values = "owner = ? AND slug = ? AND outcome = ?", [ref.owner, ref.slug, PushOutcome.PUSHED]
        if ref.version is not None:
            where, values = f"{where} AND version = ?", [*values, str(ref.version)]
        rows = self._select(where, values)
        return rows[0] if rows else None

    def of_slug(self, slug: str, owner: str | None = None) -> Sequence[SessionRecord]:
        """The sessions of the run that settings call `slug`, or of one of its two kernels, newest first.

        Refused pushes do not count. Without an owner, those of all owners are given.
        """
        names = (slug, *(kernel.slug for kernel in KernelRef("", slug).siblings))
        marks = ", ".join("?" * len(names))
        where, values = f"outcome != ? AND slug IN ({marks})", [PushOutcome.REFUSED, *names]
        if owner is not None:
            where, values = f"{where} AND owner = ?", [*values, owner]
        return self._select(where, values)

    def of_run(self, run_id: str) -> Sequence[SessionRecord]:
        """The sessions of a run whose id starts with `run_id`, newest first."""
        escaped = run_id.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return self._select("run_id LIKE ? ESCAPE '\\'", (f"{escaped}%",))

    def all(self) -> Sequence[SessionRecord]:
        """Every session, newest first."""
        return self._select("1", ())

    def learn(self, run_id: str, history: Sequence[SessionSummary]) -> None:
        """Record what the sessions of a run did, by a `state.json`."""
        rows = [
            (
                self._service,
                run_id,
                item.session,
                item.kernel,
                item.from_step,
                item.to_step,
                item.from_epoch,
                item.to_epoch,
                item.reason,
                item.seconds,
            )
            for item in history
        ]
        with self._explained(), self._db as db:
            db.executemany("INSERT OR REPLACE INTO summaries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def summary(self, record: SessionRecord) -> SessionSummary | None:
        """What the session did; None if that is not known."""
        query = (
            "SELECT number AS session, kernel, from_step, to_step, from_epoch, to_epoch, reason, seconds"
            " FROM summaries WHERE service = ? AND run_id = ? AND number = ?"
        )
        with self._explained():
            row = self._db.execute(query, (self._service, record.run_id, record.number)).fetchone()
        return None if row is None else SessionSummary(**dict(row))

    def _select(self, where: str, values: Sequence[str]) -> Sequence[SessionRecord]:
        # `where` is one of the constants above; values are always bound.
        query = f"SELECT * FROM sessions WHERE service = ? AND {where} ORDER BY pushed_at DESC, id DESC"  # noqa: S608
        with self._explained():
            return [_to_record(row) for row in self._db.execute(query, (self._service, *values))]

    def _record(self, identity: int) -> SessionRecord:
        with self._explained():
            return _to_record(self._db.execute("SELECT * FROM sessions WHERE id = ?", (identity,)).fetchone())

    def _update(self, record: SessionRecord, **changes: object) -> SessionRecord:
        columns = ", ".join(f"{name} = ?" for name in changes)
        with self._explained(), self._db as db:
            # The column names are this module's own keyword arguments.
            db.execute(f"UPDATE sessions SET {columns} WHERE id = ?", (*changes.values(), record.id))  # noqa: S608
        return self._record(record.id)

    def _open_copy(self) -> None:
        """Open a copy in memory: of all that the file has, or else of the rows that can be read."""
        path = self._path
        self._db = connect(None)
        with suppress(sqlite3.Error, OSError, ValueError), self._closed_on_error():
            if not is_absent(rebuilt(path)):
                path = rebuilt(path)
            if not is_absent(path):
                copy(path, self._db)
            self._check()
            return
        self._is_whole = False
        self._db = connect(None)
        with self._closed_on_error():
            migrate(self._db, self._path)
            self.restore(readable_rows(path))

    def _check(self) -> None:
        """See that the database is whole and of today's form, and that every row makes sense."""
        check_whole(self._db)
        migrate(self._db, self._path)
        for table, columns in _TABLES.items():
            query = f"SELECT rowid, {', '.join(columns)} FROM {table}"  # noqa: S608 - those of `_TABLES`.
            for row in self._db.execute(query):
                if not _makes_sense(table, row):
                    words = f"row {row[0]} of {table} makes no sense to kgtts {__version__}"
                    raise sqlite3.DatabaseError(words)

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._db.close()
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if is_busy(error):
                raise LedgerBusyError(
                    f"The ledger {self._path} cannot be used: another program holds it.",
                    hint="try again when that program has finished",
                ) from error
            raise LedgerDamagedError(
                f"The ledger {self._path} cannot be used: {error}.",
                hint="`kgtts list --repair` sets it aside and makes a new one, of what can be read of it and "
                "of what Kaggle shows",
            ) from error


def readable_rows(path: Path) -> Sequence[Row]:
    """The rows of a damaged ledger that can still be read; those that make no sense are left out."""
    rows = list[Row]()
    with suppress(sqlite3.Error, OSError, ValueError):
        database = connect(path, "ro")
        try:
            for table, columns in _TABLES.items():
                with suppress(sqlite3.Error):
                    for row in database.execute(f"SELECT {', '.join(columns)} FROM {table}"):  # noqa: S608 - as above.
                        if _makes_sense(table, row):
                            rows.append((table, {name: row[name] for name in columns}))
        finally:
            database.close()
    return rows


def _makes_sense(table: str, row: sqlite3.Row) -> bool:
    """Whether a row can be used: another kgtts may write other words, and SQLite takes any type anywhere."""
    for name in _TABLES[table]:
        kind = int if name in _WHOLE else float if name == "seconds" else str
        if type(row[name]) is not kind and not (row[name] is None and name in _OPTIONAL):
            return False
    if table == "summaries":
        return math.isfinite(row["seconds"])
    try:
        record = _to_record(row)
    except (ValueError, TypeError):
        return False
    times = (record.pushed_at, record.seen_at)
    return all(time is None or time.tzinfo is not None for time in times)


def _to_record(row: sqlite3.Row) -> SessionRecord:
    return SessionRecord(
        id=row["id"],
        service=row["service"],
        run_id=row["run_id"],
        number=row["number"],
        ref=KernelRef(row["owner"], row["slug"], row["version"]),
        accelerator=row["accelerator"],
        fingerprint=row["fingerprint"],
        outcome=PushOutcome(row["outcome"]),
        message=row["message"],
        state=SessionState(row["state"]) if row["state"] else None,
        pushed_at=datetime.fromisoformat(row["pushed_at"]),
        seen_at=datetime.fromisoformat(row["seen_at"]) if row["seen_at"] else None,
    )
