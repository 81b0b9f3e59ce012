"""Pushes for the tests, and waits for their ends without polling."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from orchestrator.emulator import Emulator
from orchestrator.kaggle.client import KaggleClient
from orchestrator.models import InputDetails, KernelPush, KernelRef, SessionState
from tests.support import USER

KERNEL = KernelRef(USER, "small-kernel")
SOURCE = f"{USER}/voice-kept"
TITLE = "Voice: kept"
DETAILS = InputDetails(TITLE, license="other")
HANG = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(1000)\n"


def small_push(source: str = "print('hello')", **fields: Any) -> KernelPush:
    """Return a push of a script to a CPU machine."""
    wanted = {"ref": KERNEL, "title": "Small kernel", "source": source, "accelerator": None, **fields}
    return KernelPush(**wanted)


def run_to_end(kaggle: KaggleClient, source: str, **fields: Any) -> KernelRef:
    """Push a script and wait on its live log for its end; returns the version."""
    pushed = kaggle.push(small_push(source, **fields))
    for _ in kaggle.log_stream(pushed.ref, idle_s=60):
        pass
    assert kaggle.session_status(pushed.ref).state in (SessionState.COMPLETE, SessionState.ERROR)
    return pushed.ref


@contextmanager
def answering(
    content_type: str, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a server that is not Kaggle and answers everything alike. Returns its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815 - the base class calls it

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_files(folder: Path, **contents: bytes) -> dict[str, Path]:
    """Make files by their names; `a_b` is written as `a.b`."""
    folder.mkdir(exist_ok=True)
    paths = [folder / name.replace("_", ".") for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    return {path.name: path for path in paths}


def stored(emulator: Emulator, number: int, name: str) -> bytes:
    """Return a file as the emulator stores it."""
    datasets = emulator.backend.datasets
    found = datasets.find(*SOURCE.split("/"))
    assert found is not None
    return (datasets.folder(found, number) / name).read_bytes()
