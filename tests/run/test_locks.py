"""The lock of a machine: one at a time, given back by whatever end, and a sentence when it is not free."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import LocalError
from orchestrator.locks import machine_lock
from tests.support import REPOSITORY

_HOLDER = """
import sys, os, signal
from pathlib import Path
from orchestrator.locks import machine_lock
with machine_lock(Path(sys.argv[1]), "run"):
    print("held", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_lock_that_is_held_is_waited_for_in_vain(tmp_path: Path) -> None:
    """After its patience the second gives up; another name and a later turn are free."""
    with machine_lock(tmp_path, "run"):
        with machine_lock(tmp_path, "another"):
            pass
        with (
            pytest.raises(LocalError, match="is working on the same run"),
            machine_lock(tmp_path, "run", patience_s=0.05),
        ):
            pass
    with machine_lock(tmp_path, "run", patience_s=0.05):
        pass


def test_a_killed_holder_leaves_it_free(tmp_path: Path) -> None:
    """The system gives it back; nothing stays that could be in the way."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(REPOSITORY)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(LocalError), machine_lock(tmp_path, "run", patience_s=0.05):
        pass
    holder.communicate()
    with machine_lock(tmp_path, "run", patience_s=0.05):
        pass
    assert [path.suffix for path in (tmp_path / "locks").iterdir()] == [".db"]


def test_a_place_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """A file in the way of the folder, and a lock file that is none."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match="cannot be used"), machine_lock(tmp_path / "file", "run"):
        pass
    with machine_lock(tmp_path, "run"):
        place = next((tmp_path / "locks").iterdir())
    place.write_bytes(b"no database" * 100)
    with pytest.raises(LocalError, match="cannot be used"), machine_lock(tmp_path, "run"):
        pass
