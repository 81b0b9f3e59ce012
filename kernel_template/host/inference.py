"""Replaces what was cached during an evaluation, which a training step cannot use.

Coqui evaluates under torch's inference mode. A tensor that is made there can never take part in a backward
pass: "Inference tensors cannot be saved for backward". Coqui (0.28) keeps such tensors for later steps, among
them the mel basis and the Hann window of TTS.utils.audio.torch_transforms. An evaluation before a process's
first step therefore ended the training: `start_with_eval`, or a session that resumes right before one.
"""

import sys
from collections.abc import Iterator
from typing import Any

import torch

from kernel_template.host.coqui import Trainer


def make_caches_trainable(trainer: Trainer) -> None:
    """Replace the inference tensors in the caches of Coqui, script and model by ordinary ones."""
    for variables in _owners(trainer):
        _replace(variables)


def _owners(trainer: Trainer) -> Iterator[dict[str, Any]]:
    packages = ("TTS", "__main__", type(trainer.model).__module__.partition(".")[0])
    for name, module in list(sys.modules.items()):  # Thousands.
        if (
            name.startswith(packages)
            and name.partition(".")[0] in packages
            and isinstance(vars(module), dict)
        ):
            yield vars(module)
    for owner in (trainer.model, *trainer.criterion):
        for part in owner.modules() if isinstance(owner, torch.nn.Module) else ():
            yield vars(part)
            yield part._buffers  # noqa: SLF001 - vars() has it as one more dict, whose tensors count too.


def _replace(values: dict[Any, Any], *, nested: bool = True) -> None:
    for key, value in list(values.items()):
        if isinstance(value, torch.Tensor):
            if value.is_inference():
                values[key] = value.clone()
        elif nested and type(value) is dict:
            _replace(value, nested=False)
