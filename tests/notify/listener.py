"""A local service that apprise posts JSON to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Listener:
    """What was posted, and the address to post to, with a token in it."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.heard: list[dict[str, Any]] = []
        self.status = 200
        self.address = f"json://127.0.0.1:{server.server_port}/a-secret-token"

    @property
    def titles(self) -> list[str]:
        """The titles of the messages."""
        return [item["title"] for item in self.heard]


@contextmanager
def listening() -> Iterator[Listener]:
    """Run a service until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if listener.status == 200:
                listener.heard.append(json.loads(body))
            self.send_response(listener.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener = Listener(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
