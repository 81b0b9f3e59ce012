"""A damaged ledger is set aside, and rebuilt from what it had and what Kaggle shows."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import ServiceError
from orchestrator.run.ledger import Ledger
from orchestrator.run.ledger_file import LedgerDamagedError
from orchestrator.run.repair import repair
from tests.run.conftest import Play

After = Callable[..., Play]


def spoil(path: Path) -> None:
    """Overwrite the last page of a database."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size - 4096)
        file.write(b"x" * 4096)


def test_a_ledger_is_made_anew_of_both(after: After, play: Play) -> None:
    """Readable rows stay, each kernel's newest session comes from Kaggle, and the old file is kept."""
    play.machine = "laptop"
    after(100, 200)
    path = play.folder / "laptop.db"
    with play.ledger() as ledger:
        before = {(item.number, str(item.ref)) for item in ledger.all()}
    spoil(path)
    damaged = path.read_bytes()
    with pytest.raises(LedgerDamagedError):
        play.ledger()
    done = repair(path, play.kaggle, play.clock)
    assert done is not None
    assert done.aside.read_bytes() == damaged
    with play.ledger() as ledger:
        assert {(item.number, str(item.ref)) for item in ledger.all()} == before
    assert repair(path, play.kaggle, play.clock) is None
    assert play.pushed() == "asha/bangla-tts-a/2"


def test_nothing_is_changed_while_kaggle_cannot_be_read(after: After, play: Play) -> None:
    """Earlier pushes have to be known before the next one."""
    play.machine = "laptop"
    after(100)
    path = play.folder / "laptop.db"
    path.write_bytes(b"no database" * 1000)
    play.kaggle.always("my_kernels", ServiceError("500"))
    with pytest.raises(ServiceError):
        repair(path, play.kaggle, play.clock)
    assert path.read_bytes() == b"no database" * 1000


def test_a_ledger_of_a_newer_kgtts_is_left_alone(play: Play) -> None:
    """It is not damaged, and not changed."""
    play.machine = "laptop"
    with play.ledger() as ledger:
        ledger._db.execute("PRAGMA user_version = 99")
    path = play.folder / "laptop.db"
    before = path.read_bytes()
    with pytest.raises(Exception, match="newer kgtts"):
        repair(path, play.kaggle, play.clock)
    assert path.read_bytes() == before


def test_a_repair_that_is_killed_leaves_no_empty_ledger(
    after: After, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each of its renames: no ledger opens, none is made, and the next repair ends it."""
    play.machine = "laptop"
    after(100, 200)
    path = play.folder / "laptop.db"
    spoil(path)
    damaged, replace, renames = path.read_bytes(), Path.replace, list[str]()

    def renamed(left: int) -> Callable[[Path, Path | str], Path]:
        def rename(place: Path, target: Path | str) -> Path:
            if len(renames) == left:
                raise KeyboardInterrupt
            renames.append(place.name)
            return replace(place, target)

        return rename

    for left in (0, 1, 2, 1):  # The third kill leaves the whole new ledger, so that two renames are left.
        renames.clear()
        monkeypatch.setattr(Path, "replace", renamed(left))
        with pytest.raises(KeyboardInterrupt):
            repair(path, play.kaggle, play.clock)
        monkeypatch.undo()
        with pytest.raises(LedgerDamagedError):
            play.ledger()
        with Ledger(path, play.kaggle.service, in_memory=True) as known:
            assert known.all()
    assert not path.exists()
    done = repair(path, play.kaggle, play.clock)
    assert done is not None
    assert done.kept == 2
    assert [item.read_bytes() for item in play.folder.glob("*-damaged-*")] == [damaged]
    with play.ledger() as ledger:
        assert [item.number for item in ledger.all()] == [2, 1]
    assert play.pushed() == "asha/bangla-tts-a/2"
