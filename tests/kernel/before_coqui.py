"""Looks through the installed packages for all trainings that a process forks: TTS asks when imported."""

import functools
import importlib.metadata

importlib.metadata.packages_distributions = functools.cache(importlib.metadata.packages_distributions)
importlib.metadata.packages_distributions()
