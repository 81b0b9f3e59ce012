"""Ctrl-C at any point of any command ends it with 130 and a message, never with a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

# A signal that comes, every time, while the command loads a module that it cannot do without.
_DRIVER = """
import os, signal, sys
module, sent = sys.argv.pop(1), []
def hook(event, args):
    if event == "import" and args[0] == module and not sent:
        sent.append(module)
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
from orchestrator.cli import main
main(sys.argv[1:])
"""
_SETTINGS = "pydantic"
_LOGIN = "orchestrator.kaggle.client"


@pytest.mark.posix  # os.kill means another thing on Windows.
@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("init", _SETTINGS),
        ("config schema", _SETTINGS),
        ("config show", _SETTINGS),
        ("render", "jinja2"),
        ("demo", "orchestrator.emulator.emulator"),
        ("emulator", "orchestrator.emulator.emulator"),
        ("doctor", _LOGIN),
        ("push --config empty.toml", _LOGIN),
        ("status", _LOGIN),
        ("logs", _LOGIN),
        ("pull", _LOGIN),
        ("sync --config empty.toml", _LOGIN),
        ("watch --config empty.toml", _LOGIN),
        ("list --all", _LOGIN),
        ("quota", _LOGIN),
        ("open --print", _LOGIN),
        ("stop", _LOGIN),
        ("delete a/some-kernel --yes", _LOGIN),
        ("cancel a/some-kernel --yes", _LOGIN),
    ],
)
def test_ctrl_c_ends_any_command(
    command: str, module: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 130, a message and no traceback; no partial file is left in the folder."""
    monkeypatch.setenv("KAGGLE_USERNAME", "asha")
    monkeypatch.setenv("KAGGLE_KEY", "made-up")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    (workplace / "empty.toml").touch()
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, module, *command.split()],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "Interrupted" in done.stderr or "Stopped" in done.stderr
    assert not (workplace / "kgtts.toml").exists()
    assert not (workplace / "kernel").exists()
