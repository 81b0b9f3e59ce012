"""A small Kaggle in memory, and a clock that is the only time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.errors import NotFoundError, ServiceError, SilentLogError
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

OWNER = "asha"


class FakeClock:
    """Time that passes only by sleeping; `waits` are the sleeps."""

    def __init__(self) -> None:
        self._start = datetime(2026, 11, 18, 12, tzinfo=UTC)
        self.passed = 0.0
        self.waits: list[float] = []

    def now(self) -> datetime:
        """The wall clock."""
        return self._start + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        """Seconds slept."""
        return self.passed

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.waits.append(seconds)
        self.passed += seconds


def said(*lines: str, start: float = 0.0) -> list[LogEvent]:
    """Log events, one a line, a second apart."""
    return [LogEvent("stdout", start + index, f"{line}\n") for index, line in enumerate(lines)]


@dataclass
class Reading:
    """What one reading of the live log gives, and how it ends."""

    events: list[LogEvent]
    error: Exception | None = None
    seconds: float = 0.0  # The time that each event takes to come.
    then: list[LogEvent] = field(default_factory=list)  # What follows at another pace.
    then_seconds: float = 0.0
    is_over: bool = False  # The log is complete; otherwise silence follows.


@dataclass
class FakeKaggle:
    """The `Kaggle` port without a network: what it answers is set, what it is asked is kept."""

    clock: FakeClock = field(default_factory=FakeClock)
    states: list[SessionState | Exception] = field(default_factory=list)  # In turn; the last one stays.
    readings: list[Reading] = field(default_factory=list)  # Of the live log, in turn.
    log: list[LogEvent] = field(default_factory=list)  # Once it is over.
    failure: str | None = None
    kernels: dict[KernelRef, KernelInfo] = field(default_factory=dict)
    push_error: Exception | None = None
    push_arrives: bool = True
    pushed_as: KernelRef | None = None
    machine: str | None = None
    kernel_error: Exception | None = None
    week: Quota | None = None
    pushes: list[KernelPush] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    username: str = OWNER
    service: str = "https://fake.example"
    calls: int = 0

    def push(self, push: KernelPush) -> Pushed:
        """Keep the push and, unless told otherwise, make a version of it."""
        self.pushes.append(push)
        if self.push_arrives:
            self._save(push)
        if self.push_error is not None:
            raise self.push_error
        ref = self.pushed_as or push.ref
        return Pushed(
            ref.at(self.kernels[push.ref.kernel].latest_version or 1), f"https://fake.example/{ref}"
        )

    def _save(self, push: KernelPush) -> None:
        before = self.kernels.get(push.ref.kernel)
        version = (before.latest_version or 0) + 1 if before else 1
        self.kernels[push.ref.kernel] = KernelInfo(
            push.ref.kernel,
            push.title,
            version,
            self.machine or push.accelerator,
            push.private,
            None,
            push.source,
        )

    def kernel(self, ref: KernelRef) -> KernelInfo:
        """The newest version."""
        self.asked.append(f"kernel {ref}")
        if self.kernel_error is not None:
            raise self.kernel_error
        if ref.kernel not in self.kernels:
            raise NotFoundError(f"There is no {ref}.")
        return self.kernels[ref.kernel]

    def have(self, text: str, version: int) -> None:
        """Let a kernel exist that was pushed from elsewhere."""
        ref = KernelRef.parse(text)
        self.kernels[ref] = KernelInfo(ref, "A title", version)

    def session_status(self, ref: KernelRef, *, retry: bool = True) -> SessionStatus:
        """The state whose turn it is."""
        self.asked.append(f"status {ref}")
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return SessionStatus(state, self.failure if state is SessionState.ERROR else None)

    def outputs(self, ref: KernelRef) -> Sequence[OutputFile]:
        """Nothing."""
        self.asked.append(f"outputs {ref}")
        return []

    def output_file(self, ref: KernelRef, name: str) -> bytes | None:
        """There is none."""
        self.asked.append(f"output {ref} {name}")
        return None

    def stored_log(self, ref: KernelRef) -> Sequence[LogEvent]:
        """The whole log."""
        self.asked.append(f"log {ref}")
        return self.log

    def log_stream(self, ref: KernelRef, *, idle_s: float, retry: bool = True) -> Iterator[LogEvent]:
        """The reading whose turn it is; silence takes `idle_s`."""
        self.asked.append(f"stream {ref}")
        reading = self.readings.pop(0) if self.readings else Reading([])
        for event in reading.events:
            self.clock.passed += reading.seconds
            yield event
        for event in reading.then:
            self.clock.passed += reading.then_seconds
            yield event
        if reading.error is not None:
            raise reading.error
        if not reading.is_over:
            self.clock.passed += idle_s
            raise SilentLogError("Nothing was said.")

    def delete(self, ref: KernelRef) -> None:
        """Forget a kernel."""
        self.asked.append(f"delete {ref}")
        if self.kernels.pop(ref, None) is None:
            raise NotFoundError(f"There is no {ref}.")

    def my_kernels(self) -> Sequence[KernelInfo]:
        """All kernels."""
        return [replace(info, source=None) for info in self.kernels.values()]

    def quota(self) -> Quota | None:
        """The week's hours."""
        return self.week

    def dataset_files(self, source: str) -> Iterator[InputFile]:
        """The one file that the default settings want."""
        yield InputFile("MyTTSDataset/train_tts.py", 1)

    def dataset_ready(self, source: str) -> bool:
        """It is."""
        self.asked.append(f"dataset ready {source}")
        return True

    def upload_dataset(self, source: str, title: str, files: Sequence[Path], *, notes: str) -> None:
        """Nothing is kept."""
        self.asked.append(f"upload {source}")

    def model_files(self, source: str) -> Iterator[InputFile]:
        """One of the two files that the default settings want."""
        yield InputFile("model/config.json", 1)
        yield InputFile("model/model_flie.pth", 1)


LOST = ServiceError("Could not push: the connection broke.")
