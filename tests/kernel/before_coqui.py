"""Looks through the installed packages for all trainings that a process forks: TTS asks when imported."""

import functools
import importlib.metadata

# Whatever `sys.path` becomes, unlike `remember_packages`: a training's own folders hold no packages.
importlib.metadata.packages_distributions = functools.cache(importlib.metadata.packages_distributions)
importlib.metadata.packages_distributions()
