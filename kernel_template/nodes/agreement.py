"""What the sessions of several machines tell each other: machine 0 decides, and the others do the same.

Machine 0's session answers over HTTP from when it knows which session it is until it ends. It tells the
others its settings, gives them the checkpoint to continue from, and says when a training begins and how it
ended. It is not torch's store, since torch may be installed only by the session; nothing of it is a secret.
"""

import contextlib
import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from kernel_template.contract import TEMPORARY_PREFIX, EndReason
from kernel_template.place import Place
from kernel_template.start.parent import ResumePoint
from kernel_template.tools.files import json_bytes, sha256_of
from kernel_template.tools.nodes import Nodes
from kernel_template.tools.outcome import KernelFailure, Outcome
from kernel_template.tools.paths import Paths
from kernel_template.tools.process import StopFlag
from kernel_template.train.host_link import BatchPlan

_COME_S = 1800.0  # For machine 0 to answer at all.
_GONE_S = 10.0  # Once it has answered, it is gone if it does not for so long.
_STOPPED_S = 60.0  # For machine 0 to save, once this machine was told to stop.
_LEAVE_S = 5.0  # For the others to hear the end.
_POLL_S = 0.2
_ANSWER_S = 30.0
_MOST_BYTES = 1_000_000  # Of what another machine says.
_OK, _GONE, _NOT_YET = 200, 410, 404
_WEIGHTS = ".pth"


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing of what strangers send, or of a machine that is gone."""


class EndedError(Exception):
    """Machine 0's training ended well.

    Args:
        outcome: how its training ended.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


@dataclass(slots=True)
class Head:
    """Machine 0's side.

    Args:
        nodes: the machines.
        stop: told to stop if another machine fails.

    Attributes:
        failed: why the first other machine has failed; None if none has.
    """

    nodes: Nodes
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
            def do_GET(self) -> None:
                head._answer(self)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                head._note(json.loads(self.rfile.read(min(length, _MOST_BYTES))))
                _reply(self, _OK, b"")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the library.
                """Print nothing."""

        self._server = _Server(("", self.nodes.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), daemon=True).start()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        kind, _, name = request.path.strip("/").partition("/")
        if kind == "file" and (path := self._files.get(unquote(name))) is not None:
            request.send_response(_OK)
            request.send_header("Content-Length", str(path.stat().st_size))
            request.end_headers()
            with path.open("rb") as file:
                shutil.copyfileobj(file, request.wfile)
        elif name in self._told:
            _reply(request, _OK, self._told[name])
            if name == "place" and self._over:
                self._left.add(request.headers.get("From", ""))
        elif self._ended is not None:
            _reply(request, _GONE, self._ended)
            self._left.add(request.headers.get("From", ""))
        else:
            _reply(request, _NOT_YET, b"")

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
            if file.is_file() and not file.is_symlink() and not file.name.startswith(TEMPORARY_PREFIX)
        }
        files = {name: file for name, file in files.items() if file.suffix != _WEIGHTS or file in wanted}
        self._files |= {f"{folder.name}/{name}": file for name, file in files.items()}
        return {
            "folder": folder.name,
            "checkpoint": resumed.checkpoint.name,
            "best_model": resumed.best_model.name if resumed.best_model is not None else None,
            "global_step": resumed.global_step,
            "sha256": sha256_of(resumed.checkpoint),
            "files": sorted(files),
            "places": [str(paths.working), str(paths.root)],
        }


def _reply(request: BaseHTTPRequestHandler, status: int, data: bytes) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


@dataclass(slots=True)
class Member:
    """Another machine's side.

    Args:
        nodes: the machines.
        clock: seconds, monotonic.
        sleep: waits for some seconds.
        stop: whether this machine was told to stop.
    """

    nodes: Nodes
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    stop: StopFlag | None = None
    _trainings: int = 0
    _heard_at: float | None = None

    def settle(self, place: Place) -> Place:
        """Take over which session it is.

        Raises:
            KernelFailure: machine 0 does not answer, or has failed.
        """
        told = self._hear("place")
        return replace(place, settings=told["settings"], over=told["over"])

    def parent(self, paths: Paths) -> ResumePoint | None:
        """Fetch what the session continues from; None at the base voice.

        Raises:
            KernelFailure: machine 0 is gone, has failed, or what it sent is damaged.
            OSError: it cannot be written.
        """
        return self._fetch(self._hear("parent"), paths)

    def training(
        self, paths: Paths, limit_s: float | None = None
    ) -> tuple[BatchPlan, ResumePoint | None] | None:
        """Wait for the next training. Returns how it splits the samples, and what it continues from.

        Args:
            paths: this session's folders.
            limit_s: after so many seconds None is returned; None waits as long as machine 0 is there.

        Raises:
            EndedError: there is none, since machine 0's training has ended well.
            KernelFailure: machine 0 is gone, has failed, or what it sent is damaged.
            OSError: it cannot be written.
        """
        self._trainings += 1
        order = self._hear(f"training{self._trainings}", limit_s)
        if order is None:
            return None
        return BatchPlan(**order["batches"]), self._fetch(order["resume"], paths)

    def fail(self, outcome: Outcome) -> None:
        """Tell machine 0 that this one has failed; if machine 0 is gone, that is no matter."""
        data = json_bytes({"node": self.nodes.number, "message": outcome.message})
        with contextlib.suppress(OSError):
            _OPENER.open(self._request("/failed", data), timeout=_ANSWER_S).close()

    def _request(self, path: str, data: bytes | None = None) -> urllib.request.Request:
        url = f"http://{self.nodes.head}:{self.nodes.port}{path}"
        return urllib.request.Request(url, data, {"From": str(self.nodes.number)})

    def _hear(self, name: str, limit_s: float | None = None) -> Any:
        """Wait until machine 0 has told something; None if it has not within the limit."""
        began = self.clock()
        while True:
            try:
                with _OPENER.open(self._request(f"/told/{name}"), timeout=_ANSWER_S) as answer:
                    self._heard_at = self.clock()
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    self._heard_at = self.clock()
                    if error.code == _GONE:
                        raise self._ended(json.loads(error.read())) from None
            except (OSError, ValueError):
                self._check_there(began)
            if self.stop is not None and self.stop.received and self.clock() - began >= _STOPPED_S:
                word = self.stop.received
                raise KernelFailure(EndReason.INTERRUPTED, f"The session was told to stop ({word}).")
            if limit_s is not None and self.clock() - began >= limit_s:
                return None
            self.sleep(_POLL_S)

    def _check_there(self, began: float) -> None:
        head = f"Machine 0 ({self.nodes.head}:{self.nodes.port})"
        if self._heard_at is None:
            if self.clock() - began >= _COME_S:
                minutes = _COME_S / 60
                raise KernelFailure(
                    EndReason.INTERRUPTED, f"{head} has not answered for {minutes:.0f} minutes."
                )
        elif self.clock() - self._heard_at >= _GONE_S:
            raise KernelFailure(EndReason.INTERRUPTED, f"{head} is gone, and with it the training.")

    @staticmethod
    def _ended(told: Mapping[str, Any]) -> Exception:
        message, reason = f"Machine 0: {told['message']}", EndReason(told["reason"])
        if told["complete"]:
            return EndedError(Outcome(reason, message, complete=True))
        return KernelFailure(reason, message)

    def _fetch(self, offer: Mapping[str, Any] | None, paths: Paths) -> ResumePoint | None:
        """Fetch what machine 0 offers, unless it is there already."""
        if offer is None:
            return None
        folder = paths.training / offer["folder"]
        checkpoint = folder / offer["checkpoint"]
        same = checkpoint.is_file() and sha256_of(checkpoint) == offer["sha256"]
        for name in offer["files"]:
            if not (same and name == offer["checkpoint"]):
                self._download(f"{offer['folder']}/{name}", folder / name)
        if not same and sha256_of(checkpoint) != offer["sha256"]:
            raise KernelFailure(
                EndReason.HANDOVER_FAILED, f"{checkpoint.name} was damaged on its way from machine 0."
            )
        _move_paths(folder / "config.json", offer["places"], [str(paths.working), str(paths.root)])
        best = folder / offer["best_model"] if offer["best_model"] else None
        return ResumePoint(folder, checkpoint, best, offer["global_step"], {})

    def _download(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with (
                _OPENER.open(self._request(f"/file/{quote(name)}"), timeout=_ANSWER_S) as answer,
                target.open("wb") as file,
            ):
                shutil.copyfileobj(answer, file)
        except (urllib.error.URLError, TimeoutError) as error:
            raise KernelFailure(
                EndReason.HANDOVER_FAILED, f"{target.name} could not be fetched from machine 0: {error}."
            ) from error


# Not through a proxy: machine 0 is near.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _move_paths(config: Path, before: list[str], now: list[str]) -> None:
    """Replace machine 0's folders in a configuration by this machine's."""
    if before == now or not config.is_file():
        return

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(item) for key, item in value.items()}
        if isinstance(value, list):
            return [moved(item) for item in value]
        if isinstance(value, str):
            for old, new in zip(before, now, strict=True):
                if value == old or value.startswith(f"{old}/"):
                    return new + value[len(old) :]
        return value

    with contextlib.suppress(ValueError):
        config.write_bytes(json_bytes(moved(json.loads(config.read_text(encoding="utf-8")))))
