"""Gives Coqui's phonemizer the program `espeak-ng`, if there is none but the Python package."""

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from kernel_template.text import espeak


def with_espeak(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment in which `espeak-ng` is found, if eSpeak NG is there in any form.

    Args:
        env: the environment of the process that makes phonemes.
        folder: where the program is put, if only the package espeakng-loader is there.
    """
    path = env.get("PATH", os.defpath)
    importlib.invalidate_caches()  # The package may have come since this process began.
    loader = importlib.util.find_spec(espeak.PACKAGE)
    found = shutil.which("espeak-ng", path=path) or shutil.which("espeak", path=path)
    if found or loader is None or loader.origin is None:
        return dict(env)
    package = Path(loader.origin).parents[1]
    command = (sys.executable, "-I", "-S", espeak.__file__, str(package))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / "espeak-ng"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    except OSError:
        return dict(env)
    return {**env, "PATH": f"{folder}{os.pathsep}{path}"}
