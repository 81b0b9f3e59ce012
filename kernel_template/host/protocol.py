"""What the session and the host exchange: CONTROL.json and HOST_REPORT.json.

The session writes a `Control` and reads a `HostReport`; the host does the reverse. Standard library only.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from kernel_template.contract import BadSamples, HostStop


@dataclass(frozen=True, slots=True)
class SampleRules:
    """How samples are checked before the training.

    Attributes:
        bad_samples: "skip", "refuse" or "keep"; None checks nothing.
        shortest_s: minimum length of a recording in seconds.
        longest_s: maximum length in seconds; None for no maximum.
        table: the CSV file that lists all problems; None writes none.
    """

    bad_samples: str | None = None
    shortest_s: float = 0.0
    longest_s: float | None = None
    table: str | None = None


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """How much the session's outputs may take.

    Attributes:
        folder: the folder whose files count.
        limit_bytes: their maximum size in bytes; None for no limit.
        keep_checkpoints: checkpoints to keep; None leaves that to the configuration.
    """

    folder: str | None = None
    limit_bytes: int | None = None
    keep_checkpoints: int | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """CONTROL.json: what the session asks of the host. Every key but `report` may be missing.

    Attributes:
        report: where HOST_REPORT.json is written.
        budget_s: seconds from the host's start by which the training must have ended with everything saved.
        until_step: the global step to stop at.
        patience: evaluations without a better loss after which to stop.
        continue_path: the run folder to resume in.
        checkpoint: the checkpoint in that folder to resume from.
        best_model: the best model in that folder, if there is one.
        seconds_per_epoch: what an epoch took in the previous session.
        batch_size: the batch size per GPU, instead of the configuration's.
        accumulate: batches whose gradients make one step.
        length_buckets: steps' worth of samples that are sorted by length at a time; 0 sorts nothing.
        data: how samples are checked.
        disk: how much disk the outputs may take.
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
    length_buckets: int = 0
    data: SampleRules = SampleRules()
    disk: DiskLimits = DiskLimits()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Take the content of CONTROL.json; unknown keys are ignored, null means the default."""
        return cls(
            **_known(cls, values)
            | {
                "report": Path(values["report"]),
                "data": SampleRules(**_known(SampleRules, values.get("data"))),
                "disk": DiskLimits(**_known(DiskLimits, values.get("disk"))),
            }
        )

    def values(self) -> dict[str, Any]:
        """Return the content of CONTROL.json."""
        return {**asdict(self), "report": str(self.report)}


@dataclass(frozen=True, slots=True)
class HostReport:
    """HOST_REPORT.json: how far the training has come and why it stopped.

    Times are in seconds. `epoch` epochs and `batch` batches of the next one are done after `global_step`
    steps; `start` holds the same three at the session's start.

    Attributes:
        stopped: why the host stopped the training; None if it did not.
        finished: whether the last epoch ended.
        global_step: steps done.
        epoch: epochs done.
        batch: batches done of the epoch after those.
        start: `global_step`, `epoch` and `batch` at the start of this process.
        seconds_per_epoch: measured, or taken from the previous session.
        steps_per_epoch: steps of an epoch.
        best_loss: the best loss so far.
        bad_evals: evaluations since then that were not better.
        hooks: whether a Trainer was made and patched.
        ranks: processes that train the model together.
        imports_s: from this process's start until the trainer was imported.
        data_s: spent on making loaders and checking samples.
        first_step_at: from this process's start to the end of its first step.
        first_step_s: what that step took.
        counted_at: from this process's start until the totals below were counted.
        step_seconds_total: spent in optimizer steps.
        loader_wait_s_total: spent waiting for batches.
        samples_total: samples trained on, by all ranks together.
        bad_samples: how many samples were checked and left out.
        refused: why the samples are too bad to train on; None if they are not.
        warnings: sentences for the session's log.
    """

    stopped: HostStop | None = None
    finished: bool = False
    global_step: int | None = None
    epoch: int | None = None
    batch: int | None = None
    start: Mapping[str, int] | None = None
    seconds_per_epoch: float | None = None
    steps_per_epoch: int | None = None
    best_loss: float | None = None
    bad_evals: int | None = None
    hooks: bool = False
    ranks: int = 1
    imports_s: float | None = None
    data_s: float | None = None
    first_step_at: float | None = None
    first_step_s: float = 0.0
    counted_at: float | None = None
    step_seconds_total: float = 0.0
    loader_wait_s_total: float = 0.0
    samples_total: int = 0
    bad_samples: BadSamples | None = None
    refused: str | None = None
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, values: Any) -> Self:
        """Take what has the right type: a script may write anything into any file."""
        if not isinstance(values, dict):
            return cls()
        start, warnings = values.get("start"), values.get("warnings")
        found: dict[str, Any] = {
            "stopped": HostStop(values["stopped"]) if values.get("stopped") in list(HostStop) else None,
            "finished": values.get("finished") is True,
            "hooks": values.get("hooks") is True,
            "start": {key: whole(item) or 0 for key, item in start.items()}
            if isinstance(start, dict)
            else None,
            "warnings": [str(item) for item in warnings] if isinstance(warnings, list) else [],
            "bad_samples": _sample_counts(values.get("bad_samples")),
            "refused": str(values["refused"]) if values.get("refused") else None,
            **{name: whole(values.get(name)) for name in _WHOLE},
            **{name: number(values.get(name)) for name in _NUMBERS},
        }
        return cls(**{name: value for name, value in found.items() if value is not None})

    @property
    def start_epoch(self) -> int | None:
        """Epochs done when this process began."""
        return self.start.get("epoch") if self.start else None


_WHOLE = ("global_step", "epoch", "batch", "steps_per_epoch", "bad_evals", "ranks", "samples_total")
_NUMBERS = (
    "seconds_per_epoch",
    "best_loss",
    "imports_s",
    "data_s",
    "first_step_at",
    "first_step_s",
    "counted_at",
    "step_seconds_total",
    "loader_wait_s_total",
)


def _known(kind: Any, values: Mapping[str, Any] | None) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    return {key: item for key, item in (values or {}).items() if key in names and item is not None}


def _sample_counts(values: Any) -> BadSamples | None:
    if not isinstance(values, dict) or not isinstance(kinds := values.get("by_kind"), dict):
        return None
    return {
        "checked": whole(values.get("checked")),
        "left_out": whole(values.get("left_out")),
        "by_kind": {str(kind): whole(count) for kind, count in kinds.items()},
    }


def whole(value: Any) -> int | None:
    """Return `value` if it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: Any) -> float | None:
    """Return `value` as a float if it is a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)
