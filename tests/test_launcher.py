"""The launcher on its own, also as an ordinary user."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from orchestrator import launcher
from tests.support import eventually

pytestmark = pytest.mark.posix
NOBODY = 65534


def test_an_ordinary_user_sees_kaggle(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a user namespace anybody sees /kaggle with read-only inputs, and owns what they write."""
    python = shutil.which("python3", path="/usr/bin")
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or python is None or setpriv is None:
        pytest.skip("wants root, setpriv and the system's python3")
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users.
        folder = Path(name)
        for below in ("root", "data", "kaggle/input/datasets/o/s", "kaggle/working"):
            (folder / below).mkdir(parents=True)
        (folder / "data" / "a").write_text("found")
        code = (
            "import os\nopen('mine', 'w').write(open('/kaggle/input/datasets/o/s/a').read())\n"
            "try: open('/kaggle/input/datasets/o/s/b', 'w')\nexcept OSError as error: print(error.errno)\n"
        )
        spec = {
            "command": [python, "-c", code],
            "cwd": "/kaggle/working",
            "environment": {},
            "namespace": {
                "root": str(folder / "root"),
                "kaggle": str(folder / "kaggle"),
                "binds": [[str(folder / "data"), "datasets/o/s"]],
            },
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        program = folder / "launcher.py"
        shutil.copyfile(launcher.__file__, program)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        leash, held = os.pipe()
        user = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
        done = subprocess.run(
            [setpriv, *user, python, "-I", "-S", str(program), str(folder / "spec.json")],
            stdin=leash,
            capture_output=True,
            check=False,
            timeout=60,
        )
        os.close(leash)
        os.close(held)
        if done.returncode == launcher.NO_NAMESPACE:
            pytest.skip(f"no user namespaces here: {done.stderr.decode()}")
        assert (done.returncode, done.stdout) == (0, b"30\n")
        assert (folder / "kaggle" / "working" / "mine").read_text() == "found"
        assert (folder / "kaggle" / "working" / "mine").stat().st_uid == NOBODY


@pytest.mark.parametrize(
    ("code", "exit_code"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 11)", 139)]
)
def test_exit_codes(tmp_path: Path, code: str, exit_code: int) -> None:
    """The launcher has the script's exit code; for a signal it is 128 plus its number."""
    spec: dict[str, Any] = {
        "command": [sys.executable, "-c", code],
        "cwd": str(tmp_path),
        "environment": {},
        "namespace": None,
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    leash, held = os.pipe()
    done = subprocess.run(
        [sys.executable, "-I", launcher.__file__, str(tmp_path / "spec.json")], stdin=leash, check=False
    )
    os.close(leash)
    os.close(held)
    assert done.returncode == exit_code


def launched(folder: Path, code: str, **keys: Any) -> subprocess.Popen[bytes]:
    """Start the launcher on a script that prints into a file."""
    spec = {
        "command": [sys.executable, "-c", code],
        "cwd": str(folder),
        "environment": {},
        "namespace": None,
        "output": str(folder / "log"),
        "lock": str(folder / "lock"),
        **keys,
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    return subprocess.Popen(
        [sys.executable, "-I", launcher.__file__, str(folder / "spec.json")], stdin=subprocess.PIPE
    )


SAVES = """
import signal, sys, time
def save(*_): print("saved", flush=True); sys.exit(130)
signal.signal(signal.SIGINT, save)
print("ready", flush=True)
time.sleep(60)
"""


def wait_for_ready(folder: Path) -> None:
    """Wait until the script listens."""
    with eventually("the script is ready") as again:
        while not (folder / "log").is_file() or "ready" not in (folder / "log").read_text():
            again()


def test_a_script_saves_when_nobody_is_there_any_more(tmp_path: Path) -> None:
    """It is interrupted, given time, and waited for; meanwhile the lock is held."""
    process = launched(tmp_path, SAVES, grace_s=30)
    wait_for_ready(tmp_path)
    with pytest.raises(Timeout):
        FileLock(tmp_path / "lock").acquire(blocking=False)
    process.communicate(timeout=60)
    assert (process.returncode, (tmp_path / "log").read_text()) == (130, "ready\nsaved\n")
    FileLock(tmp_path / "lock").acquire(blocking=False)


@pytest.mark.parametrize("word", [b"k", b"ik", b""])
def test_a_script_that_does_not_save_is_killed(tmp_path: Path, word: bytes) -> None:
    """On request, or when the grace period is over."""
    process = launched(tmp_path, SAVES.replace("sys.exit(130)", "time.sleep(60)"), grace_s=0.2)
    wait_for_ready(tmp_path)
    assert process.stdin is not None
    process.stdin.write(word)
    process.communicate(timeout=60)
    assert process.returncode == launcher.KILLED


def test_a_look_at_the_lock_does_not_keep_a_session_from_starting(tmp_path: Path) -> None:
    """Another process may hold it for a moment, to see whether a session is at work."""
    with FileLock(tmp_path / "lock"):
        process = launched(tmp_path, "print('ready', flush=True)", grace_s=1)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
    assert process.wait(60) == 0
    assert process.stdin is not None
    process.stdin.close()
