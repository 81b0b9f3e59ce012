"""Looks through the installed packages once in a process."""

import functools
import importlib.metadata


def remember_packages() -> None:
    """Look through all installed packages once, for the modules that do so when they are imported.

    Coqui TTS does it twice and transformers once, each time in 1 ms per package: Kaggle's image has about a
    thousand.
    """
    importlib.metadata.packages_distributions = functools.cache(importlib.metadata.packages_distributions)
