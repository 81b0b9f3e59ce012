"""The emulator on systems other than Linux."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.emulator.runner.sandbox import Sandbox
from orchestrator.emulator.service.state import StateFolder
from orchestrator.errors import ExitCode, LocalError
from tests.support import REPOSITORY

# Hides what Windows and an installation without the extra `local` lack.
_WITHOUT = """
import sys
for name in ("fcntl", "termios", "starlette", "uvicorn"):
    sys.modules[name] = None
import orchestrator.emulator
import orchestrator.emulator.demo.inputs
import orchestrator.emulator.runner.standins
"""
# Only the emulator takes this for Windows: Python's own modules could not be imported.
_ON_WINDOWS = """
import dataclasses, shutil, sys, tempfile, threading
system, sys.platform = sys.platform, "win32"
import orchestrator.emulator
sys.platform = system
from orchestrator.cli import main
main(sys.argv[1:])
"""


def test_windows_is_refused_when_it_is_started(tmp_path: Path) -> None:
    """An emulator can be created anywhere; starting it on Windows is an error that leaves nothing behind."""
    emulator = Emulator(tmp_path / "root")
    with pytest.raises(LocalError, match="The emulator needs Linux or macOS; on Windows use WSL") as caught:
        emulator.start(platform="win32")
    assert caught.value.exit_code is ExitCode.LOCAL
    assert not (tmp_path / "root").exists()
    emulator.stop()


@pytest.mark.parametrize("command", ["emulator --port 0", "demo"])
def test_commands_end_with_8_on_windows(workplace: Path, command: str) -> None:
    """The commands end with one message and no traceback."""
    done = subprocess.run(
        [sys.executable, "-c", _ON_WINDOWS, *command.split()],
        capture_output=True,
        check=False,
        cwd=workplace,
        env={"PATH": "", "HOME": str(workplace), "PYTHONPATH": str(REPOSITORY)},
        text=True,
        timeout=120,
    )
    assert done.returncode == ExitCode.LOCAL, done.stderr
    assert "on Windows use WSL" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_package_can_be_imported_anywhere() -> None:
    """Importing it needs nothing that only some systems or installations have."""
    subprocess.run([sys.executable, "-c", _WITHOUT], check=True, cwd=REPOSITORY)


def test_a_missing_package_is_named_when_it_is_started(tmp_path: Path) -> None:
    """The error names the package and the command that installs it."""
    program = (
        'import sys, pathlib; sys.modules["uvicorn"] = None\n'
        "from orchestrator.emulator import Emulator\n"
        "from orchestrator.errors import LocalError\n"
        "try: Emulator(pathlib.Path(sys.argv[1])).start()\n"
        "except LocalError as error: print(error.message, error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
        text=True,
    )
    assert "needs the package uvicorn" in done.stdout
    assert 'pip install ".[local]" --constraint constraints.txt' in done.stdout
    assert "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu" in done.stdout


def test_macos_relocates_sessions(tmp_path: Path) -> None:
    """On macOS, which has no mount namespaces, `auto` relocates at once and `namespace` is refused."""
    state = StateFolder(tmp_path)
    auto = Sandbox(state, EmulatorOptions(sandbox="auto"), platform="darwin")
    assert auto.relocated_because == "this system does not allow a mount namespace (only Linux has them)"
    assert list((tmp_path / "sessions").iterdir()) == []
    with pytest.raises(LocalError, match="only Linux has them"):
        _ = Sandbox(state, EmulatorOptions(sandbox="namespace"), platform="darwin").relocated_because
    state.close()
