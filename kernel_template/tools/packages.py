"""Looks through the installed packages once in a process."""

import functools
import sys
from pathlib import Path


def remember_packages() -> None:
    """Look through all installed packages once, for the modules that do so when they are imported.

    Coqui TTS does it twice and transformers once, each time in 1 ms per package: Kaggle's image has about a
    thousand. What is installed meanwhile, there or in a folder that `sys.path` gets, is seen.
    """
    import importlib.metadata  # noqa: PLC0415 - takes 0.02 s, and a process without Coqui TTS needs none of it.

    look = importlib.metadata.packages_distributions
    remembered = functools.lru_cache(maxsize=1)(lambda _places: look())
    importlib.metadata.packages_distributions = lambda: remembered(tuple(map(_changed, sys.path)))


def _changed(place: str) -> tuple[str, int]:
    """A place of packages, and when one last came or went there, in nanoseconds; 0 if it is not there."""
    try:
        return place, Path(place).stat().st_mtime_ns
    except OSError:
        return place, 0
