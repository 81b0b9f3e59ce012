"""Runs modules of this package in processes of their own: their command and environment."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "kernel_template"
# The folder that holds this package: /kaggle/temp/kgtts in a session.
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_PATH = "PYTHONPATH"


@dataclass(frozen=True, slots=True)
class PackagePrograms:
    """The modules of this package that run as programs of their own.

    Args:
        python: the interpreter that trains.
        root: the folder that holds the package; tests name one with other programs in it.
    """

    python: str = sys.executable
    root: Path = PACKAGE_ROOT

    def command(self, module: str, *arguments: str) -> list[str]:
        """The command that runs `module`, such as `host.launch`, without buffering its output.

        With -P, since `python -m` looks for modules in the current folder first: an output called json.py
        would take the place of Python's own.
        """
        return [self.python, "-u", "-P", "-m", f"{PACKAGE}.{module}", *arguments]

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Put the package's folder in front of PYTHONPATH; the host removes it before the user's script."""
        return {**base, _PATH: os.pathsep.join(filter(None, (str(self.root), base.get(_PATH))))}
