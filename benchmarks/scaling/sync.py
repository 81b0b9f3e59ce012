"""What the ranks send each other: counted in the model, and on the wire."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scaling.voices import ROOT, SmallVoice
from orchestrator.emulator.runner.standins import standin_path

_WARM_UP = 4  # Steps: DDP makes its buckets anew after the first.
# A network of its own, so that nothing else is counted: its loopback must be switched on.
_OWN_NETWORK = ("unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
_FULL = """
import json
import torch
from torch import distributed
from TTS.tts.configs.vits_config import VitsConfig
from TTS.tts.models.vits import Vits
model = Vits(VitsConfig())
found = []
for optimizer in model.get_optimizer():
    tensors = [item for group in optimizer.param_groups for item in group["params"] if item.requires_grad]
    buckets, _ = distributed._compute_bucket_assignment_by_size(tensors, [2**20, 25 * 2**20])
    found.append({"tensors": len(tensors), "numbers": sum(item.numel() for item in tensors),
        "bytes": sum(item.numel() * item.element_size() for item in tensors), "buckets": len(buckets)})
print(json.dumps({"gradients": found, "buffers": len(list(model.buffers()))}))
"""


@dataclass(frozen=True, slots=True)
class StepBytes:
    """Bytes that the ranks of a training reduce in each step, of one rank."""

    gradients: int
    marks: int  # Which gradients a rank has used (DDP's `find_unused_parameters`), four bytes a tensor.
    decisions: int  # Which rank had a loss (three numbers for each optimizer), and whether to stop (two).

    @classmethod
    def of(cls, optimizers: list[dict[str, int]]) -> "StepBytes":
        """Count them.

        Args:
            optimizers: `tensors` and `bytes` of each.
        """
        gradients = sum(one["bytes"] for one in optimizers)
        tensors = sum(one["tensors"] for one in optimizers)
        return cls(gradients, 4 * tensors, 8 * (3 * len(optimizers) + 2))

    @property
    def total(self) -> int:
        """All of them."""
        return self.gradients + self.marks + self.decisions


def ring_bytes(size: float, ranks: int) -> float:
    """Bytes that each rank sends, and receives, when all ranks of a ring average `size` bytes."""
    return 2 * (ranks - 1) / ranks * size


def full_model() -> dict[str, Any]:
    """Build the whole VITS as Coqui does by default, and count the gradients of each optimizer."""
    paths = [str(ROOT), str(standin_path(sys.executable) or ""), os.environ.get("PYTHONPATH")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", _FULL], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def sent_a_step(result: dict[str, Any], ranks: int) -> float:
    """Return the bytes that each rank sent in a step, from a training's result."""
    sent = [step["sent"] for step in result["steps"] if step["epoch"] == result["steps"][-1]["epoch"]]
    steps = [after - before for before, after in zip(sent[_WARM_UP:], sent[_WARM_UP + 1 :], strict=False)]
    middle: float = median(steps)
    return middle / ranks


def report(folder: Path, rank_counts: tuple[int, ...] = (2, 3)) -> Iterator[str]:
    """Yield what was counted."""
    full = full_model()
    for name, one in zip(("discriminator", "generator"), full["gradients"], strict=True):
        yield f"whole VITS, {name}: {one}"
    step = StepBytes.of(full["gradients"])
    yield f"whole VITS: {step}, {step.total / 1e6:.1f} MB; buffers {full['buffers']}"
    for ranks in (2, 4, 8, 16):
        yield f"  {ranks} ranks: {ring_bytes(step.total, ranks) / 1e6:.0f} MB sent by each"
    before: tuple[str, ...] = _OWN_NETWORK
    if not shutil.which("unshare") or subprocess.run([*before, "true"], check=False).returncode:
        before = ()
        yield "There is no network namespace to be had: whatever else uses the loopback is counted too."
    small = SmallVoice.make(folder, utterances=96, held_out=2, speaking=False)
    for ranks in rank_counts:
        changes = {"batch_size": 1, "epochs": 1000}
        asked: dict[str, Any] = {"ranks": ranks, "steps": 16, "before": before}
        found = small.train(f"sync-{ranks}", changes, **asked)
        apart = small.train(f"apart-{ranks}", changes, apart=True, **asked)
        step = StepBytes.of(found["gradients"])
        counted, expected = sent_a_step(found, ranks), ring_bytes(step.total, ranks)
        decided = ring_bytes(step.decisions, ranks)
        yield (
            f"small VITS, {ranks} ranks: {step}; a rank sends {expected:,.0f} bytes a step by the formula, "
            f"{counted:,.0f} counted ({counted / expected - 1:+.3%}); without averaging {decided:.0f} and "
            f"{sent_a_step(apart, ranks):,.0f}"
        )
