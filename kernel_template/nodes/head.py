"""Machine 0's side of what the sessions of several machines tell each other.

Machine 0 decides, and the others do the same. It answers over HTTP from before it knows which session it is
until it ends: it tells the others its settings, gives them the checkpoint to continue from, and says when a
training begins and how it ended. That is not torch's store, since torch may be installed only by the session.
It answers machines of the run alone, and shows them that it is machine 0 (see trust.py).
"""

import errno
import ipaddress
import json
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from kernel_template.contract import OWN_PREFIX
from kernel_template.nodes.trust import HEADER, is_proof, proof
from kernel_template.place import Place
from kernel_template.start.parent import ResumePoint
from kernel_template.tools.files import json_bytes, sha256_of
from kernel_template.tools.nodes import Nodes
from kernel_template.tools.outcome import Outcome
from kernel_template.tools.paths import Paths
from kernel_template.tools.process import StopFlag
from kernel_template.train.host_link import BatchPlan

OK, REFUSED, NOT_YET, ENDED = 200, 403, 404, 410
_LEAVE_S = 5.0  # For the others to hear the end.
_POLL_S = 0.2
_IPV4 = 4
_SILENT_S = 30.0  # For a request to come whole.
_MOST_BYTES = 1_000_000  # Of what another machine says.
_WEIGHTS = ".pth"


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing of what strangers send, or of a machine that is gone."""


@dataclass(slots=True)
class Head:
    """Machine 0's side.

    Args:
        nodes: the machines.
        key: what only they know.
        stop: told to stop if another machine fails.

    Attributes:
        failed: why the first other machine has failed; None if none has.
    """

    nodes: Nodes
    key: bytes = field(repr=False)
    stop: StopFlag | None = None
    failed: str | None = None
    _told: dict[str, bytes] = field(default_factory=dict)
    _files: dict[str, Path] = field(default_factory=dict)
    _ended: bytes | None = None
    _left: set[str] = field(default_factory=set)  # The machines that have heard the end.
    _over: bool = False  # The run needs no session.
    _trainings: int = 0
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Begin to answer.

        Raises:
            OSError: the port is taken.
        """
        head = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _SILENT_S

            def do_GET(self) -> None:
                if head._knows(self, b""):
                    head._answer(self)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                data = self.rfile.read(length) if 0 <= length <= _MOST_BYTES else b""
                if head._knows(self, data):
                    head._note(json.loads(data))
                    head._reply(self, OK, b"")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the library.
                """Print nothing."""

        self._server = self._listen(Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), daemon=True).start()

    def _listen(self, handler: type[BaseHTTPRequestHandler]) -> _Server:
        """Listen at machine 0's own address alone, if that is one of this machine's.

        A name may mean the loopback here, and behind a translated address no interface has it.
        """
        try:
            if ipaddress.ip_address(self.nodes.head).version == _IPV4:
                return _Server((self.nodes.head, self.nodes.port), handler)
        except ValueError:
            pass
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
        return _Server(("", self.nodes.port), handler)

    def _knows(self, request: BaseHTTPRequestHandler, data: bytes) -> bool:
        """Whether a request comes from another machine of the run; if not, it is refused."""
        node, given = request.headers.get("From", ""), request.headers.get(HEADER)
        others = {str(number) for number in range(1, self.nodes.count)}
        if node in others and is_proof(given, self.key, request.command, request.path, node, data):
            return True
        self._reply(request, REFUSED, b"")
        return False

    def _reply(self, request: BaseHTTPRequestHandler, status: int, data: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(data)))
        if status != REFUSED:
            request.send_header(HEADER, proof(self.key, "answer", request.path, str(status), data))
        request.end_headers()
        request.wfile.write(data)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        kind, _, name = request.path.strip("/").partition("/")
        if kind == "file" and (path := self._files.get(unquote(name))) is not None:
            request.send_response(OK)
            request.send_header("Content-Length", str(path.stat().st_size))
            request.end_headers()
            with path.open("rb") as file:
                shutil.copyfileobj(file, request.wfile)
        elif name in self._told:
            self._reply(request, OK, self._told[name])
            if name == "place" and self._over:
                self._left.add(request.headers.get("From", ""))
        elif self._ended is not None:
            self._reply(request, ENDED, self._ended)
            self._left.add(request.headers.get("From", ""))
        else:
            self._reply(request, NOT_YET, b"")

    def _note(self, failed: Mapping[str, Any]) -> None:
        """Stop, since another machine has failed."""
        self._left.add(str(failed["node"]))
        if self._ended is not None:
            return  # It failed because this one did.
        self.failed = self.failed or f"Machine {failed['node']}: {failed['message']}"
        if self.stop is not None:
            self.stop.received = self.stop.received or f"machine {failed['node']}"

    def settle(self, place: Place) -> Place:
        """Tell the others which session it is."""
        self._over = place.over is not None
        self._tell("place", {"settings": place.settings, "over": place.over})
        return place

    def tell_parent(self, resumed: ResumePoint | None, paths: Paths) -> None:
        """Tell the others what the session continues from."""
        self._tell("parent", self._offer(resumed, paths))

    def tell_training(self, batches: BatchPlan, resumed: ResumePoint | None, paths: Paths) -> None:
        """Tell the others that a training begins, the first or another one after one that failed."""
        self._trainings += 1
        order = {"batches": asdict(batches), "resume": self._offer(resumed, paths)}
        self._tell(f"training{self._trainings}", order)

    def end(self, outcome: Outcome) -> None:
        """Tell the others how the training ended; the first call counts."""
        if self._ended is None:
            told = {"reason": outcome.reason, "message": outcome.message, "complete": outcome.complete}
            self._ended = json_bytes(told)

    def close(self) -> None:
        """Stop answering once all others have heard the end."""
        until = time.monotonic() + _LEAVE_S
        while len(self._left) < self.nodes.count - 1 and time.monotonic() < until:
            time.sleep(_POLL_S)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _tell(self, name: str, value: Any) -> None:
        self._told[name] = json_bytes(value)

    def _offer(self, resumed: ResumePoint | None, paths: Paths) -> dict[str, Any] | None:
        """Let the others fetch a checkpoint and what lies beside it, and say what to fetch."""
        if resumed is None:
            return None
        folder, wanted = resumed.folder, {resumed.checkpoint, resumed.best_model}
        files = {
            file.relative_to(folder).as_posix(): file
            for file in folder.rglob("*")
            if file.is_file() and not file.is_symlink() and not file.name.startswith(OWN_PREFIX)
        }
        files = {name: file for name, file in files.items() if file.suffix != _WEIGHTS or file in wanted}
        self._files |= {f"{folder.name}/{name}": file for name, file in files.items()}
        return {
            "folder": folder.name,
            "checkpoint": resumed.checkpoint.name,
            "best_model": resumed.best_model.name if resumed.best_model is not None else None,
            "global_step": resumed.global_step,
            "files": {  # The others are small, and may change meanwhile.
                name: sha256_of(file) if file.suffix == _WEIGHTS else None
                for name, file in sorted(files.items())
            },
            "places": [str(paths.working), str(paths.root)],
        }
