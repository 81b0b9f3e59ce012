"""Checks that all machines train the same thing: each has read its own settings, inputs and checkpoint."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from kernel_template.host.protocol import Control
from kernel_template.host.rendezvous import NodesRendezvous

_ASKED = ("batch_size", "accumulate", "full_precision", "loss_scale", "length_buckets", "speed")
_POSITION = ("total_steps_done", "epoch", "batch")


def check_same(
    rendezvous: NodesRendezvous, control: Control, trainer: Any, record: Mapping[str, Any] | None
) -> None:
    """Compare this rank with rank 0, before the first step.

    Args:
        rendezvous: which rank this is.
        control: what its session asks.
        trainer: the Trainer, with what it has restored.
        record: of the checkpoint that it resumes from.

    Raises:
        RuntimeError: this rank has other settings than rank 0, or resumes from another step.
    """
    own = json.loads(json.dumps(described(control, trainer, record)))
    if not rendezvous.rank:
        rendezvous.put("training-of-rank0", json.dumps(own).encode())
        return
    first = json.loads(rendezvous.get("training-of-rank0", "rank 0's settings"))
    for name in sorted(own.keys() | first.keys()):
        if own.get(name) != first.get(name):
            raise RuntimeError(
                f"Machine {rendezvous.node} has {name} = {own.get(name)}, and machine 0 has "
                f"{first.get(name)}: all machines need the same settings, inputs and checkpoint."
            )


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
