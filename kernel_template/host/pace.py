"""What the host is told, what it reports, and its clock: whether another epoch, or another step, still fits.

Nothing here needs torch.
"""

import contextlib
import json
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MARGIN = 1.05  # The next epoch may take this much longer than the slowest of the last.
_EPOCHS_KEPT = 3
_STEPS_KEPT = 20
_DISK_BYTES_PER_S = 50e6  # How fast a checkpoint is taken to be written until one has been.


@dataclass(frozen=True, slots=True)
class Control:
    """CONTROL.json: what the kernel asks of the host. Every key but `report` may be absent.

    Args:
        report: where HOST_REPORT.json goes.
        budget_s: seconds from the host's start by which the training must have ended and all be saved.
        until_step: the global step to stop at.
        patience: evaluations without a better loss after which to stop.
        continue_path: the run folder to go on in.
        checkpoint: the checkpoint in it to go on from.
        best_model: the best model in it, if there is one.
        seconds_per_epoch: what an epoch took in the session before.
        batch_size: the batch of each card in place of the configuration's.
        accumulate: batches whose gradients make one step.
        speed, data, disk: these sections of the kernel's settings.
    """

    report: Path
    budget_s: float | None = None
    until_step: int | None = None
    patience: int | None = None
    continue_path: str | None = None
    checkpoint: str | None = None
    best_model: str | None = None
    seconds_per_epoch: float | None = None
    batch_size: int | None = None
    accumulate: int = 1
    speed: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    disk: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Control":
        """Take what CONTROL.json holds."""
        names = [name for name in cls.__dataclass_fields__ if name != "report"]
        known = {name: values[name] for name in names if values.get(name) is not None}
        return cls(Path(values["report"]), **known)


class HostReport:
    """HOST_REPORT.json: how far the training has come and why it stopped, always whole on the disk."""

    def __init__(self, path: Path) -> None:
        self.values: dict[str, Any] = {
            "stopped": None,  # Or "budget", "until_step", "no_improvement", "signal", "oom".
            "finished": False,  # The last epoch that was asked for has ended.
            "global_step": None,  # Steps done.
            "epoch": None,  # Epochs done, and batches of the next one.
            "batch": None,
            "start": None,  # The same three, where this session began.
            "seconds_per_epoch": None,
            "steps_per_epoch": None,
            "best_loss": None,
            "bad_evals": None,
            "hooks": False,  # Whether a Trainer was made and hosted.
            "ranks": 1,  # Processes that train the model together.
            # Seconds of this process: its imports, its loaders, and from its start to its first step done.
            "imports_s": None,
            "data_s": None,
            "first_step_at": None,
            "first_step_s": 0.0,  # What that step took.
            "counted_at": None,  # When all that follows was counted, since this process's start.
            # Seconds in steps, seconds waiting for batches, and samples of all ranks together.
            "step_seconds_total": 0.0,
            "loader_wait_s_total": 0.0,
            "samples_total": 0,
            "warnings": [],
        }
        self._path = path

    def write(self, **changes: Any) -> None:
        """Take `changes` and write all of it; a disk that is full costs the report, not the training."""
        self.values.update(changes)
        part = self._path.with_name(f".kgtts-{self._path.name}.part")
        with contextlib.suppress(OSError):
            part.write_text(json.dumps(self.values, indent=1) + "\n", encoding="utf-8")
            part.replace(self._path)


class Pace:
    """Measures epochs, steps and saves, and says what still fits before the deadline.

    Args:
        clock: seconds of a clock that never goes back.
        began: when the process was started, by that clock.
        budget_s: seconds from then to the deadline; None for no deadline.
        seconds_per_epoch: what an epoch is known to take from an earlier session.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        began: float,
        budget_s: float | None,
        seconds_per_epoch: float | None = None,
    ) -> None:
        self.clock = clock
        self.deadline = math.inf if budget_s is None else began + budget_s
        self.save_s = 0.0
        self._session_s = math.inf
        self._earlier = seconds_per_epoch
        self._epochs: deque[float] = deque(maxlen=_EPOCHS_KEPT)
        self._steps: deque[float] = deque(maxlen=_STEPS_KEPT)
        self._tails: deque[float] = deque(maxlen=_EPOCHS_KEPT)  # Evaluation, test and best model.
        self._epoch_began = self._train_began = self._step_began = self._train_ended = began
        self._steps_here = 0
        self._first_step: float | None = None
        self._saved_in_step = 0.0
        self._save_known = False

    def begin(self, checkpoint_bytes: int) -> None:
        """The training begins; a checkpoint will have about `checkpoint_bytes`."""
        now = self.clock()
        self._session_s = self.deadline - now  # What another session like this one has for training.
        self.save_s = checkpoint_bytes / _DISK_BYTES_PER_S
        self._epoch_began = self._train_began = self._train_ended = now

    def epoch_began(self) -> None:
        """An epoch begins."""
        self._epoch_began = self._train_began = self._train_ended = self.clock()
        self._steps_here = 0

    def train_began(self) -> None:
        """The first batch of this session is about to be fetched: earlier ones have been passed over."""
        self._train_began = self._step_began = self._train_ended = self.clock()
        self._saved_in_step = 0.0

    def step_done(self) -> None:
        """A step is done, with the evaluation in its wake if one was due; saving is counted on its own."""
        now = self.clock()
        seconds = max(0.0, now - self._step_began - self._saved_in_step)
        if self._first_step is None:
            self._first_step = seconds
        elif self._steps_here == 1 and len(self._steps) == 1:
            self._steps.clear()  # What the first step took is known by now not to be a step's usual time.
        self._steps.append(seconds)
        self._step_began = now
        self._saved_in_step = 0.0
        self._steps_here += 1

    def train_ended(self) -> None:
        """The epoch's last step is done."""
        self._train_ended = self.clock()

    def epoch_ended(self, batches: int | None) -> None:
        """An epoch has ended that has `batches` steps; not all of them need have been made here."""
        now = self.clock()
        self._tails.append(now - self._train_ended)
        whole = now - self._epoch_began
        # A process's first step compiles and warms up; the epochs to come have none such.
        warm_up = (
            max(0.0, (self._first_step or 0.0) - max(self._steps, default=0.0)) if not self._epochs else 0.0
        )
        if batches and 0 < self._steps_here < batches:
            per_step = (self._train_ended - self._train_began - warm_up) / self._steps_here
            whole = per_step * batches + self._tails[-1] + warm_up
        self._epochs.append(whole - warm_up)

    def saved(self, seconds: float) -> None:
        """A checkpoint took `seconds` to write."""
        self._saved_in_step += seconds
        self.save_s = max(self.save_s, seconds) if self._save_known else seconds
        self._save_known = True

    def seconds_per_epoch(self, batches: int | None) -> float | None:
        """The mean of the last epochs; of an unfinished first one, what its steps lead to expect."""
        if self._epochs:
            return sum(self._epochs) / len(self._epochs)
        if self._earlier is not None or not self._steps or not batches:
            return self._earlier
        return sum(self._steps) / len(self._steps) * batches

    def epoch_fits(self) -> bool:
        """Whether to begin another epoch.

        One that would not fit into a whole session is begun all the same, and ended at a step.
        """
        slowest = max(self._epochs, default=self._earlier)
        if slowest is None:
            return True
        needed = slowest * _MARGIN + self.save_s
        if self.clock() + needed <= self.deadline:
            return True
        return needed > self._session_s and self.step_fits(last=False)

    def step_fits(self, *, last: bool) -> bool:
        """Whether what comes after this step fits: another step, or after the last one the epoch's end."""
        coming = max(self._tails if last else self._steps, default=0.0)
        return self.clock() + coming * _MARGIN + self.save_s <= self.deadline
