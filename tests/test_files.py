"""Files are written completely; one process holds a machine's lock, until it ends."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import LocalError
from orchestrator.files import expanded, home_folder, is_there, rename, replacing, write_atomically
from orchestrator.locks import machine_lock
from tests.support import REPOSITORY, clean_environment

_HOLDER = """
import sys, os
from pathlib import Path
from orchestrator.locks import machine_lock
with machine_lock(Path(sys.argv[1]), "run"):
    print("held", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), 9)  # SIGKILL, which Windows does not name and understands.
"""


def test_a_lock_that_is_held_is_waited_for_in_vain(tmp_path: Path) -> None:
    """The second holder gives up after its time; another lock, and a later try, succeed."""
    with machine_lock(tmp_path, "run"):
        with machine_lock(tmp_path, "another"):
            pass
        with (
            pytest.raises(LocalError, match="is working on the same run"),
            machine_lock(tmp_path, "run", timeout_s=0.05),
        ):
            pass
    with machine_lock(tmp_path, "run", timeout_s=0.05):
        pass


def test_a_killed_holder_leaves_it_free(tmp_path: Path) -> None:
    """The system releases the lock of a killed process."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**clean_environment(tmp_path), "PYTHONPATH": str(REPOSITORY)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == b"held"
    with pytest.raises(LocalError), machine_lock(tmp_path, "run", timeout_s=0.05):
        pass
    holder.communicate()
    with machine_lock(tmp_path, "run", timeout_s=0.05):
        pass


def test_a_place_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """A file instead of the folder, or a folder instead of the lock, is an error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match="cannot be used"), machine_lock(tmp_path / "file", "run"):
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mode bits.")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_gets_the_permissions_of_any_new_file(tmp_path: Path, mask: int) -> None:
    """The umask decides, not the temporary file's mode."""
    before = os.umask(mask)
    try:
        (tmp_path / "plain").write_bytes(b"")
        write_atomically(tmp_path / "ours", "text")
        write_atomically(tmp_path / "ours", "another")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes["ours"] == modes["plain"] == 0o666 & ~mask


def test_a_write_that_breaks_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """The old file stays, also with the longest allowed name."""
    place = tmp_path / ("ব" * 85)
    write_atomically(place, "old")
    with pytest.raises(ZeroDivisionError), replacing(place) as file:
        file.write(bytes(1 // 0))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(place.name, "old")]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match="Could not write"):
        write_atomically(tmp_path / "file" / "below", "text")


def test_what_is_there(tmp_path: Path) -> None:
    """Files and folders are; nothing is below a file, or has a name with a NUL."""
    (tmp_path / "file").write_text("")
    assert is_there(tmp_path)
    assert is_there(tmp_path / "file")
    for absent in ("other", "file/below", "a\0b"):
        assert not is_there(tmp_path / absent)


@pytest.mark.posix  # Windows says that there is no such file.
def test_what_cannot_be_told(tmp_path: Path) -> None:
    """An error is not taken for absence, as `Path.exists` does from Python 3.14 on."""
    with pytest.raises(OSError, match="too long"):
        is_there(tmp_path / ("x" * 300))


class Held(type(Path())):  # type: ignore[misc]  # The class of this system's paths.
    """A file that another program holds for its first `held` renames, like virus scanners on Windows."""

    held = 0
    winerror: int | None = 32

    def replace(self, target: object) -> object:
        """Refuse, or rename."""
        type(self).held -= 1
        if type(self).held >= 0:
            error = PermissionError(13, "held")
            error.winerror = self.winerror  # type: ignore[attr-defined]  # Only Windows has it.
            raise error
        return super().replace(target)


def test_a_file_that_a_virus_scanner_holds_is_renamed_when_it_is_free(tmp_path: Path) -> None:
    """The rename is tried again for more than a second; then it is an error."""
    waits: list[float] = []
    (tmp_path / "new").write_text("new")
    Held.held = 4
    rename(Held(tmp_path / "new"), tmp_path / "old", waits.append)
    assert (tmp_path / "old").read_text() == "new"
    assert len(waits) == 4
    Held.held = 100
    waits.clear()
    with pytest.raises(PermissionError):
        rename(Held(tmp_path / "old"), tmp_path / "other", waits.append)
    assert 1 < sum(waits) < 3


def test_what_is_refused_for_good_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux and macOS refuse a rename for want of a permission, which waiting does not give."""
    monkeypatch.setattr(Held, "winerror", None)
    monkeypatch.setattr(Held, "held", 1)
    waits: list[float] = []
    with pytest.raises(PermissionError):
        rename(Held(tmp_path / "new"), tmp_path / "old", waits.append)
    assert waits == []


def test_all_that_is_written_whole_waits_for_a_virus_scanner(tmp_path: Path) -> None:
    """So does the ledger, the settings, and every file that `replacing` writes."""
    Held.held = 1
    write_atomically(Held(tmp_path / "kgtts.toml"), "text")
    assert (tmp_path / "kgtts.toml").read_text() == "text"
    assert Held.held < 0


def test_who_has_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `~` whose home nobody knows is a name like any other, and a home that is needed is asked for."""
    assert expanded("~nobody-of-this-name/voice").name == "voice"  # Windows takes it for a neighbour's.
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert expanded("~/voice") == Path("~/voice")
    with pytest.raises(LocalError, match="no home folder"):
        home_folder()
