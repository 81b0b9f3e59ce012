"""The world with the client as the port and the emulator as the service, over HTTP; needs POSIX."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import stamina

from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.kaggle import connect
from orchestrator.models import KernelRef, OutputFile
from orchestrator.ports import Kaggle
from tests.contract.worlds import ATTEMPTS, PREPARED_S, TIMEOUT_S, World, push_of
from tests.fakes.clock import FakeClock
from tests.support import KEY, USER

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
    "cancel_session": "CancelKernelSession",
    "delete": "DeleteKernel",
    "my_kernels": "ListKernels",
    "quota": "GetAcceleratorQuotaStatistics",
    "upload_dataset": "CreateDataset",
    "dataset_files": "ListDatasetFiles",
    "dataset_ready": "GetDatasetStatus",
    "model_files": "ListModelInstanceVersionFiles",
    "my_datasets": "ListDatasets",
    "dataset_details": "GetDatasetMetadata",
    "update_dataset": "UpdateDatasetMetadata",
    "delete_dataset": "DeleteDataset",
    "my_models": "ListModels",
    "model_variations": "ListModelInstances",
    "create_model": "CreateModel",
    "update_model": "UpdateModel",
    "delete_model": "DeleteModelInstance",
}


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

    def session(self, ref: KernelRef) -> int:
        """Read the version's session id."""
        kernel = self.emulator.backend.kernels.get(ref.owner, ref.slug)
        session = next(item.session for item in kernel.versions if item.number == ref.version)
        assert session is not None
        return session

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
        """Download it from the emulator's storage."""
        return requests.get(file.url, timeout=TIMEOUT_S).content

    def fail(self, method: str, status: int, times: int = 1) -> None:
        """Make the emulator answer this way."""
        self.emulator.server.faults.fail_next(status, method=WIRE[method], times=times)

    def received(self, ref: KernelRef) -> dict[str, Any]:
        """Return what the emulator stored of the version."""
        kernel = self.emulator.backend.kernels.get(ref.owner, ref.slug)
        version = next(item for item in kernel.versions if item.number == ref.version)
        sources = (*version.dataset_sources, *version.model_sources, *version.kernel_sources)
        return {"timeout_s": version.limit_s, "internet": version.internet, "sources": sources}


@contextmanager
def wire(root: Path, stop_later: Callable[[Emulator], None], absent: int = 403) -> Iterator[World]:
    """Give the client, logged in at an emulator in `root`; retries happen, but nothing waits for them.

    `absent` is the emulator's answer for what does not exist.
    """
    clock = FakeClock()
    options = EmulatorOptions(
        sandbox="relocate",
        standins=False,
        max_cpu_sessions=50,
        dataset_processing_s=PREPARED_S,
        legacy_key_may_cancel=True,
        absent=absent,
    )
    emulator = Emulator(root, options=options, credentials=(USER, KEY), clock=clock).start()
    client = connect({"KGTTS_KAGGLE_URL": emulator.url}, login=(USER, KEY))
    try:
        with stamina.set_testing(True, attempts=ATTEMPTS, cap=True):
            yield WireWorld(emulator, client, clock)
    finally:
        client.close()
        stop_later(emulator)
