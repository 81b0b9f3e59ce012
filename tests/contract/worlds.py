"""A world to test the contract of the port `Kaggle` in, and the one in memory.

A world gives the port and what a test needs beside it: sessions that end in a known way, inputs, faults, and
a look at what the service received. `wire.py` has the other one: the client and the emulator, over HTTP.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import requests

from orchestrator.models import KernelPush, KernelRef, OutputFile, SessionState
from orchestrator.ports import Kaggle
from tests.download.storage import serve
from tests.fakes.clock import FakeClock
from tests.fakes.inputs import Upload
from tests.fakes.kaggle import FakeKaggle
from tests.fakes.sessions import hours, http_error, said
from tests.support import USER

KERNEL = KernelRef(USER, "small-kernel")
ATTEMPTS = 3  # How often a read is tried in these tests.
TIMEOUT_S = 60
SENT_ONCE = ("push", "delete", "cancel_session")
CHANGES = ("create_model", "update_model", "delete_model", "update_dataset", "delete_dataset")
PREPARED_S = 600.0  # How long an uploaded dataset is prepared.
HANG = "import time\nwhile True: time.sleep(1000)\n"


def push_of(source: str = "print('hello')", **fields: Any) -> KernelPush:
    """Return a push of a script to a CPU machine."""
    wanted = {"ref": KERNEL, "title": "Small kernel", "source": source, "accelerator": None, **fields}
    return KernelPush(**wanted)


class World(Protocol):
    """A Kaggle under test, and what a person sees of it in other ways."""

    clock: FakeClock

    @property
    def kaggle(self) -> Kaggle:
        """The port."""
        ...

    def run(
        self, *lines: str, files: Mapping[str, str] | None = None, exit_code: int = 0, **fields: Any
    ) -> KernelRef:
        """Push a session that prints `lines`, leaves `files` and ends this way; returns its version."""
        ...

    def begin(self, *lines: str, **fields: Any) -> KernelRef:
        """Push a session that prints `lines` and continues without end; returns its version."""
        ...

    def session(self, ref: KernelRef) -> int:
        """Return Kaggle's id of a version's session, as the session itself would print it."""
        ...

    def dataset(self, source: str, files: Mapping[str, str]) -> None:
        """Make a dataset."""
        ...

    def model(self, source: str, files: Mapping[str, str]) -> None:
        """Make a model version."""
        ...

    def content(self, file: OutputFile) -> bytes:
        """Download an output from its signed URL."""
        ...

    def fail(self, method: str, status: int, times: int = 1) -> None:
        """Answer the next calls of a method of the port with an HTTP status."""
        ...

    def received(self, ref: KernelRef) -> dict[str, Any]:
        """Return what the service stored of a version's push: time limit, internet and sources."""
        ...


class MemoryWorld:
    """The world of the fake."""

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

    def session(self, ref: KernelRef) -> int:
        """Look at the version."""
        return self.fake.version(str(ref)).session

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
        if times >= ATTEMPTS or (status < 500 and status != 429) or method in (*SENT_ONCE, *CHANGES):
            self.fake.next(method, http_error(status))

    def received(self, ref: KernelRef) -> dict[str, Any]:
        """Return what was pushed."""
        push = self.fake.version(str(ref)).push
        assert push is not None
        sources = (*push.dataset_sources, *push.model_sources, *push.kernel_sources)
        return {"timeout_s": push.session_timeout_s, "internet": push.internet, "sources": sources}


@contextmanager
def memory() -> Iterator[World]:
    """Return the fake with a storage behind it."""
    with serve() as storage:
        fake = FakeKaggle(username=USER, storage=storage, week=hours(30), dataset_processing_s=PREPARED_S)
        yield MemoryWorld(fake)
