"""Makes the content of state.json: where the run stands, and how each of its sessions went."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from kernel_template.contract import (
    DONE,
    STATE_SCHEMA,
    EndReason,
    Environment,
    Export,
    Losses,
    Resources,
    Scores,
    Session,
    Stage,
    State,
    Status,
)
from kernel_template.host.protocol import HostReport
from kernel_template.settings import SessionSettings
from kernel_template.start.parent import ResumePoint
from kernel_template.tools.outcome import Outcome
from kernel_template.tools.report import Reporter
from kernel_template.train.checkpoints import Checkpoint, CheckpointStore, best_of
from kernel_template.train.host_link import BatchPlan, HostLink
from kernel_template.train.progress import ProgressParser


class SessionRecord:
    """Collects what goes into state.json. The stages fill its attributes in.

    Args:
        settings: the session's settings.
        started: when the session began, in UTC.
        checkpoints: the checkpoints in the working folder.
        host: what the host reports.
        resources: what the training used; None before the training.

    Attributes:
        environment: what the session runs on.
        parser: knows the training's epoch and losses.
        epochs: the epoch in which each checkpoint was saved.
        resumed: where the session continued from.
        batches: how the batch is split.
        export: what became of the voice's export.
        scores: what is known of the voice's quality.
    """

    environment: Environment | dict[str, Any]
    parser: ProgressParser | None
    epochs: Mapping[Path, int]
    resumed: ResumePoint | None
    batches: BatchPlan | None
    export: Export | None
    scores: Scores | None

    def __init__(
        self,
        settings: SessionSettings,
        started: datetime,
        checkpoints: CheckpointStore,
        host: HostLink,
        resources: Callable[[], Resources | None],
    ) -> None:
        self.environment = {}
        self.parser = None
        self.epochs = {}
        self.resumed = None
        self.batches = None
        self.export = None
        self.scores = None
        self._settings = settings
        self._started = started
        self._checkpoints = checkpoints
        self._host = host
        self._resources = resources

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint, from which the next session continues."""
        return max(self._checkpoints.whole(), key=lambda item: item.rank, default=None)

    def epoch_of(self, checkpoint: Checkpoint | None) -> int | None:
        """The epoch in which `checkpoint` was saved; None if unknown."""
        if checkpoint is None:
            return None
        if self.resumed is not None and checkpoint.path == self.resumed.checkpoint:
            epoch = self.resumed.state.get("epoch")
            return epoch if isinstance(epoch, int) else None
        if self.parser is None:
            return None
        return self.epochs.get(checkpoint.path, self.parser.epoch)

    def state(self, report: Reporter, outcome: Outcome | None, now: datetime) -> State:
        """Make the content of state.json; without an outcome the session is running."""
        whole = self._checkpoints.whole()
        newest = whole[-1] if whole else None
        best = best_of(whole)
        paths, host = self._checkpoints.paths, self._host.status()
        done = DONE.get(outcome.reason) if outcome and outcome.complete else None
        return {
            "schema": STATE_SCHEMA,
            "run": self._settings["run"],
            "status": outcome.status if outcome else Status.RUNNING,
            "reason": outcome.reason if outcome else None,
            "message": outcome.message if outcome else None,
            "done": done is not None,
            "done_reason": done,
            "global_step": newest.global_step if newest else None,
            "epoch": self.epoch_of(newest),
            "epochs": self._settings["training"]["epochs"],
            "steps_per_epoch": self._or_before(host.steps_per_epoch, "steps_per_epoch"),
            "seconds_per_epoch": self._or_before(host.seconds_per_epoch, "seconds_per_epoch"),
            "best_loss": self._or_before(host.best_loss, "best_loss"),
            "learned": self.batches.learned if self.batches else self._or_before(None, "learned"),
            "bad_samples": host.bad_samples,
            "losses": self._losses(),
            "checkpoint": paths.relative(newest.path) if newest else None,
            "best_model": paths.relative(best.path) if best else None,
            "checkpoints": self._checkpoints.records(whole),
            "export": self.export,
            "scores": self.scores,
            "resources": self._resources(),
            "seconds": {"total": round(report.elapsed, 2), **report.seconds},
            "started": self._started.isoformat(timespec="seconds"),
            "ended": now.isoformat(timespec="seconds") if outcome else None,
            "exit_code": outcome.exit_code if outcome else None,
            "environment": self.environment,
            "history": [*self._sessions_before(), self._session(report, outcome, newest, host)],
        }

    def _sessions_before(self) -> list[Session]:
        """The earlier sessions: those that the parent lists, and those that it cannot know of.

        One that has no reason to have ended was killed.
        """
        listed = self.resumed.history if self.resumed else []
        known = {item.get("session") for item in listed}
        missed = [item for item in self._settings["before"] if item["session"] not in known]
        ended: list[Session] = [
            {**item, "reason": item.get("reason") or EndReason.KILLED} for item in (*listed, *missed)
        ]
        return sorted(ended, key=lambda item: item["session"])

    def _losses(self) -> Losses:
        """The last losses; those of the session before until this one has its own."""
        before = self.resumed.state.get("losses") if self.resumed else None
        before = before if isinstance(before, Mapping) else {}
        parser = self.parser
        return {
            "train": (parser.train_losses if parser else {}) or before.get("train") or {},
            "eval": (parser.eval_losses if parser else {}) or before.get("eval") or {},
        }

    def _or_before(self, value: Any, key: str) -> Any:
        """The value, or that of the session before if this one does not know it yet."""
        return self.resumed.state.get(key) if value is None and self.resumed is not None else value

    def _session(
        self, report: Reporter, outcome: Outcome | None, newest: Checkpoint | None, host: HostReport
    ) -> Session:
        """This session in `history`: steps from the checkpoints' names, epochs as epochs done."""
        run, resumed = self._settings["run"], self.resumed
        before = resumed.history[-1].get("to_epoch") if resumed and resumed.history else None
        from_epoch = host.start_epoch if host.start_epoch is not None else before
        to_epoch = host.epoch if host.epoch is not None else from_epoch
        if not host.hooks and newest is not None and (epoch := self.epoch_of(newest)) is not None:
            to_epoch = epoch
        asked = self._settings["resume"]  # If it could not be taken over, the run is still where it was.
        from_step = resumed.global_step if resumed else asked["global_step"] if asked else 0
        return {
            "session": run["session"],
            "kernel": run["kernel"],
            "from_step": from_step,
            "to_step": newest.global_step if newest else from_step,
            "from_epoch": from_epoch or 0,
            "to_epoch": to_epoch or 0,
            "reason": outcome.reason if outcome else None,
            "seconds": round(report.elapsed, 2),
            "train_seconds": report.seconds.get(Stage.TRAIN),
        }
