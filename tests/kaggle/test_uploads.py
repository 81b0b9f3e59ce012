"""Uploads to Kaggle: over broken connections, in little memory, and never to a wrong place."""

import json
import os
import socket
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from orchestrator.emulator import Emulator
from orchestrator.emulator.faults.kinds import UploadLost
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.emulator.service.uploads import CHUNK_MULTIPLE
from orchestrator.errors import ForbiddenError, ServiceError
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from orchestrator.kaggle.uploads import WORTH_REMEMBERING
from orchestrator.models import Sending
from tests.kaggle.helpers import DETAILS, SOURCE, make_files, stored
from tests.support import KEY, USER


@pytest.mark.parametrize(
    "breaks",
    [[0], [1], [CHUNK_MULTIPLE], [3 * CHUNK_MULTIPLE + 7, 3 * CHUNK_MULTIPLE + 7, 9 * CHUNK_MULTIPLE - 1]],
)
def test_a_broken_upload_goes_on_where_it_broke(
    emulator: Emulator, kaggle: KaggleClient, tmp_path: Path, breaks: list[int]
) -> None:
    """What the storage has is not sent again, and the file arrives unchanged."""
    content = os.urandom(10 * CHUNK_MULTIPLE + 123)
    # Every other request asks how much has arrived.
    faults = [UploadLost(after=place, skip=2 * number, first=1) for number, place in enumerate(breaks)]
    emulator.server.faults.set(FaultPlan(faults=tuple(faults)))
    kaggle.upload_dataset(SOURCE, DETAILS, make_files(tmp_path / "1", big_pth=content), notes="x")
    assert stored(emulator, 1, "big.pth") == content


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_storage_that_has_a_bad_spell_is_asked_again(
    emulator: Emulator, kaggle: KaggleClient, tmp_path: Path, status: int
) -> None:
    """Errors before the first byte, and when asking what arrived, are retried."""
    emulator.server.faults.fail_next(status, method="PutBlob", times=3)
    kaggle.upload_dataset(SOURCE, DETAILS, make_files(tmp_path / "1", a_txt=b"one"), notes="x")
    assert stored(emulator, 1, "a.txt") == b"one"


@pytest.mark.parametrize(("status", "times"), [(503, 20), (403, 1), (404, 1), (410, 1)])
def test_an_upload_that_fails_for_good_is_said(
    emulator: Emulator, kaggle: KaggleClient, tmp_path: Path, status: int, times: int
) -> None:
    """No version is made of it."""
    emulator.server.faults.fail_next(status, method="PutBlob", times=times)
    with pytest.raises(ServiceError, match=rf"Kaggle's storage .*\({status}\)"):
        kaggle.upload_dataset(SOURCE, DETAILS, make_files(tmp_path / "1", a_txt=b"one"), notes="x")
    with pytest.raises(ForbiddenError):
        kaggle.dataset_ready(SOURCE)


def test_a_later_upload_goes_on_with_what_arrived(
    emulator: Emulator, kaggle: KaggleClient, tmp_path: Path
) -> None:
    """Another process sends the rest only; a place that has expired is replaced by a new one."""
    content = os.urandom(WORTH_REMEMBERING + 5)
    files = make_files(tmp_path / "1", big_pth=content)
    emulator.server.faults.set(FaultPlan(faults=(UploadLost(after=10 * CHUNK_MULTIPLE),)))
    sent = list[int]()
    sending = Sending(sent.append, tmp_path / "unfinished")
    with pytest.raises(ServiceError):
        kaggle.upload_dataset(SOURCE, DETAILS, files, notes="x", sending=sending)
    emulator.server.faults.set(FaultPlan())
    (memory,) = (tmp_path / "unfinished").iterdir()
    sent.clear()
    forgotten = memory.with_name("old.json")
    forgotten.write_text("{}")
    os.utime(forgotten, (0, 0))  # Its address is no longer valid.
    kaggle.upload_dataset(SOURCE, DETAILS, files, notes="x", sending=sending)
    assert not forgotten.exists()
    assert sent[0] == 10 * CHUNK_MULTIPLE  # Skipped at once, and the rest was read.
    assert sum(sent) == len(content)
    assert stored(emulator, 1, "big.pth") == content
    assert not memory.exists()
    memory.write_text(json.dumps({"token": "gone", "url": f"{emulator.url}/_storage/gone"}))
    kaggle.upload_dataset(SOURCE, DETAILS, files, notes="x", sending=sending)
    assert stored(emulator, 2, "big.pth") == content


def test_an_upload_keeps_memory_flat(kaggle: KaggleClient, tmp_path: Path) -> None:
    """A checkpoint of a gigabyte is streamed from disk and to disk."""
    big = tmp_path / "big.pth"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        kaggle.upload_dataset(SOURCE, DETAILS, {"big.pth": big}, notes="x")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


class FarStorage(BaseHTTPRequestHandler):
    """A Kaggle that has only uploads, over a connection that breaks in the first request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # As Kaggle and its storage.
    create_url = ""
    received = b""
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_POST(self) -> None:
        """Answer Kaggle's calls."""
        self.rfile.read(int(self.headers["Content-Length"]))
        match self.path.rsplit("/", 1)[1]:
            case "GetDatasetStatus":
                self.answer(404, {"code": 404, "message": "not found"})
            case "StartBlobUpload":
                self.answer(200, {"token": "t", "createUrl": type(self).create_url})
            case _:
                self.answer(200, {"status": "ok"})

    def do_PUT(self) -> None:
        """Answer the storage's requests."""
        kind = type(self)
        kind.asked.append((self.headers.get("Content-Range", ""), self.headers.get("Authorization")))
        if not kind.received:
            kind.received += self.rfile.read(CHUNK_MULTIPLE)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        kind.received += self.rfile.read(int(self.headers["Content-Length"]))
        if "*" in kind.asked[-1][0]:
            self.answer(308, {}, Range=f"bytes=0-{len(kind.received) - 1}")
        else:
            self.answer(200, {})

    def answer(self, status: int, body: object, **headers: str) -> None:
        """Send JSON."""
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Print nothing."""


@pytest.fixture
def far() -> Iterator[tuple[type[FarStorage], KaggleClient]]:
    """The handler of that Kaggle, and a client of it."""

    class Kind(FarStorage):
        asked: ClassVar[list[tuple[str, str | None]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Kind)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    Kind.create_url = f"{url}/storage/x"
    client = connect({"KGTTS_KAGGLE_URL": url}, login=(USER, KEY))
    yield Kind, client
    client.close()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_dropped_connection_is_survived_and_the_storage_sees_no_credentials(
    far: tuple[type[FarStorage], KaggleClient], tmp_path: Path
) -> None:
    """The client asks what arrived, sends the rest, and no request has the login."""
    kind, client = far
    content = os.urandom(40 * CHUNK_MULTIPLE)
    client.upload_dataset(SOURCE, DETAILS, make_files(tmp_path / "1", big_pth=content), notes="x")
    assert kind.received == content
    size = len(content)
    assert kind.asked == [
        ("", None),
        (f"bytes */{size}", None),
        (f"bytes {CHUNK_MULTIPLE}-{size - 1}/{size}", None),
    ]


@pytest.mark.parametrize("url", ["http://example.com/x", "file:///etc/passwd", "ftp://example.com/x", ""])
def test_a_file_goes_to_a_protected_address_only(
    far: tuple[type[FarStorage], KaggleClient], tmp_path: Path, url: str
) -> None:
    """It goes by https, or to the service itself."""
    kind, client = far
    kind.create_url = url
    with pytest.raises(ServiceError, match="gave no address"):
        client.upload_dataset(SOURCE, DETAILS, make_files(tmp_path / "1", a_txt=b"one"), notes="x")
    assert kind.asked == []
