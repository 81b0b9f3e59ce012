"""The ledger records what was tried, and never gets in the way."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.errors import LocalError
from orchestrator.models import KernelRef, SessionState
from orchestrator.run.ledger import Intent, Ledger, PushOutcome

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
