"""What a wider batch means for the learning rate: a small VITS, the same epochs, batches and rates in turn.

A batch of 8 on one rank is the step of two ranks with 4 each: their gradients are averaged. Batch 4 at other
rates is the control: if it gets better with a higher rate too, the rate was too low for it, and a wider batch
that likes the higher rate says nothing about width.
"""

import json
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.scaling.voices import SmallVoice

_NARROW = 4
_EPOCHS = 6
_UTTERANCES, _HELD_OUT = 64, 16
_SEEDS = (1, 2, 3)
# Batch, and the factor of the learning rate.
CELLS = (
    *((_NARROW, factor) for factor in (1.0, 2.0, 4.0)),
    *((2 * _NARROW, factor) for factor in (1.0, math.sqrt(2), 2.0)),
    *((4 * _NARROW, factor) for factor in (1.0, 2.0, 4.0)),
)


@dataclass(frozen=True, slots=True)
class Trained:
    """One training."""

    batch: int
    factor: float
    seed: int
    steps: int
    mel: float  # Mean mel loss of the held-out utterances after the last epoch,
    train_mel: float  # and of the last epoch's own steps.
    kl: float
    duration: float


class Rates:
    """The trainings, and the file that keeps them.

    Args:
        folder: for all files; a further call goes on where it ended.
        speaking: fine-tune the voice that speaks instead of the one that hums.
    """

    def __init__(self, folder: Path, *, speaking: bool) -> None:
        self._voice = SmallVoice.make(folder, utterances=_UTTERANCES, held_out=_HELD_OUT, speaking=speaking)
        self._speaking = speaking
        self._file = folder / ("rates-speaking.jsonl" if speaking else "rates.jsonl")
        self._lock = threading.Lock()

    @property
    def done(self) -> list[Trained]:
        """The trainings that are done."""
        if not self._file.exists():
            return []
        lines = self._file.read_text(encoding="utf-8").splitlines()
        return [Trained(**json.loads(line)) for line in lines]

    def run(self, minutes: float, jobs: int) -> int:
        """Train what is missing, `jobs` at a time; begin none after `minutes`. Returns how many are left."""
        until = time.monotonic() + 60 * minutes
        done = {(one.batch, one.factor, one.seed) for one in self.done}
        missing = [(*cell, seed) for seed in _SEEDS for cell in CELLS if (*cell, seed) not in done]

        def one(batch: int, factor: float, seed: int) -> None:
            if time.monotonic() < until:
                self._train(batch, factor, seed)

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, *zip(*missing, strict=True))) if missing else None
        return len(_SEEDS) * len(CELLS) - len(self.done)

    def _train(self, batch: int, factor: float, seed: int) -> None:
        config = self._voice.config
        changes: dict[str, Any] = {"batch_size": batch, "epochs": _EPOCHS, "training_seed": seed}
        changes |= {name: factor * config[name] for name in ("lr_gen", "lr_disc")}
        name = f"rate-{'speaking-' if self._speaking else ''}{batch}-{factor:.1f}-{seed}"
        found = self._voice.train(name, changes, measure=4)
        last = [step["loss_mel"] for step in found["steps"] if step["epoch"] == _EPOCHS - 1]
        held = found["held_out"]
        values = (held["loss_mel"], fmean(last), held["loss_kl"], held["loss_duration"])
        trained = Trained(batch, factor, seed, len(found["steps"]), *values)
        line = json.dumps({name: getattr(trained, name) for name in Trained.__slots__})
        print(line, flush=True)
        with self._lock, self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def table(self) -> Iterator[str]:
        """Yield the lines of the table."""
        yield "| batch | learning rate | steps | seeds | mel, held out | in the last epoch | kl | duration |"
        done = self.done
        for batch, factor in CELLS:
            found = [one for one in done if (one.batch, one.factor) == (batch, factor)]
            if not found:
                continue
            cells = []
            for name in ("mel", "train_mel", "kl", "duration"):
                values = [getattr(one, name) for one in found]
                spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
                cells.append(f"{fmean(values):.2f}{spread}")
            yield f"| {batch} | x {factor:.2f} | {found[0].steps} | {len(found)} | {' | '.join(cells)} |"
