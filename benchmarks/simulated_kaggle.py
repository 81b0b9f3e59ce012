"""Kaggle in fast motion: the tests' Kaggle in memory, with sessions whose whole life is known at their push.

What they do, and from where the numbers are, is told in `timelapse.py`. They leave a `state.json` and nothing
else, and say nothing.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.errors import RefusedError
from orchestrator.models import KernelPush, KernelRef, Quota, SessionState
from tests.fakes.clock import FakeClock
from tests.fakes.kaggle import FakeKaggle, inputs
from tests.fakes.sessions import Life, Version

BEGIN = datetime(2026, 11, 23, 9, tzinfo=UTC)
EPOCH = timedelta(minutes=7.75)
EPOCH_STEPS = 630
START_UP, WIND_UP = timedelta(minutes=4), timedelta(minutes=3)
RESERVE, MARGIN = timedelta(minutes=5, seconds=15), 1.05
WEEK, WEEKLY = timedelta(days=7), timedelta(hours=30)
QUEUE, LATE_QUEUE, LATE = timedelta(minutes=2), timedelta(hours=6), 3
KILLED, KILLED_AFTER = 4, timedelta(hours=4)
NONE = timedelta(0)


def week_of(moment: datetime) -> datetime:
    """Return the Saturday 00:00 at which the moment's week began."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=(moment.weekday() - 5) % 7)


@dataclass(frozen=True)
class Session:
    """One session: when it begins and ends, how long it trains, and whether what it trained is kept."""

    begins: datetime
    ends: datetime
    trained: timedelta
    limit: timedelta
    is_kept: bool

    def billed(self, since: datetime, now: datetime) -> timedelta:
        """Return the time that it has taken of a machine between two moments."""
        return max(NONE, min(self.ends, now) - max(self.begins, since))


@dataclass
class Simulation:
    """An account whose kernels behave as the real one is meant to; `faulty` kills one and delays another."""

    faulty: bool
    clock: FakeClock = field(default_factory=lambda: FakeClock(BEGIN))
    sessions: list[Session] = field(default_factory=list)
    kaggle: FakeKaggle = field(init=False)

    def __post_init__(self) -> None:
        self.kaggle = FakeKaggle(
            self.clock, service="https://simulated.example", plays=self._play, week=self._quota, **inputs()
        )

    def _play(self, push: KernelPush, version: Version) -> None:
        """Decide a session's whole life when it is pushed."""
        now = self.clock.now()
        if any(now < session.ends for session in self.sessions):
            raise RefusedError("Two sessions of one run at once.")
        number = len(self.sessions) + 1
        queued = LATE_QUEUE if self.faulty and number == LATE else QUEUE
        told, parent = _settings_in(push.source), self._mounted(push)
        if (told["resume"] is None) != (parent is None) or (
            parent is not None
            and any(told["resume"][key] != parent[key] for key in ("run", "session", "global_step"))
        ):
            raise RefusedError("The mount is not what the kernel was told to continue from.")
        epoch = parent["epoch"] if parent is not None else 0
        done = epoch + _epochs_in(told, epoch)
        trained, length = (done - epoch) * EPOCH, START_UP + (done - epoch) * EPOCH + WIND_UP
        is_killed = self.faulty and number == KILLED
        if is_killed:
            trained = min(trained, KILLED_AFTER - START_UP)
            length = START_UP + trained
        else:
            state = _state(told, parent, done, length)
            version.outputs = {"state.json": json.dumps(state).encode()}
        end = SessionState.CANCEL_ACKNOWLEDGED if is_killed else SessionState.COMPLETE
        version.life = Life(queued.total_seconds(), length.total_seconds(), end=end)
        begins = now + queued
        limit = timedelta(seconds=push.session_timeout_s or 0)
        self.sessions.append(Session(begins, begins + length, trained, limit, not is_killed))

    def _mounted(self, push: KernelPush) -> dict[str, Any] | None:
        """Return the state in the newest completed version of the kernel that a push mounts."""
        for source in push.kernel_sources:
            for version in reversed(self.kaggle.kernels[KernelRef.parse(source)]):
                if version.state_at(self.clock.monotonic()) is SessionState.COMPLETE:
                    state = json.loads(version.outputs["state.json"])
                    return {**state, "run": state["run"]["id"], "session": state["run"]["session"]}
        return None

    def _quota(self) -> Quota:
        """Return the week's hours; what a live session may still take is reserved."""
        now = self.clock.now()
        used = sum((session.billed(week_of(now), now) for session in self.sessions), NONE)
        reserved = [
            session.begins + session.limit - max(now, session.begins)
            for session in self.sessions
            if now < session.ends
        ]
        return Quota(used, sum(reserved, NONE), WEEKLY, week_of(now) + WEEK)


def _epochs_in(told: Mapping[str, Any], epoch: int) -> int:
    """Return how many epochs fit: another is begun if it fits with a margin."""
    budget = timedelta(seconds=told["session_budget_s"])
    limit = timedelta(seconds=told["training"]["time_limit_s"])
    most = int(min(limit, budget - START_UP - RESERVE) / EPOCH - MARGIN) + 1
    return int(min(most, told["training"]["epochs"] - epoch))


def _state(
    told: Mapping[str, Any], parent: Mapping[str, Any] | None, done: int, length: timedelta
) -> dict[str, Any]:
    """Return the `state.json` of a session that ended at the epoch `done`."""
    epoch = parent["epoch"] if parent is not None else 0
    own = {
        "session": told["run"]["session"],
        "kernel": told["run"]["kernel"],
        "from_step": epoch * EPOCH_STEPS,
        "to_step": done * EPOCH_STEPS,
        "from_epoch": epoch,
        "to_epoch": done,
        "seconds": length.total_seconds(),
    }
    return {
        "schema": 1,
        "run": told["run"],
        "status": "complete",
        "global_step": done * EPOCH_STEPS,
        "epoch": done,
        "epochs": told["training"]["epochs"],
        "seconds_per_epoch": EPOCH.total_seconds(),
        "steps_per_epoch": EPOCH_STEPS,
        "done": done == told["training"]["epochs"],
        "done_reason": "epochs",
        "history": [*(parent["history"] if parent is not None else []), own],
    }


def _settings_in(source: str) -> dict[str, Any]:
    """Return what a kernel was told: the literal that its source assigns."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SETTINGS":
            settings: dict[str, Any] = ast.literal_eval(node.value)
            return settings
    raise ValueError("The kernel has no SETTINGS.")
