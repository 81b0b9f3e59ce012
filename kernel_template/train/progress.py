"""Reads the output of Coqui's trainer: lines in, events out.

It understands trainer 0.0.36 (with TTS 0.22) and 0.4.0 (with coqui-tts 0.28), with colours and indentation or
without, among warnings, progress bars and Bangla sentences. It does no I/O; the caller gives the time.

trainer 0.4.0 prints totals that are one too low (`EPOCH: 0/1` for two epochs). The number of epochs that was
asked for shows which of the two is printing.
"""

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from kernel_template.events import EpochEvent, EvalEvent, ProgressEvent
from kernel_template.tools.lines import plain_text

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|inf|nan)"
_EPOCH = re.compile(r"^\s*> EPOCH: (\d+)/(\d+)\s*$")
_STEP = re.compile(r"^\s*--> TIME: .*-- STEP: (\d+)/(\d+) -- GLOBAL_STEP: (\d+)\s*$")
_EPOCH_END = re.compile(r"^\s*--> TRAIN PERFORMA\w*CE -- EPOCH TIME: ([\d.]+) sec(?: -- GLOBAL_STEP: (\d+))?")
_EVAL = re.compile(r"^\s*--> EVAL PERFORMANCE\s*$")
_EVAL_STEP = re.compile(r"^\s*--> STEP: \d+\s*$")
_TRAINING = re.compile(r"^\s*> (?:TRAINING \(|EVALUATION\b)")
_CHECKPOINT = re.compile(r"^\s*> (CHECKPOINT|BEST MODEL) : (.+\.pth)\s*$")
# `| > name: value  (average)`; a value may be `tensor(28.9, device='cuda:0')`.
_LOSS = re.compile(
    rf"^\s*\| > ([\w./-]+):\s*(?:tensor\()?({_NUMBER})(?:,[^)]*)?\)?"
    rf"(?:\s*\(\s*(?:tensor\()?({_NUMBER})(?:,[^)]*)?\)?\s*\))?\s*$"
)
_FILE_STEP = re.compile(r"_(\d+)\.pth$")


@dataclass(frozen=True, slots=True)
class Saving:
    """The trainer begins to write a checkpoint: it prints the name before the file is whole."""

    path: str
    global_step: int | None
    epoch: int | None
    best: bool


@dataclass(frozen=True, slots=True)
class NotFinite:
    """A loss is NaN or infinite."""

    name: str
    value: str
    global_step: int | None


TrainerEvent = ProgressEvent | EvalEvent | EpochEvent | Saving | NotFinite


class _Block(StrEnum):
    """The list of losses that is being read."""

    NONE = "none"
    STEP = "step"
    EPOCH_END = "epoch_end"
    EVAL = "eval"
    IGNORED = "ignored"


def file_step(name: str) -> int | None:
    """The global step in a checkpoint's name, such as `checkpoint_12.pth`; None if it has none."""
    match = _FILE_STEP.search(name)
    return int(match.group(1)) if match else None


class ProgressParser:
    """Turns the trainer's lines into events.

    Args:
        epochs: how many epochs the training was asked for; None if unknown.

    Attributes:
        epoch: the epoch in progress, from 0.
        global_step: the newest step.
        train_losses: the newest means of the training's losses, by name.
        eval_losses: the newest losses of an evaluation, by name.
    """

    def __init__(self, *, epochs: int | None = None) -> None:
        self.epochs = epochs
        self.epoch: int | None = None
        self.global_step: int | None = None
        self.train_losses: dict[str, float] = {}
        self.eval_losses: dict[str, float] = {}
        self._epoch_losses: dict[str, float] = {}
        self._less_one = False
        self._block = _Block.NONE
        self._losses: dict[str, float] = {}
        self._averages: dict[str, float] = {}
        self._step = 0
        self._steps_per_epoch = 0
        self._epoch_began: float | None = None
        self._epoch_seconds: float | None = None
        self._first: tuple[float, int] | None = None  # Time and global step of the first step seen.
        self._not_finite: set[str] = set()

    def feed(self, line: str, now: float) -> list[TrainerEvent]:
        """Read one line, printed at `now` (seconds, monotonic)."""
        line = plain_text(line)
        if self._block is not _Block.NONE:
            if match := _LOSS.match(line):
                return self._take_loss(*match.groups())
            if not line.strip() and (self._losses or self._averages):
                return self._end_block(now)
        for pattern, begin in (
            (_STEP, self._begin_step),
            (_EPOCH, self._begin_epoch),
            (_EPOCH_END, self._begin_epoch_end),
            (_EVAL, self._begin_eval),
            (_EVAL_STEP, self._begin_ignored),
            (_TRAINING, self._begin_none),
            (_CHECKPOINT, self._saving),
        ):
            if match := pattern.match(line):
                return [*self._end_block(now), *begin(match, now)]
        return []

    def finish(self, now: float) -> list[TrainerEvent]:
        """Return the events of what is still open when the output ends."""
        return self._end_block(now)

    def _take_loss(self, name: str, value: str, average: str | None) -> list[TrainerEvent]:
        if self._block is _Block.IGNORED:
            return []
        number = float(value)
        # In an evaluation the parentheses hold the change since the one before.
        mean = float(average) if average is not None and self._block is _Block.STEP else number
        if math.isfinite(mean):
            self._averages[name] = mean
        if math.isfinite(number):
            self._losses[name] = number
            return []
        if name in self._not_finite or name.startswith("grad_norm"):
            return []  # With fp16 a norm overflows now and then; the scaler skips such a step.
        self._not_finite.add(name)
        return [NotFinite(name, value, self.global_step)]

    def _begin_step(self, match: re.Match[str], now: float) -> list[TrainerEvent]:
        self._block = _Block.STEP
        self._step = int(match.group(1))
        self._steps_per_epoch = int(match.group(2)) + int(self._less_one)
        self.global_step = int(match.group(3))
        if self._first is None:
            self._first = (now, self.global_step)
        return []

    def _begin_epoch(self, match: re.Match[str], now: float) -> list[TrainerEvent]:
        self.epoch, total = int(match.group(1)), int(match.group(2))
        if self.epochs is not None:
            self._less_one = total == self.epochs - 1
        else:
            self.epochs = total
        self._epoch_began = now
        self._epoch_seconds = None
        self._epoch_losses = {}
        return []

    def _begin_epoch_end(self, match: re.Match[str], _now: float) -> list[TrainerEvent]:
        self._block = _Block.EPOCH_END
        self._epoch_seconds = float(match.group(1))
        if match.group(2):
            self.global_step = int(match.group(2))
        return []

    def _begin_eval(self, _match: re.Match[str], _now: float) -> list[TrainerEvent]:
        self._block = _Block.EVAL
        return []

    def _begin_ignored(self, _match: re.Match[str], _now: float) -> list[TrainerEvent]:
        self._block = _Block.IGNORED
        return []

    def _begin_none(self, _match: re.Match[str], _now: float) -> list[TrainerEvent]:
        return []

    def _saving(self, match: re.Match[str], _now: float) -> list[TrainerEvent]:
        path = match.group(2)
        return [Saving(path, file_step(path), self.epoch, best=match.group(1) == "BEST MODEL")]

    def _end_block(self, now: float) -> list[TrainerEvent]:
        block, self._block = self._block, _Block.NONE
        losses, averages = self._losses, self._averages
        self._losses, self._averages = {}, {}
        if block is _Block.STEP:
            self.train_losses = self._epoch_losses = averages
            return [
                ProgressEvent(
                    epoch=self.epoch or 0,
                    epochs=self.epochs,
                    step=self._step,
                    steps_per_epoch=self._steps_per_epoch,
                    global_step=self.global_step,
                    losses=averages,
                    eta_s=self._eta(now),
                )
            ]
        if block is _Block.EPOCH_END:
            self.train_losses = self._epoch_losses = averages
        elif block is _Block.EVAL:
            return self._end_epoch(losses, now)
        return []

    def _end_epoch(self, losses: dict[str, float], now: float) -> list[TrainerEvent]:
        """End the epoch: the evaluation is its last block, and without one repeats the training's losses."""
        self.eval_losses = losses
        if self._steps_per_epoch and self.global_step is not None and self._step < self._steps_per_epoch:
            # The last step that was printed need not be the last one. Checkpoints are named by steps done.
            self.global_step += self._steps_per_epoch - self._step
            self._step = self._steps_per_epoch
        seconds = self._epoch_seconds
        if seconds is None and self._epoch_began is not None:
            seconds = now - self._epoch_began
        epoch = self.epoch or 0
        seconds = None if seconds is None else round(seconds, 2)
        return [
            EvalEvent(epoch, self.global_step, losses),
            EpochEvent(epoch, self.epochs, seconds, self._epoch_losses),
        ]

    def _eta(self, now: float) -> float | None:
        """Seconds to the end of the last epoch at the pace so far, with evaluations and saves."""
        if (
            self._first is None
            or self.global_step is None
            or self.epochs is None
            or not self._steps_per_epoch
        ):
            return None
        began, first = self._first
        done = self.global_step - first
        if done <= 0 or now <= began:
            return None
        left = (self.epochs - (self.epoch or 0)) * self._steps_per_epoch - self._step
        return round(max(left, 0) * (now - began) / done, 1)
