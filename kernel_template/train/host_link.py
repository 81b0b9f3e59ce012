"""The kernel's side of the package `host`: what it is asked, what it reports, and the time that it has."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import BAD_SAMPLES_FILE
from kernel_template.host.protocol import Control, DiskLimits, HostReport, SampleRules, number, whole
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
        size, accumulate = whole(learned.get("batch_size")), whole(learned.get("accumulate"))
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
        data = settings.get("data") or {}
        disk = settings.get("disk") or {}
        own = (settings["training"].get("coqui") or {}).get("save_n_checkpoints")
        control = Control(
            report=self.report,
            budget_s=limit - min(_LEAVE_MAX_S, limit * _LEAVE_SHARE),
            until_step=settings["training"].get("until_step"),
            patience=(settings.get("stop") or {}).get("patience"),
            continue_path=str(resumed.folder) if resumed else None,
            checkpoint=str(resumed.checkpoint) if resumed else None,
            best_model=str(resumed.best_model) if resumed and resumed.best_model else None,
            seconds_per_epoch=number(resumed.state.get("seconds_per_epoch")) if resumed else None,
            batch_size=batches.learned["batch_size"],
            accumulate=batches.accumulate,
            length_buckets=(settings.get("speed") or {}).get("length_buckets") or 0,
            data=SampleRules(
                bad_samples=data.get("bad_samples"),
                shortest_s=data.get("shortest_s") or 0.0,
                longest_s=data.get("longest_s"),
                table=str(self.paths.working / BAD_SAMPLES_FILE),
            ),
            disk=DiskLimits(
                folder=str(self.paths.working),
                limit_bytes=disk.get("limit_bytes"),
                keep_checkpoints=own or disk.get("keep_checkpoints"),  # The trainer's own setting wins.
            ),
        )
        self.write(self.control, json_bytes(control.values()))

    def facts(self) -> HostReport:
        """Read what the host has reported so far; an empty report if there is none or it cannot be read."""
        try:
            return HostReport.read(json.loads(self.report.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return HostReport()
