"""What a process hides of its own environment; `tests/cli/test_emulator_command.py` has a session look."""

import subprocess
import sys

import pytest

from orchestrator.emulator import conceal_environment
from tests.support import REPOSITORY

LOOK = """
import os
from orchestrator.emulator import conceal_environment
assert conceal_environment() == 3
shown = open("/proc/self/environ").read()
print(shown.replace("\\0", "\\n"))
assert os.environ["KAGGLE_KEY"] == "key-of-mine"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/environ")
def test_secrets_are_overwritten_and_nothing_else() -> None:
    """By their names, or for the password in an address; the process itself still knows them."""
    environment = {
        "KAGGLE_KEY": "key-of-mine",
        "github_token": "token-of-mine",
        "INDEX": "https://user:pass-of-mine@example.org/simple",
        "PLAIN": "a=b",
        "EMPTY_TOKEN": "",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=True
    )
    assert "of-mine" not in done.stdout
    for line in ("PLAIN=a=b", "EMPTY_TOKEN=", "KAGGLE_KEY=xxxxxxxxxxx", f"PYTHONPATH={REPOSITORY}"):
        assert line in done.stdout.splitlines()


def test_other_systems_show_no_environments() -> None:
    """There is nothing to overwrite."""
    assert conceal_environment("darwin") == 0
