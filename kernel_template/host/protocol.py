"""What the session and the host exchange: CONTROL.json and HOST_REPORT.json.

The session writes a `Control` and reads a `HostReport`; the host does the reverse. Standard library only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from kernel_template.contract import BadSamples, HostStop


@dataclass(frozen=True, slots=True)
class SampleRules:
    """How samples are checked before the training."""

    bad_samples: str | None = None  # "skip", "refuse" or "keep"; None checks nothing.
    shortest_s: float = 0.0  # Of a recording, in seconds.
    longest_s: float | None = None
    table: str | None = None  # The CSV file that lists all problems; None writes none.
    letters: str | None = None  # The JSON file for the counts of the training texts' letters.
    recordings: str | None = None  # The JSON file for what the speaker's recordings are like.
    held_out: str | None = None  # The JSON file for the list of samples that are only evaluated on.


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """How much the session's outputs may take."""

    folder: str | None = None  # The folder whose files count.
    limit_bytes: int | None = None  # None for no limit.
    keep_checkpoints: int | None = None  # None leaves that to the configuration.


@dataclass(frozen=True, slots=True)
class SpeedRules:
    """What makes a step faster; speed.py says how."""

    exact: bool = True  # All that gives the same numbers, bit for bit.
    cudnn_search: bool = False  # Let cuDNN search its fastest algorithms for the parts with fixed shapes.
    round_lengths: bool = (
        False  # Pad batches to a few lengths, for each of which cuDNN chooses algorithms once.
    )
    deterministic: bool = False  # Use algorithms that give the same numbers each time.


@dataclass(frozen=True, slots=True)
class Control:
    """CONTROL.json: what the session asks of the host. Every key but `report` may be missing."""

    report: Path  # Where HOST_REPORT.json is written.
    budget_s: float | None = None  # From the host's start until the training must have ended and saved.
    until_step: int | None = None  # The global step to stop at.
    save_every_s: float | None = None  # How old the newest checkpoint may get.
    patience: int | None = None  # Evaluations without a better loss after which to stop.
    continue_path: str | None = None  # The run folder to resume in,
    checkpoint: str | None = None  # the checkpoint in it to resume from,
    best_model: str | None = None  # and the best model in it, if there is one.
    # What the session before used and what is asked for now, of the settings that differ, by dotted path.
    changed: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    base_config: str | None = None  # The base voice's config.json.
    inputs: Sequence[str] = ()  # The folders in which the session's inputs are.
    output: str | None = None  # Where run folders are made, if the script would make them elsewhere.
    seconds_per_epoch: float | None = None  # In the previous session.
    batch_size: int | None = None  # Per GPU, instead of the configuration's.
    accumulate: int = 1  # Batches whose gradients make one step.
    full_precision: bool = False  # Train without mixed precision, whatever the configuration says.
    loss_scale: float | None = None  # In mixed precision: begin with this loss scale, and never raise it.
    length_buckets: int = 0  # Steps' worth of samples that are sorted by length at a time; 0 sorts nothing.
    data: SampleRules = SampleRules()
    disk: DiskLimits = DiskLimits()
    speed: SpeedRules = SpeedRules()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Take the content of CONTROL.json; unknown keys are ignored, null means the default."""
        return cls(
            **_known(cls, values)
            | {
                "report": Path(values["report"]),
                "data": SampleRules(**_known(SampleRules, values.get("data"))),
                "disk": DiskLimits(**_known(DiskLimits, values.get("disk"))),
                "speed": SpeedRules(**_known(SpeedRules, values.get("speed"))),
            }
        )

    def values(self) -> dict[str, Any]:
        """Return the content of CONTROL.json."""
        return {**asdict(self), "report": str(self.report)}


@dataclass(frozen=True, slots=True)
class HostReport:
    """HOST_REPORT.json: how far the training has come and why it stopped. Times are in seconds."""

    stopped: HostStop | None = None
    finished: bool = False  # The last epoch ended.
    failed: bool = False  # The training ended with an error, which the script may hide.
    global_step: int | None = None  # Steps done,
    epoch: int | None = None  # epochs done,
    batch: int | None = None  # and batches done of the epoch after those.
    start: Mapping[str, int] | None = None  # The same three at the start of this process.
    seconds_per_epoch: float | None = None  # Measured, or taken from the previous session.
    steps_per_epoch: int | None = None
    best_loss: float | None = None
    bad_evals: int | None = None  # Evaluations since the best one.
    hooks: bool = False  # A Trainer was made and patched.
    mixed_precision: bool = False  # The training uses it.
    not_finite: str | None = None  # What was NaN or infinite, and when.
    loss_scale: float | None = None  # The loss scale at that time; None without a loss scaler.
    bad_checkpoint: str | None = None  # The checkpoint to resume from, if its weights are NaN or infinite.
    ranks: int = 1  # Processes that train the model together.
    sync_bytes: int | None = None  # Gradients that they average in each step; they send about twice as much.
    imports_s: float | None = None  # From this process's start until the trainer was imported.
    data_s: float | None = None  # Spent on making loaders and checking samples.
    first_step_at: float | None = None  # From this process's start to the end of its first step.
    first_step_s: float = 0.0  # What that step took.
    counted_at: float | None = None  # From this process's start until the totals were counted:
    step_seconds_total: float = 0.0  # spent in optimizer steps,
    loader_wait_s_total: float = 0.0  # spent waiting for batches,
    samples_total: int = 0  # samples trained on, by all ranks together.
    bad_samples: BadSamples | None = None
    refused: str | None = None  # Why the samples are too bad to train on.
    warnings: list[str] = field(default_factory=list)  # Sentences for the session's log.

    @classmethod
    def read(cls, values: Any) -> Self:
        """Take what has the right type: a script may write anything into any file."""
        if not isinstance(values, dict):
            return cls()
        start, warnings = values.get("start"), values.get("warnings")
        found: dict[str, Any] = {
            "stopped": HostStop(values["stopped"]) if values.get("stopped") in list(HostStop) else None,
            "finished": values.get("finished") is True,
            "failed": values.get("failed") is True,
            "hooks": values.get("hooks") is True,
            "mixed_precision": values.get("mixed_precision") is True,
            "not_finite": str(values["not_finite"]) if values.get("not_finite") else None,
            "bad_checkpoint": str(values["bad_checkpoint"]) if values.get("bad_checkpoint") else None,
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


_WHOLE = (
    "global_step",
    "epoch",
    "batch",
    "steps_per_epoch",
    "bad_evals",
    "ranks",
    "sync_bytes",
    "samples_total",
)
_NUMBERS = (
    "seconds_per_epoch",
    "best_loss",
    "loss_scale",
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
    counts: BadSamples = {
        "checked": whole(values.get("checked")),
        "left_out": whole(values.get("left_out")),
        "by_kind": {str(kind): whole(count) for kind, count in kinds.items()},
    }
    return counts | {"seconds": number(values["seconds"])} if "seconds" in values else counts


def whole(value: Any) -> int | None:
    """Return `value` if it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: Any) -> float | None:
    """Return `value` as a float if it is a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)
