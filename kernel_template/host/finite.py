"""Losses and weights that are NaN or infinite: the training stops before such weights are saved.

With fp16 a single step overflows now and then; the loss scaler skips it. Once the weights themselves are not
finite, every further step is lost, and a checkpoint of them would be where each later session begins.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

_IN_A_ROW = 3  # Steps. The scaler needs one or two to get out of an overflow.


class LossWatch:
    """Counts steps in a row whose losses are not finite.

    Attributes:
        names: the losses that were not finite in the last step that was looked at.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._in_a_row = 0
        self._waiting: dict[str, Any] = {}

    @property
    def hopeless(self) -> bool:
        """Whether the training cannot go on."""
        return self._in_a_row >= _IN_A_ROW

    def note(self, losses: Mapping[str, Any] | None) -> None:
        """Note a step's losses. Those that are still on a GPU are looked at after the next step."""
        seen = {name: value for name, value in (losses or {}).items() if "loss" in name}
        if not seen:
            return  # The model skipped this step.
        waiting, self._waiting = self._waiting, {}
        if any(isinstance(value, torch.Tensor) for value in seen.values()):
            self._waiting = seen
            seen = waiting
        if seen:
            self.names = [name for name, value in seen.items() if not math.isfinite(float(value))]
            self._in_a_row = self._in_a_row + 1 if self.names else 0


def all_finite(tensors: Iterable[Any]) -> bool:
    """Whether all numbers are finite; GPUs are waited for once each."""
    by_device: dict[Any, list[torch.Tensor]] = {}
    for item in tensors:
        if isinstance(item, torch.Tensor) and (item.is_floating_point() or item.is_complex()):
            by_device.setdefault(item.device, []).append(torch.isfinite(item.detach()).all())
    return all(bool(torch.stack(flags).all()) for flags in by_device.values())


def is_trainable(trainer: Any) -> bool:
    """Whether the weights and what the optimizers remember of them are finite."""
    states = (state for optimizer in trainer.optimizer for state in optimizer.state.values())
    return all_finite(trainer.model.parameters()) and all_finite(
        value for state in states if isinstance(state, Mapping) for value in state.values()
    )


def finite_checkpoint(state: Any) -> bool:
    """Whether a loaded checkpoint's weights are finite; True if it has none.

    Buffers do not count: a mask may be infinite on purpose.
    """
    model = state.get("model") if isinstance(state, Mapping) else None
    if not isinstance(model, Mapping):
        return True
    return all_finite(value for name, value in model.items() if "weight" in str(name) or "bias" in str(name))
