"""A storage server whose behaviour each test chooses; by default that of Google's, with `Range`."""

import base64
import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import google_crc32c

from orchestrator.models import OutputFile

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Answer:
    """The answer to one request: the body that is sent, and what the headers claim."""

    body: bytes = b""
    status: int = 200
    claimed_size: int | None = None
    claimed_md5: bytes | None = None
    etag: str | None = None
    hold: Event | None = None  # Half of the body is sent, the rest when this is set.
    ranges: bool = True  # Whether `Range` is heeded.
    reset_after: int | None = None  # The connection is reset after so many bytes of the body.
    pace: tuple[int, float] | None = None  # So many bytes, and then seconds of nothing, and so on.
    shift: int = 0  # By how much the part sent is another one than was asked for.
    drop: tuple[str, ...] = ()  # Headers that are not sent.
    headers: Mapping[str, str] = field(default_factory=dict)  # And further ones.


@dataclass
class Asked:
    """One request: the file's key and the headers that matter."""

    key: str
    range: str | None
    if_range: str | None


@dataclass
class Storage:
    """Files by number; each has the answers to its requests in order, the last one for ever."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    requests: list[Asked] = field(default_factory=list)
    sent: int = 0  # Bytes of bodies.
    halved: Event = field(default_factory=Event)  # Set when a held answer has sent its first half.
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, name: str, *answers: Answer | bytes) -> OutputFile:
        """Store a file; returns its entry in a listing."""
        key = str(len(self.answers))
        self.answers[key] = [Answer(item) if isinstance(item, bytes) else item for item in answers]
        return OutputFile(name, f"{self.url}/{key}?X-Goog-Signature=secret")

    def next(self, request: Asked) -> Answer:
        """Return the answer whose turn it is."""
        with self.lock:
            self.asked.append(request.key)
            self.requests.append(request)
            answers = self.answers[request.key]
            return answers.pop(0) if len(answers) > 1 else answers[0]


def _composed(answer: Answer, asked: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
    """Return status, body and headers of an answer to a request with the headers `asked`."""
    status, body = answer.status, answer.body
    md5, hashes = answer.claimed_md5, ""
    if md5 is None:
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        hashes = f",crc32c={base64.b64encode(google_crc32c.Checksum(body).digest()).decode()}"
    etag = answer.etag or f'"{md5.hex()}"'
    headers = {"ETag": etag, "x-goog-hash": f"md5={base64.b64encode(md5).decode()}{hashes}"}
    total = answer.claimed_size or len(body)
    found = _RANGE.fullmatch(asked.get("Range", ""))
    if status == 200 and asked.get("If-None-Match") == etag:
        status, body = 304, b""
    elif status == 200 and found and answer.ranges and asked.get("If-Range") in (None, etag):
        start, end = int(found[1]) + answer.shift, min(int(found[2]) + answer.shift + 1, total)
        if start >= total:
            status, body, headers["Content-Range"] = 416, b"", f"bytes */{total}"
        else:
            status, body = 206, body[start:end]
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
            headers["Content-Length"] = str(end - start)
    elif status == 200:
        headers["Content-Length"] = str(total)
    headers.setdefault("Content-Length", str(len(body)))
    return status, body, {**headers, **answer.headers}


def _paced(body: bytes, pace: tuple[int, float] | None) -> Iterator[bytes]:
    """Return the parts of a body, each with the seconds of silence after it."""
    size, seconds = pace or (max(1, len(body)), 0.0)
    for start in range(0, len(body), size):
        yield body[start : start + size]
        time.sleep(seconds)


def _handler(storage: Storage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # As Kaggle and its storage.

        def do_GET(self) -> None:
            key = self.path.strip("/").partition("?")[0]
            answer = storage.next(Asked(key, self.headers.get("Range"), self.headers.get("If-Range")))
            status, body, headers = _composed(answer, dict(self.headers.items()))
            self.send_response(status)
            for name, value in headers.items():
                if name not in answer.drop:
                    self.send_header(name, value)
            self.end_headers()
            self._send(answer, body, short=headers["Content-Length"] != str(len(body)))
            self.close_connection |= "Content-Length" in answer.drop

        def _send(self, answer: Answer, body: bytes, *, short: bool) -> None:
            half = len(body) // 2 if answer.hold is not None else len(body)
            try:
                if answer.reset_after is not None:
                    self.wfile.write(body[: answer.reset_after])
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    body = body[: answer.reset_after]
                else:
                    for part in _paced(body[:half], answer.pace):
                        self.wfile.write(part)
                if answer.hold is not None:
                    storage.halved.set()
                    answer.hold.wait(60)
                    self.wfile.write(body[half:])
            except OSError:
                self.close_connection = True  # The client went away, as some tests want.
            with storage.lock:
                storage.sent += len(body)
            self.close_connection |= short

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    return Handler


@contextmanager
def serve() -> Iterator[Storage]:
    """Run the storage on a free port of loopback."""
    storage = Storage()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(storage))
    server.daemon_threads = True
    storage.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield storage
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
