"""What the kernel and the host exchange: CONTROL.json and HOST_REPORT.json.

Nothing here needs torch.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
    def load(cls, path: Path) -> "Control":
        """Read the file at `path`."""
        return cls.read(json.loads(path.read_text(encoding="utf-8")))

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
