"""What must be the same on all machines, each of which reads its own settings, inputs and checkpoint."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from kernel_template.host.protocol import Control

_ASKED = ("batch_size", "accumulate", "full_precision", "loss_scale", "length_buckets", "speed")
_POSITION = ("total_steps_done", "epoch", "batch")


def described(control: Control, trainer: Any, record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what must be the same: where the training resumes, the model's size, and each setting.

    Paths may differ, and how many processes load data.
    """
    asked = asdict(control)
    return {
        **{name: asked[name] for name in _ASKED},
        "the step it resumes from": trainer.total_steps_done,
        "the place it resumes from": [record.get(name) for name in _POSITION] if record is not None else None,
        "the number of weights": sum(item.numel() for item in trainer.model.parameters()),
        **dict(_settings(trainer.config.to_dict(), "config")),
    }


def difference(own: Mapping[str, Any], first: Mapping[str, Any]) -> str | None:
    """Return the first difference from what machine 0 has, in words; None if there is none."""
    for name in sorted(own.keys() | first.keys()):
        if own.get(name) != first.get(name):
            return f"{name} = {own.get(name)}, and machine 0 has {first.get(name)}"
    return None


def _settings(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the plain values of a configuration by dotted path, without those that may differ."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _settings(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _settings(item, f"{name}.{index}")
    elif isinstance(value, str | int | float) and not _may_differ(name, value):
        yield name, value


def _may_differ(name: str, value: Any) -> bool:
    return name.endswith("loader_workers") or (isinstance(value, str) and os.sep in value)
