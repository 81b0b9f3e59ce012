"""A Kaggle in memory whose sessions end as a test says, with the `state.json` that a kernel would leave."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.errors import NotFoundError
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
from orchestrator.ports import Clock
from orchestrator.render import read_stamp
from tests.download.storage import Storage

OWNER = "asha"
EPOCH_STEPS = 100


@dataclass
class Version:
    """One saved version: what was pushed, how far its session is, and what it left."""

    source: str
    state: SessionState
    pushed_at: datetime
    push: KernelPush | None = None
    outputs: Mapping[str, bytes] = field(default_factory=dict)
    log: Sequence[str] = ()
    message: str | None = None


@dataclass(frozen=True)
class Upload:
    """One version of a dataset."""

    files: Mapping[str, bytes]
    notes: str
    ready_at: float  # On the clock's monotonic time.


@dataclass
class ChainKaggle:
    """The `Kaggle` port without a network; `asked` holds every call."""

    clock: Clock
    kernels: dict[KernelRef, list[Version]] = field(default_factory=dict)
    week: Quota | None = None
    push_errors: list[tuple[Exception, bool]] = field(default_factory=list)  # And whether it arrived.
    datasets: dict[str, list[Upload]] = field(default_factory=dict)
    dataset_processing_s: float = 0.0
    upload_errors: list[tuple[Exception, bool]] = field(default_factory=list)  # And whether it arrived.
    asked: list[str] = field(default_factory=list)
    username: str = OWNER
    service: str = "https://fake.example"
    before_quota: Callable[[], object] | None = None  # What happens while somebody looks.
    has_sessions: bool = True
    tells_versions: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)
    storage: Storage | None = None  # Where outputs can be fetched from; else none can.

    # What tests do

    def save(
        self, text: str, source: str = "print()", state: SessionState = SessionState.COMPLETE
    ) -> Version:
        """A version that somebody made on the kernel's page."""
        version = Version(source, state, self.clock.now())
        self.kernels.setdefault(KernelRef.parse(text), []).append(version)
        return version

    def version(self, text: str) -> Version:
        """The version `owner/slug/N`."""
        ref = KernelRef.parse(text)
        return self.kernels[ref.kernel][(ref.version or 0) - 1]

    def complete(self, text: str, step: int | None, **changes: Any) -> None:
        """End a session well with a checkpoint at `step`."""
        version = self.version(text)
        version.state = SessionState.COMPLETE
        version.outputs = {"state.json": json.dumps({**self.state_of(text, step), **changes}).encode()}

    def kill(self, text: str, *, keep: bytes | None = None, state: SessionState = SessionState.ERROR) -> None:
        """End a session without a word; its outputs are kept or not."""
        version = self.version(text)
        version.state = state
        version.outputs = {} if keep is None else {"state.json": keep}

    def fail(self, text: str, message: str, *, keep: bool = True, reason: str = "bad_config") -> None:
        """Let the kernel say why it failed: in its state, or in its log alone."""
        version = self.version(text)
        version.state = SessionState.ERROR
        if keep:
            state = {**self.state_of(text, None), "status": "failed", "reason": reason, "message": message}
            version.outputs = {"state.json": json.dumps(state).encode()}
        else:
            end = {"event": "end", "status": "failed", "reason": reason, "message": message}
            version.log = [f"@kgtts {json.dumps(end)}\n"]

    def state_of(self, text: str, step: int | None) -> dict[str, Any]:
        """The `state.json` of a session that reached `step`, with the history of those before it."""
        stamp = read_stamp(self.version(text).source)
        assert stamp is not None
        history: list[dict[str, Any]] = []
        if stamp.parent is not None:
            history = json.loads(self.version(stamp.parent).outputs["state.json"])["history"]
        before = history[-1]["to_step"] if history else 0
        own = {
            "session": stamp.session,
            "kernel": stamp.kernel,
            "from_step": before,
            "to_step": step or before,
            "from_epoch": before // EPOCH_STEPS,
            "to_epoch": (step or before) // EPOCH_STEPS,
            "reason": "budget",
            "seconds": 3600.0,
        }
        return {
            "schema": 1,
            "run": stamp.to_dict(),
            "status": "complete",
            "reason": "budget",
            "message": "",
            "global_step": step,
            "epoch": None if step is None else step // EPOCH_STEPS,
            "epochs": 10,
            "checkpoint": f"training/checkpoint_{step}.pth",
            "checkpoints": [{"path": f"training/checkpoint_{step}.pth", "sha256": f"{step or 0:064x}"}],
            "seconds": {"total": 3600.0},
            "seconds_per_epoch": 600.0,
            "steps_per_epoch": EPOCH_STEPS,
            "history": [*history, own],
            "done": False,
        }

    def mounted(self, source: str) -> Mapping[str, bytes]:
        """What a session sees of a dataset: its newest version that is ready."""
        ready = [item for item in self.datasets.get(source, []) if item.ready_at <= self.clock.monotonic()]
        return ready[-1].files if ready else {}

    def pushes(self) -> list[KernelPush]:
        """All that was pushed, by kernel and version."""
        return [item.push for versions in self.kernels.values() for item in versions if item.push is not None]

    # The port

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self.asked)

    def push(self, push: KernelPush) -> Pushed:
        """Make a version, unless a fault is due."""
        with self.lock:
            self.asked.append(f"push {push.ref}")
            error, arrives = self.push_errors.pop(0) if self.push_errors else (None, True)
            if arrives:
                version = Version(push.source, SessionState.QUEUED, self.clock.now(), push)
                self.kernels.setdefault(push.ref, []).append(version)
            if error is not None:
                raise error
            return Pushed(push.ref.at(len(self.kernels[push.ref])), f"https://fake.example/{push.ref}")

    def kernel(self, ref: KernelRef) -> KernelInfo:
        """A version, or the newest."""
        self.asked.append(f"kernel {ref}")
        number, version = self._find(ref)
        newest = len(self.kernels[ref.kernel]) if self.tells_versions else None
        asked = version.push.accelerator if version.push is not None else None
        return KernelInfo(
            ref.kernel, "A title", newest, asked, None, version.pushed_at, version.source if number else None
        )

    def session_status(self, ref: KernelRef, *, retry: bool = True) -> SessionStatus:
        """The state of a version; one that never ran has none."""
        self.asked.append(f"status {ref}")
        version = self._find(ref)[1]
        if not self.has_sessions:
            raise NotFoundError(f"{ref} has never run.")
        return SessionStatus(version.state, version.message)

    def outputs(self, ref: KernelRef) -> Sequence[OutputFile]:
        """What the session left, where there is a storage to fetch it from."""
        self.asked.append(f"outputs {ref}")
        left = self._find(ref)[1].outputs if self.storage is not None else {}
        return [self.storage.put(name, data) for name, data in left.items() if self.storage is not None]

    def output_file(self, ref: KernelRef, name: str) -> bytes | None:
        """What the session left under that name."""
        self.asked.append(f"output {ref}")
        return self._find(ref)[1].outputs.get(name)

    def stored_log(self, ref: KernelRef) -> Sequence[LogEvent]:
        """The log of an ended session."""
        self.asked.append(f"log {ref}")
        return [LogEvent("stdout", float(second), text) for second, text in enumerate(self._find(ref)[1].log)]

    def log_stream(self, ref: KernelRef, *, idle_s: float, retry: bool = True) -> Iterator[LogEvent]:
        """Nothing."""
        yield from ()

    def delete(self, ref: KernelRef) -> None:
        """Forget a kernel."""
        del self.kernels[ref.kernel]

    def my_kernels(self) -> Sequence[KernelInfo]:
        """All kernels."""
        return [self.kernel(ref) for ref in self.kernels]

    def quota(self) -> Quota | None:
        """The week's hours."""
        self.asked.append("quota")
        if self.before_quota is not None:
            happen, self.before_quota = self.before_quota, None
            happen()
        return self.week

    def dataset_files(self, source: str) -> Iterator[InputFile]:
        """The files of a dataset's newest version."""
        self.asked.append(f"dataset files {source}")
        for name, content in sorted(self._newest(source).files.items()):
            yield InputFile(name, len(content))

    def dataset_ready(self, source: str) -> bool:
        """Whether its time of preparation has passed."""
        self.asked.append(f"dataset ready {source}")
        return self._newest(source).ready_at <= self.clock.monotonic()

    def upload_dataset(self, source: str, title: str, files: Sequence[Path], *, notes: str) -> None:
        """Keep a version, unless a fault is due."""
        self.asked.append(f"upload {source}")
        assert 6 <= len(title) <= 50  # Kaggle's own limits.
        error, arrives = self.upload_errors.pop(0) if self.upload_errors else (None, True)
        if arrives:
            ready_at = self.clock.monotonic() + self.dataset_processing_s
            held = {path.name: path.read_bytes() for path in files}
            self.datasets.setdefault(source, []).append(Upload(held, notes, ready_at))
        if error is not None:
            raise error

    def model_files(self, source: str) -> Iterator[InputFile]:
        """Nothing."""
        yield from ()

    def _newest(self, source: str) -> Upload:
        if source not in self.datasets:
            raise NotFoundError(f"There is no dataset {source}.")
        return self.datasets[source][-1]

    def _find(self, ref: KernelRef) -> tuple[int, Version]:
        versions = self.kernels.get(ref.kernel, [])
        number = ref.version or len(versions)
        if not 1 <= number <= len(versions):
            raise NotFoundError(f"There is no {ref}.")
        return number, versions[number - 1]


def hours(left: float, *, allowed: float = 30, refreshes_at: datetime | None = None) -> Quota:
    """A week's quota with so many hours left."""
    return Quota(timedelta(hours=allowed - left), timedelta(0), timedelta(hours=allowed), refreshes_at)
