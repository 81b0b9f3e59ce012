"""The ledger records what was tried, and never gets in the way."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.errors import LocalError
from orchestrator.models import KernelRef, SessionState
from orchestrator.run import ledger_file
from orchestrator.run.ledger import Intent, Ledger, PushOutcome, readable_rows
from orchestrator.run.ledger_file import LedgerBusyError, LedgerDamagedError, LedgerUnwritableError

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)
HERE = "https://here.example"


def intent(run_id: str = "abc123", number: int = 1, slug: str = "bangla-tts") -> Intent:
    """A push that is about to be sent."""
    return Intent(run_id, number, KernelRef("asha", slug), "NvidiaTeslaT4", "f" * 64)


def test_an_intent_becomes_a_push(tmp_path: Path) -> None:
    """The record says what was asked, then which version it became, then its state."""
    with Ledger(tmp_path / "new" / "ledger.db", HERE) as ledger:
        record = ledger.intend(intent(), NOON)
        assert (record.outcome, record.state, record.pushed_at) == (PushOutcome.INTENDED, None, NOON)
        record = ledger.confirm(record, KernelRef("asha", "bangla-tts", 3))
        assert (record.outcome, str(record.ref)) == (PushOutcome.PUSHED, "asha/bangla-tts/3")
        record = ledger.observe(record, SessionState.ERROR, "it broke", NOON + timedelta(hours=1))
        assert (record.state, record.message, record.seen_at) == (
            SessionState.ERROR,
            "it broke",
            NOON + timedelta(hours=1),
        )


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    """Another process finds the same records, with an unanswered push."""
    with Ledger(tmp_path / "ledger.db", HERE) as ledger:
        written = ledger.intend(intent(), NOON)
    with Ledger(tmp_path / "ledger.db", HERE) as ledger:
        assert ledger.newest() == written


def test_the_newest_is_not_a_refused_one(tmp_path: Path) -> None:
    """A refused push is history, not a run to return to; one without an answer is."""
    with Ledger(tmp_path / "ledger.db", HERE) as ledger:
        assert ledger.newest() is None
        first = ledger.confirm(ledger.intend(intent(), NOON), KernelRef("asha", "bangla-tts", 1))
        refused = ledger.refuse(ledger.intend(intent("def456"), NOON + timedelta(1)), "no quota")
        assert ledger.newest() == first
        assert list(ledger.all()) == [refused, first]
        unclear = ledger.intend(intent("fed789"), NOON + timedelta(2))
        assert ledger.newest() == unclear


def test_sessions_are_found_by_kernel_and_version(tmp_path: Path) -> None:
    """A kernel gives its newest session, a version its own; unknown names give nothing."""
    with Ledger(tmp_path / "ledger.db", HERE) as ledger:
        for version in (1, 2, 10):
            record = ledger.intend(intent(f"run{version}"), NOON + timedelta(version))
            ledger.confirm(record, KernelRef("asha", "bangla-tts", version))
        found = {
            text: getattr(ledger.of_kernel(KernelRef.parse(text)), "run_id", None)
            for text in ("asha/bangla-tts", "asha/bangla-tts/2", "asha/bangla-tts/7", "omar/bangla-tts")
        }
    assert list(found.values()) == ["run10", "run2", None, None]


def test_runs_are_found_by_the_beginning_of_their_id(tmp_path: Path) -> None:
    """All that match are found, newest first; SQL's wildcards are plain characters."""
    with Ledger(tmp_path / "ledger.db", HERE) as ledger:
        for day, (run_id, number) in enumerate([("abc1", 1), ("abc1", 2), ("abd2", 1)]):
            ledger.intend(intent(run_id, number), NOON + timedelta(day))
        assert [(item.run_id, item.number) for item in ledger.of_run("abc")] == [("abc1", 2), ("abc1", 1)]
        assert len(ledger.of_run("ab")) == 3
        for text in ("%", "_bc1", "a%", "\\", "' OR 1=1 --"):
            assert list(ledger.of_run(text)) == []


def test_services_are_kept_apart(tmp_path: Path) -> None:
    """Pushes to the emulator are not visible for Kaggle."""
    with Ledger(tmp_path / "ledger.db", "http://127.0.0.1:7788") as ledger:
        ledger.confirm(ledger.intend(intent(), NOON), KernelRef("asha", "bangla-tts", 1))
    with Ledger(tmp_path / "ledger.db", HERE) as ledger:
        assert ledger.newest() is None
        assert list(ledger.all()) == []
        assert ledger.of_kernel(KernelRef("asha", "bangla-tts")) is None


def test_many_that_open_a_new_ledger_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """The tables are created once, and every record arrives."""
    barrier = threading.Barrier(8)
    errors: list[Exception] = []

    def work(number: int) -> None:
        barrier.wait()
        try:
            with Ledger(tmp_path / "ledger.db", HERE) as ledger:
                ledger.intend(intent(f"run{number}"), NOON)
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Ledger(tmp_path / "ledger.db", HERE) as ledger:
        assert len(ledger.all()) == 8


def test_a_damaged_ledger_is_a_sentence(tmp_path: Path) -> None:
    """The error names the file, and says that Kaggle has everything and how to continue."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(LocalError, match=r"ledger\.db cannot be used: file is not a database") as caught:
        Ledger(path, HERE)
    assert "kgtts list --repair" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sessions SET state = 'PAUSED' WHERE number = 2",
        "UPDATE sessions SET outcome = 'undone' WHERE number = 2",
        "UPDATE sessions SET version = 'two' WHERE number = 2",
        "UPDATE sessions SET slug = x'00' WHERE number = 2",
        "UPDATE sessions SET pushed_at = 'noon' WHERE number = 2",
        "UPDATE sessions SET pushed_at = '2026-11-18T12:00:00' WHERE number = 2",
    ],
)
def test_a_row_that_makes_no_sense_is_damage(tmp_path: Path, change: str) -> None:
    """The ledger is not opened; a look without it, and a repair, keep the other rows."""
    path = tmp_path / "ledger.db"
    with Ledger(path, HERE) as ledger:
        first = ledger.intend(intent(number=1), NOON)
        ledger.intend(intent(number=2), NOON)
        ledger._db.execute(change)
    with pytest.raises(LedgerDamagedError, match="row 2 of sessions makes no sense"):
        Ledger(path, HERE)
    with Ledger(path, HERE, in_memory=True) as ledger:
        assert list(ledger.all()) == [first]
    assert [row["number"] for _, row in readable_rows(path)] == [1]


def test_a_table_that_is_missing_is_damage(tmp_path: Path) -> None:
    """It is not made again without a word; a look without the ledger keeps the other table's rows."""
    path = tmp_path / "ledger.db"
    with Ledger(path, HERE) as ledger:
        first = ledger.intend(intent(), NOON)
        ledger._db.execute("DROP TABLE summaries")
    with pytest.raises(LedgerDamagedError, match="no such table: summaries"):
        Ledger(path, HERE)
    with Ledger(path, HERE, in_memory=True) as ledger:
        assert (list(ledger.all()), ledger.summary(first), ledger.is_whole) == ([first], None, False)


@pytest.mark.parametrize(("kind", "words"), [("folder", "it is a folder"), ("empty", "it is empty")])
def test_a_place_that_holds_no_ledger_is_damage(tmp_path: Path, kind: str, words: str) -> None:
    """Only where there is nothing at all, a new one begins."""
    path = tmp_path / "ledger.db"
    path.mkdir() if kind == "folder" else path.touch()
    with pytest.raises(LedgerDamagedError, match=words):
        Ledger(path, HERE)
    with Ledger(path, HERE, in_memory=True) as ledger:
        assert (list(ledger.all()), ledger.is_whole) == ([], False)


def test_a_new_ledger_appears_with_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while it is made leaves no empty file in its place, and does not disturb the next start."""
    path = tmp_path / "ledger.db"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Ledger(path, HERE)
    assert not path.exists()
    (tmp_path / "ledger.db.new").write_bytes(b"half")
    with Ledger(path, HERE) as ledger:
        assert (list(ledger.all()), ledger.is_whole) == ([], True)
    assert not (tmp_path / "ledger.db.new").exists()


def test_a_ledger_that_another_program_holds_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither damaged nor read-only: what is pushed now has to be written down later."""
    path = tmp_path / "ledger.db"
    Ledger(path, HERE).__exit__()
    monkeypatch.setattr("orchestrator.run.ledger_file._TIMEOUT_S", 0.01)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(LedgerBusyError, match="another program holds it"):
            Ledger(path, HERE)
        with Ledger(path, HERE, in_memory=True) as ledger:
            assert not ledger.is_whole
    finally:
        holder.close()


def test_a_file_that_may_only_be_read_is_found_out_before_a_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite opens such a file, and begins to write it, without an error."""
    path = tmp_path / "ledger.db"
    with Ledger(path, HERE) as ledger:
        first = ledger.intend(intent(), NOON)
    connect = ledger_file.connect
    monkeypatch.setattr(ledger_file, "connect", lambda place, _="": connect(place, "ro"))
    with pytest.raises(LedgerUnwritableError, match="readonly"):
        Ledger(path, HERE)
    with Ledger(path, HERE, in_memory=True) as ledger:
        assert (list(ledger.all()), ledger.is_whole) == ([first], True)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_copy_of_a_ledger_that_cannot_be_written_knows_whether_it_is_whole(
    tmp_path: Path, *, damaged: bool
) -> None:
    """A read-only one is; one with a page that cannot be read is not."""
    path = tmp_path / "ledger.db"
    with Ledger(path, HERE) as ledger:
        for number in range(1, 50):
            ledger.intend(intent(number=number), NOON)
        pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        size = ledger._db.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek(18)  # A version for writing that this SQLite does not know makes the file read-only.
        file.write(b"\x03")
        if damaged:
            file.seek((pages - 1) * size)
            file.write(b"x" * size)
    with pytest.raises(LedgerUnwritableError):
        Ledger(path, HERE)
    with Ledger(path, HERE, in_memory=True) as ledger:
        assert ledger.is_whole is not damaged
        assert damaged or len(ledger.all()) == 49


def test_a_ledger_from_the_future_is_a_sentence(tmp_path: Path) -> None:
    """A newer kgtts's file is left unchanged."""
    path = tmp_path / "ledger.db"
    Ledger(path, HERE).__exit__()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LocalError, match="was made by a newer kgtts") as caught:
        Ledger(path, HERE)
    assert "upgrade" in (caught.value.hint or "")


def test_a_folder_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    """The error names a path that cannot be opened."""
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match=r"The ledger .*file/ledger\.db cannot be used"):
        Ledger(tmp_path / "file" / "ledger.db", HERE)


def test_the_ledger_holds_no_secret(tmp_path: Path) -> None:
    """It has no column for credentials or signed addresses."""
    with Ledger(tmp_path / "ledger.db", HERE) as ledger:
        names = {row[1] for row in ledger._db.execute("PRAGMA table_info(sessions)")}
    assert not {name for name in names if "key" in name or "token" in name or "url" in name}
