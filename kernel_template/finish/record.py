"""The session's record in state.json: where the run stands, and how each of its sessions went."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from kernel_template.context import Outcome
from kernel_template.host.protocol import HostReport
from kernel_template.start.takeover import Resumed
from kernel_template.tools.failure import EndReason
from kernel_template.tools.report import Reporter
from kernel_template.train.checkpoints import Checkpoint, CheckpointShelf
from kernel_template.train.host_link import BatchPlan, HostLink
from kernel_template.train.progress import ProgressParser

# The ends after which a run needs no other session, and what was reached.
_DONE = {
    EndReason.FINISHED: "epochs",
    EndReason.UNTIL_STEP: "until_step",
    EndReason.NO_IMPROVEMENT: "no_improvement",
}


class SessionRecord:
    """Everything that goes into state.json."""

    parser: ProgressParser | None
    epochs: Mapping[Path, int]
    resumed: Resumed | None
    export: Mapping[str, Any] | None
    batches: BatchPlan | None
    resources: Callable[[], dict[str, Any] | None] | None

    def __init__(
        self, settings: Mapping[str, Any], started: datetime, shelf: CheckpointShelf, host: HostLink
    ) -> None:
        self.environment: dict[str, Any] = {}
        self.parser = None
        self.epochs = {}
        self.resumed = None
        self.export = None
        self.batches = None
        self.resources = None
        self._settings = settings
        self._started = started
        self._shelf = shelf
        self._host = host

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint: what the next session continues from."""
        return max(self._shelf.whole(), key=lambda item: (item.global_step, not item.best), default=None)

    def epoch_of(self, checkpoint: Checkpoint | None) -> int | None:
        """The epoch in which `checkpoint` was saved, as far as the log tells."""
        if checkpoint is None:
            return None
        if self.resumed is not None and checkpoint.path == self.resumed.checkpoint:
            told = self.resumed.state.get("epoch")
            return told if isinstance(told, int) else None
        if self.parser is None:
            return None
        return self.epochs.get(checkpoint.path, self.parser.epoch)

    def state(self, report: Reporter, outcome: Outcome | None, ended: datetime) -> dict[str, Any]:
        """The content of state.json; without an outcome the session is running."""
        whole = self._shelf.whole()
        newest = whole[-1] if whole else None
        best = next((item for item in reversed(whole) if item.best), None)
        paths, facts = self._shelf.paths, self._host.facts()
        done = _DONE.get(outcome.reason) if outcome and outcome.complete else None
        return {
            "schema": 1,
            "run": self._settings["run"],
            "status": outcome.status if outcome else "running",
            "reason": str(outcome.reason) if outcome else None,
            "message": outcome.message if outcome else None,
            "done": done is not None,
            "done_reason": done,
            "global_step": newest.global_step if newest else None,
            "epoch": self.epoch_of(newest),
            "epochs": self._settings["training"]["epochs"],
            "steps_per_epoch": self._or_before(facts.steps_per_epoch, "steps_per_epoch"),
            "seconds_per_epoch": self._or_before(facts.seconds_per_epoch, "seconds_per_epoch"),
            "best_loss": self._or_before(facts.best_loss, "best_loss"),
            "learned": self.batches.learned if self.batches else self._or_before(None, "learned"),
            "bad_samples": facts.bad_samples,
            "losses": self._losses(),
            "checkpoint": paths.relative(newest.path) if newest else None,
            "best_model": paths.relative(best.path) if best else None,
            "checkpoints": self._shelf.records(whole),
            "export": self.export,
            "resources": self.resources() if self.resources else None,
            "seconds": {"total": round(report.elapsed, 2), **report.seconds},
            "started": self._started.isoformat(timespec="seconds"),
            "ended": ended.isoformat(timespec="seconds") if outcome else None,
            "exit_code": outcome.exit_code if outcome else None,
            "environment": self.environment,
            "history": [*self._sessions_before(), self._session(report, outcome, newest, facts)],
        }

    def _sessions_before(self) -> list[dict[str, Any]]:
        """The sessions before this one: as the parent tells them, and those that it cannot know of."""
        told = self.resumed.history if self.resumed else []
        known = {item.get("session") for item in told}
        return [
            *told,
            *(dict(item) for item in self._settings.get("before") or [] if item["session"] not in known),
        ]

    def _losses(self) -> dict[str, Any]:
        """The last losses; those of the session before until this one has its own."""
        before = self.resumed.state.get("losses") if self.resumed else None
        before = before if isinstance(before, Mapping) else {}
        parser = self.parser
        return {
            "train": (parser.train_losses if parser else {}) or before.get("train") or {},
            "eval": (parser.eval_losses if parser else {}) or before.get("eval") or {},
        }

    def _or_before(self, value: Any, key: str) -> Any:
        """What this session knows, or else what the one before did."""
        return self.resumed.state.get(key) if value is None and self.resumed is not None else value

    def _session(
        self, report: Reporter, outcome: Outcome | None, newest: Checkpoint | None, facts: HostReport
    ) -> dict[str, Any]:
        """This session as `history` lists it; steps by the checkpoints' names, epochs as epochs done."""
        run, resumed = self._settings["run"], self.resumed
        before = resumed.history[-1].get("to_epoch") if resumed and resumed.history else None
        from_epoch = facts.start_epoch if facts.start_epoch is not None else before
        to_epoch = facts.epoch if facts.epoch is not None else from_epoch
        if not facts.hooks and newest is not None and (told := self.epoch_of(newest)) is not None:
            to_epoch = told
        from_step = resumed.global_step if resumed else 0
        return {
            "session": run["session"],
            "kernel": run["kernel"],
            "from_step": from_step,
            "to_step": newest.global_step if newest else from_step,
            "from_epoch": from_epoch or 0,
            "to_epoch": to_epoch or 0,
            "reason": str(outcome.reason) if outcome else None,
            "seconds": round(report.elapsed, 2),
            "train_seconds": report.seconds.get("train"),
        }
