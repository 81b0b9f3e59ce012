"""Two worlds in which the contract of the port `Kaggle` is tested: in memory, and the client over HTTP.

A world gives the port and what a test needs beside it: sessions that end in a known way, inputs, faults, and
a look at what the service received.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import requests
import stamina

from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.kaggle import connect
from orchestrator.models import KernelPush, KernelRef, OutputFile, SessionState
from orchestrator.ports import Kaggle
from tests.download.storage import serve
from tests.fakes.clock import FakeClock
from tests.fakes.kaggle import FakeKaggle, Upload, hours, http_error, said
from tests.support import KEY, USER

KERNEL = KernelRef(USER, "small-kernel")
ATTEMPTS = 3  # How often a read is tried in these tests.
TIMEOUT_S = 60
PREPARED_S = 600.0  # How long an uploaded dataset is prepared.
HANG = "import time\nwhile True: time.sleep(1000)\n"
# The wire's method behind each method of the port that is a single call.
WIRE = {
    "push": "SaveKernel",
    "kernel": "GetKernel",
    "session_status": "GetKernelSessionStatus",
    "outputs": "ListKernelSessionOutput",
    "output_file": "DownloadKernelOutput",
    "stored_log": "ListKernelSessionOutput",
    "log_stream": "GetKernelSessionLogsStream",
    "delete": "DeleteKernel",
    "my_kernels": "ListKernels",
    "quota": "GetAcceleratorQuotaStatistics",
    "dataset_files": "ListDatasetFiles",
    "dataset_ready": "GetDatasetStatus",
    "model_files": "ListModelInstanceVersionFiles",
}


def push_of(source: str = "print('hello')", **fields: Any) -> KernelPush:
    """Return a push of a script to a CPU machine."""
    wanted = {"ref": KERNEL, "title": "Small kernel", "source": source, "accelerator": None, **fields}
    return KernelPush(**wanted)


class World(Protocol):
    """A Kaggle under test, with what a person sees of it otherwise."""

    clock: FakeClock

    @property
    def kaggle(self) -> Kaggle:
        """The port."""
        ...

    def run(
        self, *lines: str, files: Mapping[str, str] | None = None, exit_code: int = 0, **fields: Any
    ) -> KernelRef:
        """Push a session that prints `lines`, leaves `files` and ends so; gives its version after its end."""
        ...

    def begin(self, *lines: str, **fields: Any) -> KernelRef:
        """Push a session that prints `lines` and goes on for ever; gives its version once they are said."""
        ...

    def dataset(self, source: str, files: Mapping[str, str]) -> None:
        """Let a dataset exist."""
        ...

    def model(self, source: str, files: Mapping[str, str]) -> None:
        """Let a model version exist."""
        ...

    def content(self, file: OutputFile) -> bytes:
        """Fetch an output from its signed address."""
        ...

    def fail(self, method: str, status: int, times: int = 1) -> None:
        """Answer the next calls of a method of the port with an HTTP status."""
        ...

    def received(self, ref: KernelRef) -> dict[str, Any]:
        """What the service knows of a version's push: its limit in seconds, its internet, its sources."""
        ...


class MemoryWorld:
    """The fake."""

    def __init__(self, fake: FakeKaggle) -> None:
        self.fake = fake
        self.clock = fake.clock

    @property
    def kaggle(self) -> Kaggle:
        """The port."""
        return self.fake

    def run(
        self, *lines: str, files: Mapping[str, str] | None = None, exit_code: int = 0, **fields: Any
    ) -> KernelRef:
        """Push, and end the session by hand."""
        self.clock.advance(1)
        ref = self.fake.push(push_of(**fields)).ref
        version = self.fake.version(str(ref))
        version.log = said(*lines)
        version.outputs = {name: text.encode() for name, text in (files or {}).items()}
        version.state = SessionState.ERROR if exit_code else SessionState.COMPLETE
        version.message = f"The script ended with exit code {exit_code}." if exit_code else None
        return ref

    def begin(self, *lines: str, **fields: Any) -> KernelRef:
        """Push, and let the session run."""
        ref = self.fake.push(push_of(**fields)).ref
        version = self.fake.version(str(ref))
        version.log, version.state = said(*lines), SessionState.RUNNING
        return ref

    def dataset(self, source: str, files: Mapping[str, str]) -> None:
        """Put it there."""
        self.fake.datasets[source] = [Upload({name: text.encode() for name, text in files.items()})]

    def model(self, source: str, files: Mapping[str, str]) -> None:
        """Put it there."""
        self.fake.models[source] = {name: text.encode() for name, text in files.items()}

    def content(self, file: OutputFile) -> bytes:
        """Fetch it from the storage."""
        return requests.get(file.url, timeout=TIMEOUT_S).content

    def fail(self, method: str, status: int, times: int = 1) -> None:
        """Raise what the client makes of that status, once its tries are over."""
        if times >= ATTEMPTS or (status < 500 and status != 429) or method in ("push", "delete"):
            self.fake.next(method, http_error(status))

    def received(self, ref: KernelRef) -> dict[str, Any]:
        """Return what was pushed."""
        push = self.fake.version(str(ref)).push
        assert push is not None
        sources = (*push.dataset_sources, *push.model_sources, *push.kernel_sources)
        return {"timeout_s": push.session_timeout_s, "internet": push.internet, "sources": sources}


class WireWorld:
    """The client and the emulator, over HTTP."""

    def __init__(self, emulator: Emulator, client: Any, clock: FakeClock) -> None:
        self.emulator = emulator
        self.client = client
        self.clock = clock

    @property
    def kaggle(self) -> Kaggle:
        """The port."""
        port: Kaggle = self.client
        return port

    def run(
        self, *lines: str, files: Mapping[str, str] | None = None, exit_code: int = 0, **fields: Any
    ) -> KernelRef:
        """Push a script that does it, and read its live log to the end."""
        self.clock.advance(1)
        source = (
            "import pathlib\n"
            f"for line in {lines!r}: print(line, flush=True)\n"
            f"for name, text in {dict(files or {})!r}.items():\n"
            "    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)\n"
            "    pathlib.Path(name).write_text(text)\n"
            f"raise SystemExit({exit_code})\n"
        )
        ref = self.kaggle.push(push_of(**{"source": source, **fields})).ref
        for _ in self.kaggle.log_stream(ref, idle_s=TIMEOUT_S):
            pass
        return ref

    def begin(self, *lines: str, **fields: Any) -> KernelRef:
        """Push a script that does it, and read its live log up to the last line."""
        source = (
            f"import time\nfor line in {lines!r}: print(line, flush=True)\nwhile True: time.sleep(1000)\n"
        )
        ref = self.kaggle.push(push_of(**{"source": source, **fields})).ref
        for event in self.kaggle.log_stream(ref, idle_s=TIMEOUT_S):
            if lines[-1] in event.text:
                break
        return ref

    def dataset(self, source: str, files: Mapping[str, str]) -> None:
        """Write its folder."""
        self._write("datasets", source, files)

    def model(self, source: str, files: Mapping[str, str]) -> None:
        """Write its folder."""
        self._write("models", source, files)

    def _write(self, kind: str, source: str, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.emulator.backend.state.root / kind / source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def content(self, file: OutputFile) -> bytes:
        """Fetch it from the emulator's storage."""
        return requests.get(file.url, timeout=TIMEOUT_S).content

    def fail(self, method: str, status: int, times: int = 1) -> None:
        """Let the emulator answer so."""
        self.emulator.server.faults.fail_next(status, method=WIRE[method], times=times)

    def received(self, ref: KernelRef) -> dict[str, Any]:
        """Return what the emulator keeps of the version."""
        kernel = self.emulator.backend.kernels.get(ref.owner, ref.slug)
        version = next(item for item in kernel.versions if item.number == ref.version)
        sources = (*version.dataset_sources, *version.model_sources, *version.kernel_sources)
        return {"timeout_s": version.limit_s, "internet": version.internet, "sources": sources}


@contextmanager
def memory() -> Iterator[World]:
    """Give the fake, with a storage behind it."""
    with serve() as storage:
        fake = FakeKaggle(username=USER, storage=storage, week=hours(30), dataset_processing_s=PREPARED_S)
        yield MemoryWorld(fake)


@contextmanager
def wire(root: Path, put_away: Callable[[Emulator], None]) -> Iterator[World]:
    """Give the client, logged in at an emulator in `root`; retries happen, but nothing waits for them."""
    clock = FakeClock()
    options = EmulatorOptions(
        sandbox="relocate", standins=False, max_cpu_sessions=50, dataset_processing_s=PREPARED_S
    )
    emulator = Emulator(root, options=options, credentials=(USER, KEY), clock=clock).start()
    client = connect({"KGTTS_KAGGLE_URL": emulator.url}, login=(USER, KEY))
    try:
        with stamina.set_testing(True, attempts=ATTEMPTS, cap=True):
            yield WireWorld(emulator, client, clock)
    finally:
        client.close()
        put_away(emulator)
