"""A storage server whose manners each test chooses."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

from orchestrator.models import OutputFile


@dataclass
class Answer:
    """What one request is answered: the body sent, and what the headers claim."""

    body: bytes = b""
    status: int = 200
    claimed_size: int | None = None
    claimed_md5: bytes | None = None
    etag: str | None = None
    hold: Event | None = None  # Half of the body is sent, the rest when this is set.


@dataclass
class Storage:
    """Files by number; each has the answers that its requests get in turn, the last one for ever."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    halved: Event = field(default_factory=Event)  # Set when a held answer has sent its first half.

    def put(self, name: str, *answers: Answer | bytes) -> OutputFile:
        """Store a file; gives what a listing would say of it."""
        key = str(len(self.answers))
        self.answers[key] = [Answer(item) if isinstance(item, bytes) else item for item in answers]
        return OutputFile(name, f"{self.url}/{key}?X-Goog-Signature=secret")

    def next(self, key: str) -> Answer:
        """The answer whose turn it is."""
        self.asked.append(key)
        answers = self.answers[key]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def _handler(storage: Storage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = storage.next(self.path.strip("/").partition("?")[0])
            body = answer.body
            md5 = (
                answer.claimed_md5
                if answer.claimed_md5 is not None
                else hashlib.md5(body, usedforsecurity=False).digest()
            )
            self.send_response(answer.status)
            size = len(body) if answer.claimed_size is None else answer.claimed_size
            self.send_header("Content-Length", str(size))
            self.send_header("ETag", answer.etag or f'"{md5.hex()}"')
            self.send_header("x-goog-hash", f"crc32c=AAAAAA==,md5={base64.b64encode(md5).decode()}")
            self.end_headers()
            half = len(body) // 2 if answer.hold is not None else len(body)
            try:
                self.wfile.write(body[:half])
                if answer.hold is not None:
                    storage.halved.set()
                    answer.hold.wait(60)
                    self.wfile.write(body[half:])
            except OSError:
                pass  # The client went away, as some tests want.
            self.close_connection = True

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
