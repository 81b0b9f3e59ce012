"""The session's side of the host: what the host is asked, what it reports, and how much time it has."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kernel_template.contract import Learned
from kernel_template.host.protocol import (
    Control,
    DiskLimits,
    HostReport,
    SampleRules,
    SpeedRules,
    number,
    whole,
)
from kernel_template.settings import SessionSettings
from kernel_template.start.inputs import Inputs
from kernel_template.start.parent import ResumePoint
from kernel_template.tools.files import WriteFile, json_bytes
from kernel_template.tools.paths import Paths

# What is kept of the session's budget for samples, hashes and outputs.
_RESERVE_SHARE = 0.03
_RESERVE_MIN_S = 20.0
_RESERVE_MAX_S = 300.0
_SCORES_MAX_S = 240.0  # For scores without a recogniser: a voice takes seconds on a GPU, a minute on a CPU.
# How long before the time limit the host must be done, so that the interrupt never meets it while it ends.
_LEAVE_SHARE = 0.05
_LEAVE_MAX_S = 5.0
_SMALL_SCALE = 256.0  # Torch begins with 65,536, and doubles it every 2,000 steps.


@dataclass(frozen=True, slots=True)
class SessionBudget:
    """The session's time limit.

    Args:
        settings: the session's settings.
        elapsed: seconds since the session began.
    """

    settings: SessionSettings
    elapsed: Callable[[], float]

    @property
    def total(self) -> float:
        """Seconds of the whole session; infinite if there is no limit."""
        limit = self.settings["session_budget_s"]
        return math.inf if limit is None else float(limit)

    @property
    def reserve(self) -> float:
        """Seconds kept for what comes after the training."""
        return self.finish_s + self.scores_s if math.isfinite(self.total) else 0.0

    @property
    def finish_s(self) -> float:
        """Seconds of the reserve for the export, the samples and the outputs."""
        return max(min(self.total * _RESERVE_SHARE, _RESERVE_MAX_S), _RESERVE_MIN_S)

    @property
    def scores_s(self) -> float:
        """Seconds of the reserve for scores; they may take their whole share if the training ends early."""
        scores = self.settings["scores"]
        share = self.total * scores["share"] if scores["enabled"] else 0.0
        return share if scores["recogniser"] else min(share, _SCORES_MAX_S)

    def scores_left(self) -> float:
        """Seconds for scores that begin now: their share of the time that the session then has taken."""
        share = self.settings["scores"]["share"]
        left = self.elapsed() * share / (1.0 - share)
        return max(min(left, self.left - self.finish_s), 0.0)

    @property
    def left(self) -> float:
        """Seconds until the session must have ended."""
        return max(self.total - self.elapsed(), 0.0)

    def training_limit(self) -> float:
        """Seconds that a training which starts now may take: at most training.time_limit, at least one."""
        own = float(self.settings["training"]["time_limit_s"])
        return max(min(own, self.left - self.reserve), 1.0)


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How the samples of a step are split, for each GPU.

    Attributes:
        asked: training.batch_size.
        size: samples in a batch.
        accumulate: batches whose gradients make a step.
        full_precision: whether mixed precision is left out, since it gave losses that are NaN.
        loss_scale: the largest loss scale, if the usual ones gave losses that are NaN. Checkpoints keep it.
    """

    asked: int
    size: int
    accumulate: int = 1
    full_precision: bool = False
    loss_scale: float | None = None

    @classmethod
    def remembered(cls, asked: int, learned: Any) -> "BatchPlan":
        """The plan that an earlier session learned; a whole batch if it was asked for another batch size."""
        learned = learned if isinstance(learned, Mapping) else {}
        full = learned.get("full_precision") is True
        size, accumulate = whole(learned.get("batch_size")), whole(learned.get("accumulate"))
        if (
            learned.get("asked") != asked
            or size is None
            or accumulate is None
            or not 0 < size <= asked
            or accumulate < 1
        ):
            return cls(asked, asked, full_precision=full)
        return cls(asked, size, accumulate, full)

    def halved(self) -> "BatchPlan | None":
        """Halve the batch, or take the next smaller that divides the step; None if it has one sample."""
        half = self.size // 2
        size = next((size for size in range(half, 0, -1) if self.asked % size == 0), None)
        return replace(self, size=size, accumulate=self.asked // size) if size is not None else None

    def steadier(self, scale: float | None) -> "BatchPlan | None":
        """Return what to try after losses were NaN in mixed precision; None if nothing is left.

        A small loss scale comes first, since full precision takes twice as long.

        Args:
            scale: the loss scale with which they were; None without a loss scaler.
        """
        if self.full_precision:
            return None
        if self.loss_scale is None and (scale or 0.0) > _SMALL_SCALE:
            return replace(self, loss_scale=_SMALL_SCALE)
        return replace(self, full_precision=True, loss_scale=None)

    @property
    def learned(self) -> Learned:
        """The plan for state.json."""
        size = None if self.size == self.asked else self.size
        learned: Learned = {"asked": self.asked, "batch_size": size, "accumulate": self.accumulate}
        return {**learned, "full_precision": True} if self.full_precision else learned


@dataclass(frozen=True, slots=True)
class HostLink:
    """The files through which the session and the host talk.

    Args:
        paths: the session's folders.
        write: writes files.
    """

    paths: Paths
    write: WriteFile

    @property
    def control(self) -> Path:
        """What the host is asked."""
        return self.paths.temp / "CONTROL.json"

    @property
    def report(self) -> Path:
        """What the host reports, while it runs and at its end."""
        return self.paths.temp / "HOST_REPORT.json"

    def ask(  # noqa: PLR0913, PLR0917 - each is a part of what is asked.
        self,
        settings: SessionSettings,
        limit: float,
        resumed: ResumePoint | None,
        batches: BatchPlan,
        inputs: Inputs | None = None,
        changed: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Write what the host is asked; after `limit` seconds the training is interrupted.

        Args:
            settings: the session's settings.
            limit: see above.
            resumed: where the training continues from, if it does.
            batches: how the samples of a step are split.
            inputs: the files of the training.
            changed: settings whose values replace others: those before, and those asked for.

        Raises:
            OSError: the file cannot be written.
        """
        self.report.unlink(missing_ok=True)
        best = resumed.best_model if resumed is not None else None
        pace = resumed.state.get("seconds_per_epoch") if resumed is not None else None
        own = settings["training"]["coqui"].get("save_n_checkpoints")
        disk, data = settings["disk"], settings["data"]
        control = Control(
            report=self.report,
            budget_s=limit - min(_LEAVE_MAX_S, limit * _LEAVE_SHARE),
            until_step=settings["training"]["until_step"],
            save_every_s=settings.get("save_every_s"),
            patience=settings["stop"]["patience"],
            continue_path=str(resumed.folder) if resumed is not None else None,
            checkpoint=str(resumed.checkpoint) if resumed is not None else None,
            best_model=str(best) if best is not None else None,
            base_config=str(inputs.config) if inputs is not None else None,
            inputs=[str(folder) for folder in inputs.folders] if inputs is not None else [],
            output=str(self.paths.training),
            changed=changed or {},
            seconds_per_epoch=number(pace),
            batch_size=batches.learned["batch_size"],
            accumulate=batches.accumulate,
            full_precision=batches.full_precision,
            loss_scale=batches.loss_scale,
            length_buckets=settings["speed"]["length_buckets"],
            speed=SpeedRules(
                cudnn_search=settings["speed"]["cudnn_benchmark"],
                round_lengths=settings["speed"]["round_lengths"],
                deterministic=settings["speed"]["deterministic"],
            ),
            data=SampleRules(
                bad_samples=data["bad_samples"],
                shortest_s=data["shortest_s"],
                longest_s=data["longest_s"],
                table=str(self.paths.bad_samples),
                letters=str(self.paths.letters),
                recordings=str(self.paths.recordings),
                held_out=str(self.paths.held_out) if settings["scores"]["enabled"] else None,
            ),
            disk=DiskLimits(
                folder=str(self.paths.working),
                limit_bytes=disk["limit_bytes"],
                keep_checkpoints=own or disk["keep_checkpoints"],  # Coqui's own setting overrides ours.
            ),
        )
        self.write(self.control, json_bytes(control.values()))

    def status(self) -> HostReport:
        """What the host has reported so far; empty if it has not, or if the file cannot be read."""
        try:
            return HostReport.read(json.loads(self.report.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return HostReport()
