"""Kaggle in fast motion: the port, with sessions whose whole life is known from their start.

What they do, and from where the numbers are, is told in `timelapse.py`. Nothing here has outputs or live
logs: a method that raises NotImplementedError is one that passes without collecting never call, and a made-up
answer would hide that one does.
"""

import ast
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.errors import NotFoundError, RefusedError
from orchestrator.models import (
    InputFile,
    KernelInfo,
    KernelPush,
    KernelRef,
    LogEvent,
    OutputFile,
    Pushed,
    Quota,
    SessionState,
    SessionStatus,
)

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
    """The Saturday 00:00 at which the moment's week began."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=(moment.weekday() - 5) % 7)


@dataclass
class Clock:
    """Time that passes when somebody says so."""

    time: datetime = BEGIN

    def now(self) -> datetime:
        """The wall clock."""
        return self.time

    def monotonic(self) -> float:
        """Seconds."""
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Session:
    """One session, its whole life known from the start."""

    push: KernelPush
    pushed: datetime
    begins: datetime
    ends: datetime
    trained: timedelta
    state: SessionState
    left: bytes | None

    def billed(self, since: datetime, now: datetime) -> timedelta:
        """The time that it has taken between two moments."""
        return max(NONE, min(self.ends, now) - max(self.begins, since))


@dataclass
class SimulatedKaggle:
    """The `Kaggle` port, with kernels that behave as the real one is meant to."""

    clock: Clock
    faulty: bool
    sessions: list[tuple[KernelRef, Session]] = field(default_factory=list)
    calls: int = 0
    username: str = "asha"
    service: str = "https://simulated.example"

    def push(self, push: KernelPush) -> Pushed:
        """Play the session's whole life."""
        self.calls += 1
        if any(self.clock.now() < session.ends for _, session in self.sessions):
            raise RefusedError("Two sessions of one run at once.")
        number = len(self.sessions) + 1
        begins = self.clock.now() + (LATE_QUEUE if self.faulty and number == LATE else QUEUE)
        ref = push.ref.at(1 + len(self._of(push.ref)))
        self.sessions.append((ref, self._played(push, begins, killed=self.faulty and number == KILLED)))
        return Pushed(ref, "")

    def _played(self, push: KernelPush, begins: datetime, *, killed: bool) -> Session:
        told = _settings_in(push.source)
        parent = self._mounted(push)
        if (told["resume"] is None) != (parent is None) or (
            parent is not None
            and any(told["resume"][key] != parent[key] for key in ("run", "session", "global_step"))
        ):
            raise RefusedError("The mount is not what the kernel was told to continue from.")
        history = parent["history"] if parent is not None else []
        epoch = parent["epoch"] if parent is not None else 0
        budget = timedelta(seconds=told["session_budget_s"])
        limit = timedelta(seconds=told["training"]["time_limit_s"])
        # Another epoch is begun where it fits with a margin.
        most = int(min(limit, budget - START_UP - RESERVE) / EPOCH - MARGIN) + 1
        done = epoch + min(most, told["training"]["epochs"] - epoch)
        trained, now = (done - epoch) * EPOCH, self.clock.now()
        if killed:
            trained = min(trained, KILLED_AFTER - START_UP)
            ends = begins + START_UP + trained
            return Session(push, now, begins, ends, trained, SessionState.CANCEL_ACKNOWLEDGED, None)
        length = START_UP + trained + WIND_UP
        own = {
            "session": told["run"]["session"],
            "kernel": told["run"]["kernel"],
            "from_step": epoch * EPOCH_STEPS,
            "to_step": done * EPOCH_STEPS,
            "from_epoch": epoch,
            "to_epoch": done,
            "seconds": length.total_seconds(),
        }
        state = {
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
            "history": [*history, own],
        }
        left = json.dumps(state).encode()
        return Session(push, now, begins, begins + length, trained, SessionState.COMPLETE, left)

    def _mounted(self, push: KernelPush) -> dict[str, Any] | None:
        """The state in the newest completed version of the kernel that a push mounts."""
        for source in push.kernel_sources:
            for session in reversed(self._of(KernelRef.parse(source))):
                if session.left is not None:
                    state = json.loads(session.left)
                    return {**state, "run": state["run"]["id"], "session": state["run"]["session"]}
        return None

    def _of(self, kernel: KernelRef) -> Sequence[Session]:
        return [session for ref, session in self.sessions if ref.kernel == kernel.kernel]

    def _at(self, ref: KernelRef) -> Session:
        self.calls += 1
        versions = self._of(ref)
        if not versions:
            raise NotFoundError(f"There is no {ref}.")
        return versions[(ref.version or len(versions)) - 1]

    def kernel(self, ref: KernelRef) -> KernelInfo:
        """A version, or the newest."""
        session = self._at(ref)
        return KernelInfo(
            ref.kernel,
            session.push.title,
            len(self._of(ref)),
            session.push.accelerator,
            last_run=session.pushed,
            source=session.push.source,
        )

    def session_status(self, ref: KernelRef, *, retry: bool = True) -> SessionStatus:  # noqa: ARG002
        """Where its life is now."""
        session, now = self._at(ref), self.clock.now()
        if now < session.begins:
            return SessionStatus(SessionState.QUEUED)
        return SessionStatus(SessionState.RUNNING if now < session.ends else session.state)

    def output_file(self, ref: KernelRef, name: str) -> bytes | None:  # noqa: ARG002  # It leaves one file.
        """What it left."""
        return self._at(ref).left

    def quota(self) -> Quota:
        """The week's hours; what a live session may still take is reserved."""
        self.calls += 1
        now = self.clock.now()
        used = sum((session.billed(week_of(now), now) for _, session in self.sessions), NONE)
        limits = [
            session.begins + timedelta(seconds=session.push.session_timeout_s or 0) - max(now, session.begins)
            for _, session in self.sessions
            if now < session.ends
        ]
        return Quota(used, sum(limits, NONE), WEEKLY, week_of(now) + WEEK)

    def stored_log(self, ref: KernelRef) -> Sequence[LogEvent]:
        """A killed session says nothing."""
        self._at(ref)
        return []

    def outputs(self, ref: KernelRef) -> Sequence[OutputFile]:
        """Not simulated."""
        raise NotImplementedError

    def log_stream(self, ref: KernelRef, *, idle_s: float, retry: bool = True) -> Iterator[LogEvent]:
        """Not simulated."""
        raise NotImplementedError

    def delete(self, ref: KernelRef) -> None:
        """Not simulated."""
        raise NotImplementedError

    def my_kernels(self) -> Sequence[KernelInfo]:
        """Not simulated."""
        raise NotImplementedError

    def dataset_files(self, source: str) -> Iterator[InputFile]:
        """There is none: a killed session keeps nothing here."""
        raise NotFoundError(f"There is no dataset {source}.")

    def dataset_ready(self, source: str) -> bool:
        """There is none."""
        raise NotFoundError(f"There is no dataset {source}.")

    def upload_dataset(self, source: str, title: str, files: Sequence[Path], *, notes: str) -> None:
        """Not simulated."""
        raise NotImplementedError

    def model_files(self, source: str) -> Iterator[InputFile]:
        """Not simulated."""
        raise NotImplementedError


def _settings_in(source: str) -> dict[str, Any]:
    """What a kernel was told: the literal that its source assigns."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SETTINGS":
            settings: dict[str, Any] = ast.literal_eval(node.value)
            return settings
    raise ValueError("The kernel has no SETTINGS.")
