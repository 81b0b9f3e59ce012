"""A server before the emulator that forwards calls, and changes the answers of chosen ones."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from orchestrator.connections import HttpSession

Change = Callable[[bytes], bytes]


@dataclass
class Altered:
    """What is answered differently.

    Attributes:
        url: the server's address.
        changes: by method, what is made of the emulator's answer.
        answers: by method, the status and the body that come without the emulator being asked; "*" is any.
        once: by method, what its next calls are answered before that; None lets a call through.
        only: what a request must contain to get one of these; "" is any.
        redirects: by method, where the client is sent.
        calls: the methods that were called.
        bodies: by method, what the last request brought.
        authorized: the paths of the requests that carried credentials.
    """

    url: str = ""
    changes: dict[str, Change] = field(default_factory=dict)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    once: dict[str, list[tuple[int, bytes] | None]] = field(default_factory=dict)
    only: bytes = b""
    redirects: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    authorized: list[str] = field(default_factory=list)


@contextmanager
def altered(emulator_url: str) -> Iterator[Altered]:
    """Start the server; nothing is changed yet."""
    plan = Altered()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # Else a body waits 40 ms until the client confirms the headers.

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            method = self.path.partition("?")[0].rpartition("/")[2]
            plan.calls.append(method)
            plan.bodies[method] = sent
            if self.headers.get("Authorization"):
                plan.authorized.append(self.path)
            if method in plan.redirects:
                self._answer(302, b"", {"Location": plan.redirects[method]})
                return
            given = plan.answers.get(method) or plan.answers.get("*")
            if plan.only not in sent:
                given = None
            elif plan.once.get(method):
                given = plan.once[method].pop(0)
            if given is not None:
                self._answer(*given, {"Content-Type": "application/json"})
                return
            kept = ("authorization", "content-type", "accept")
            headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
            with HttpSession() as session:
                answer = session.request(
                    self.command, emulator_url + self.path, data=sent, headers=headers, allow_redirects=False
                )
            change = plan.changes.get(method, bytes)
            passed = {
                name: answer.headers[name] for name in ("Content-Type", "Location") if name in answer.headers
            }
            self._answer(answer.status_code, change(answer.content), passed)

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST  # noqa: N815 - the base class calls them

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    plan.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield plan
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
