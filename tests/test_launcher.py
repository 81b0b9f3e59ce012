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

from orchestrator import launcher

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
