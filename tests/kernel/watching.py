"""Records a training of several ranks: each rank's own gradients, and those that its optimizers used.

`watch(trainer)` does nothing unless KGTTS_WATCH names a folder. Each rank leaves `<rank>.pth` there: weights,
and for the steps of KGTTS_WATCH_STEPS the gradients. `unsynchronised()` takes the synchronisation out.
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn


class _Bare(nn.Module):
    """Replaces torch's DDP and does nothing of what it does."""

    def __init__(self, module: nn.Module, **_options: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value


def rank() -> int:
    """Return this process's rank."""
    return int(os.environ.get("KGTTS_RANK", "0"))


def unsynchronised() -> None:
    """Train without synchronisation: each rank uses its own gradients."""
    nn.parallel.DistributedDataParallel = _Bare  # type: ignore[assignment, misc] # That is the point.


class Watch:
    """Keeps gradients before and after they are averaged.

    Args:
        trainer: a Trainer that has not begun.
        folder: where the findings go.
        steps: the steps whose gradients are kept.
    """

    def __init__(self, trainer: Any, folder: Path, steps: set[int]) -> None:
        self._trainer = trainer
        self._folder = folder
        self._steps = steps
        self._local: dict[str, torch.Tensor] = {}
        self._found: list[dict[str, Any]] = []
        names = {id(item): name for name, item in trainer.model.named_parameters()}
        for name, item in trainer.model.named_parameters():
            if item.requires_grad:
                item.register_hook(lambda gradient, name=name: self._keep(name, gradient))
        for index, optimizer in enumerate(trainer.optimizer):
            parameters = [
                (names[id(item)], item) for group in optimizer.param_groups for item in group["params"]
            ]
            optimizer.register_step_pre_hook(
                lambda *_args, index=index, parameters=parameters: self._take(index, parameters)
            )

    def _keep(self, name: str, gradient: torch.Tensor) -> None:
        if self._trainer.total_steps_done in self._steps:
            self._local[name] = gradient.detach().clone()

    def _take(self, index: int, parameters: list[tuple[str, Any]]) -> None:
        step = self._trainer.total_steps_done
        if step not in self._steps:
            return
        taken = {name: item.grad.clone() for name, item in parameters if item.grad is not None}
        local = {name: self._local[name] for name in taken}
        self._found.append({"step": step, "optimizer": index, "local": local, "taken": taken})

    def write(self) -> None:
        """Write what was recorded."""
        state = {
            "model": self._trainer.model.state_dict(),
            "optimizer": [item.state_dict() for item in self._trainer.optimizer],
            "scale": self._trainer.scaler.get_scale() if self._trainer.scaler is not None else None,
            "steps": self._trainer.total_steps_done,
            "gradients": self._found,
        }
        torch.save(state, self._folder / f"{rank()}.pth")


def watch(trainer: Any) -> None:
    """Record the Trainer whose `fit` comes next."""
    if "KGTTS_WATCH" not in os.environ:
        return
    folder = Path(os.environ["KGTTS_WATCH"])
    steps = {int(step) for step in os.environ.get("KGTTS_WATCH_STEPS", "").split(",") if step}
    found = Watch(trainer, folder, steps)
    ended = trainer.callbacks.on_epoch_end

    def on_epoch_end(*args: Any) -> None:
        found.write()
        ended(*args)

    trainer.callbacks.on_epoch_end = on_epoch_end
