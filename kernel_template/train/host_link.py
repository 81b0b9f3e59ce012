"""The kernel's side of the package `host`: what it is asked, what it reports, and the time that it has."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernel_template.start.environment import Paths
from kernel_template.start.takeover import Resumed
from kernel_template.tools.files import WriteFile, json_bytes

# What is kept of the session's budget for samples, hashes and outputs.
_RESERVE_SHARE = 0.03
_RESERVE_MIN_S = 20.0
_RESERVE_MAX_S = 300.0
# How long before the time limit the host has to be done, so that it never meets the interrupt on its way out.
_LEAVE_SHARE = 0.05
_LEAVE_MAX_S = 5.0
_STOPS = ("budget", "until_step", "no_improvement", "signal", "oom")


@dataclass(frozen=True, slots=True)
class SessionBudget:
    """The time that the session has, by its own clock.

    Args:
        settings: the kernel's settings.
        elapsed: seconds since the kernel's start.
    """

    settings: Mapping[str, Any]
    elapsed: Callable[[], float]

    @property
    def total(self) -> float:
        """Seconds of the whole session; infinite when none were set."""
        told = self.settings.get("session_budget_s")
        return math.inf if told is None else float(told)

    @property
    def reserve(self) -> float:
        """Seconds kept for what comes after the training."""
        share = min(self.total * _RESERVE_SHARE, _RESERVE_MAX_S)
        return max(share, _RESERVE_MIN_S) if math.isfinite(self.total) else 0.0

    @property
    def left(self) -> float:
        """Seconds until the session must have ended."""
        return max(self.total - self.elapsed(), 0.0)

    def training_limit(self) -> float:
        """Seconds that a training which starts now may take: at most its own limit, at least one."""
        own = float(self.settings["training"]["time_limit_s"])
        return max(min(own, self.left - self.reserve), 1.0)


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How a step's samples come to each card: batches of `size`, so many of them a step.

    Attributes:
        asked: the batch size in the settings, for each card.
        size: samples at once.
        accumulate: batches whose gradients make a step.
    """

    asked: int
    size: int
    accumulate: int = 1

    @classmethod
    def remembered(cls, asked: int, learned: Any) -> "BatchPlan":
        """The plan that an earlier session has learned, if it was asked for the same batch size."""
        if not isinstance(learned, Mapping) or learned.get("asked") != asked:
            return cls(asked, asked)
        size, accumulate = _whole(learned.get("batch_size")), _whole(learned.get("accumulate"))
        if size is None or accumulate is None or not 0 < size <= asked or accumulate < 1:
            return cls(asked, asked)
        return cls(asked, size, accumulate)

    def halved(self) -> "BatchPlan | None":
        """Half of the samples at once, or the next fewer that make up the same step; None with only one."""
        half = self.size // 2
        size = next((size for size in range(half, 0, -1) if self.asked % size == 0), None)
        return BatchPlan(self.asked, size, self.asked // size) if size is not None else None

    @property
    def learned(self) -> dict[str, int | None]:
        """As state.json keeps it."""
        if self.size == self.asked:
            return {"asked": self.asked, "batch_size": None, "accumulate": 1}
        return {"asked": self.asked, "batch_size": self.size, "accumulate": self.accumulate}


@dataclass(frozen=True, slots=True)
class HostFacts:
    """HOST_REPORT.json, with only what has the right kind: a script may write anything anywhere."""

    stopped: str | None = None
    finished: bool = False
    hooks: bool = False
    epoch: int | None = None
    start_epoch: int | None = None
    steps_per_epoch: int | None = None
    seconds_per_epoch: float | None = None
    best_loss: float | None = None
    bad_evals: int | None = None
    bad_samples: Mapping[str, Any] | None = None
    refused: str | None = None  # Why the samples are too bad to begin with.
    warnings: list[str] = field(default_factory=list)
    values: Mapping[str, Any] = field(default_factory=dict, compare=False)  # All of it, as it came.

    @classmethod
    def read(cls, values: Any) -> "HostFacts":
        """Take what can be used of the report's content."""
        if not isinstance(values, dict):
            return cls()
        start = values.get("start")
        warnings = values.get("warnings")
        stopped, samples = values.get("stopped"), values.get("bad_samples")
        return cls(
            stopped=stopped if stopped in _STOPS else None,
            finished=values.get("finished") is True,
            hooks=values.get("hooks") is True,
            epoch=_whole(values.get("epoch")),
            start_epoch=_whole(start.get("epoch")) if isinstance(start, dict) else None,
            steps_per_epoch=_whole(values.get("steps_per_epoch")),
            seconds_per_epoch=_number(values.get("seconds_per_epoch")),
            best_loss=_number(values.get("best_loss")),
            bad_evals=_whole(values.get("bad_evals")),
            bad_samples=_sample_counts(samples),
            refused=str(samples["refused"]) if isinstance(samples, dict) and samples.get("refused") else None,
            warnings=[str(item) for item in warnings] if isinstance(warnings, list) else [],
            values=values,
        )


def _sample_counts(values: Any) -> dict[str, Any] | None:
    if not isinstance(values, dict) or not isinstance(kinds := values.get("by_kind"), dict):
        return None
    return {
        "checked": _whole(values.get("checked")),
        "left_out": _whole(values.get("left_out")),
        "by_kind": {str(kind): _whole(count) for kind, count in kinds.items()},
    }


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


@dataclass(frozen=True, slots=True)
class HostLink:
    """The files through which the kernel and the host speak.

    Args:
        paths: the session's folders.
        write: how files are written.
    """

    paths: Paths
    write: WriteFile

    @property
    def control(self) -> Path:
        """What the host is asked."""
        return self.paths.temp / "CONTROL.json"

    @property
    def report(self) -> Path:
        """What it answers, while it runs and in the end."""
        return self.paths.temp / "HOST_REPORT.json"

    def ask(
        self, settings: Mapping[str, Any], limit: float, resumed: Resumed | None, batches: BatchPlan
    ) -> None:
        """Write what the host of this session is asked; `limit` is when the training gets its interrupt.

        Raises:
            OSError: it cannot be written.
        """
        self.report.unlink(missing_ok=True)
        asked: dict[str, Any] = {
            "report": str(self.report),
            "budget_s": limit - min(_LEAVE_MAX_S, limit * _LEAVE_SHARE),
            "until_step": settings["training"].get("until_step"),
            "patience": (settings.get("stop") or {}).get("patience"),
            "batch_size": batches.learned["batch_size"],
            "accumulate": batches.accumulate,
            "speed": settings.get("speed") or {},
            "data": {**(settings.get("data") or {}), "table": str(self.paths.working / "bad_samples.csv")},
            "disk": self._disk(settings),
        }
        if resumed is not None:
            asked |= {
                "continue_path": str(resumed.folder),
                "checkpoint": str(resumed.checkpoint),
                "best_model": str(resumed.best_model) if resumed.best_model else None,
                "seconds_per_epoch": _number(resumed.state.get("seconds_per_epoch")),
            }
        self.write(self.control, json_bytes(asked))

    def _disk(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What the outputs may take, and which folder they are; the trainer's own setting wins."""
        disk = dict(settings.get("disk") or {})
        own = (settings["training"].get("coqui") or {}).get("save_n_checkpoints")
        return disk | {"folder": str(self.paths.working)} | ({"keep_checkpoints": own} if own else {})

    def facts(self) -> HostFacts:
        """What the host has reported so far; nothing when it has not, or cannot be read."""
        try:
            return HostFacts.read(json.loads(self.report.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return HostFacts()
