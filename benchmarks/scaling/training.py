"""Coqui's own training script with a clock and a counter of bytes in it: `training.py [ARGUMENTS…]`.

KGTTS_SCALING holds a JSON object:

- `result`: the file that rank 0 writes when the training has ended.
- `apart`: whether the ranks keep their gradients to themselves. They still agree on everything else.
- `measure`: how often the held-out utterances are measured at the end, each time with other random numbers.
"""

import json
import os
import random
import runpy
import time
from pathlib import Path
from typing import Any

import torch
from trainer import Trainer

from kernel_template.host.peers import Peers

_ASKED: dict[str, Any] = json.loads(os.environ["KGTTS_SCALING"])
_LOSSES = ("loss_mel", "loss_kl", "loss_duration")


def loopback_bytes() -> int:
    """Bytes that this network namespace has sent to itself."""
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[0])
    return 0


def gradients_of(trainer: Any) -> list[dict[str, int]]:
    """What each optimizer's gradients are: tensors, numbers in them, bytes."""
    found = []
    for optimizer in trainer.optimizer:
        tensors = [item for group in optimizer.param_groups for item in group["params"] if item.requires_grad]
        size = sum(item.numel() * item.element_size() for item in tensors)
        found.append({"tensors": len(tensors), "numbers": sum(map(torch.numel, tensors)), "bytes": size})
    return found


def held_out(trainer: Any, repeats: int) -> dict[str, float]:
    """Return the mean losses over all held-out utterances, each measured `repeats` times.

    VITS draws noise and the second that it compares: the random numbers are the same for every voice.
    """
    model, criterion = trainer.model, trainer.criterion
    loader = trainer.get_eval_dataloader(trainer.eval_samples, verbose=False)
    totals, count = dict.fromkeys(_LOSSES, 0.0), 0
    model.eval()
    with torch.no_grad():
        for number in range(repeats):
            random.seed(number)
            torch.manual_seed(number)
            for batch in loader:
                formatted = trainer.format_batch(batch)
                size = len(formatted["token_lens"])
                model.train_step(formatted, criterion[0], 0)
                _, losses = model.train_step(formatted, criterion[1], 1)
                for name in _LOSSES:
                    totals[name] += float(losses[name]) * size
                count += size
    return {name: total / count for name, total in totals.items()}


def main() -> None:
    """Train, and let rank 0 write what it has seen."""
    steps: list[dict[str, float]] = []
    step, fit = Trainer.train_step, Trainer.fit

    def train_step(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        outputs, losses = step(trainer, *args, **kwargs)
        seen = {"ended": time.perf_counter(), "epoch": trainer.epochs_done, "sent": loopback_bytes()}
        seen |= {"processor": time.process_time(), "loss_mel": float((losses or {}).get("loss_mel", "nan"))}
        steps.append(seen)
        return outputs, losses

    def fitted(trainer: Any) -> None:
        result = {"gradients": gradients_of(trainer), "buffers": len(list(trainer.model.buffers()))}
        fit(trainer)
        if repeats := _ASKED.get("measure"):
            result["held_out"] = held_out(trainer, repeats)
        Path(_ASKED["result"]).write_text(json.dumps({**result, "steps": steps}), encoding="utf-8")

    Trainer.train_step, Trainer.fit = train_step, fitted
    if _ASKED.get("apart"):
        join = Peers.join

        def joined(peers: Any, trainer: Any) -> None:
            join(peers, trainer)
            peers.set_sync(False)

        Peers.join = joined  # type: ignore[assignment, method-assign]
    torch.manual_seed(1)  # Coqui makes the model before it sets its own seed.
    random.seed(1)
    runpy.run_module("TTS.bin.train_tts", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
