"""Prepares a process that forks trainings of the small voice, before TTS is imported in them.

Coqui's discriminators get at most 256 channels instead of 1024: their last layers have nine tenths of the
small voice's weights, and took most of the time of a step. And it looks through the installed packages.
"""

import functools
import importlib.metadata
import sys
import types
from collections.abc import Callable

from torch import nn

from kernel_template.host.__main__ import ImportWatch

_MOST = 256  # Enough for the weights of a discriminator to take two of DDP's buckets.


def _narrow(layer: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def made(inputs: int, outputs: int, *arguments: object, **named: object) -> nn.Module:
        return layer(min(inputs, _MOST), min(outputs, _MOST), *arguments, **named)

    return made


def _narrow_discriminators(module: types.ModuleType) -> None:
    """Replace the layers that the classes of both modules make."""
    module.Conv1d = _narrow(nn.Conv1d)  # type: ignore[attr-defined]
    periods = sys.modules[module.DiscriminatorP.__module__]
    periods.nn = types.SimpleNamespace(**vars(nn) | {"Conv2d": _narrow(nn.Conv2d)})  # type: ignore[attr-defined]


sys.meta_path.insert(
    0, ImportWatch("TTS.tts.layers.vits.discriminator", lambda: None, _narrow_discriminators)
)
# TTS asks for them when it is imported; no training installs any.
importlib.metadata.packages_distributions = functools.cache(importlib.metadata.packages_distributions)
importlib.metadata.packages_distributions()
