"""The side of the other machines of what the sessions of several machines tell each other: see head.py."""

import contextlib
import http.client
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kernel_template.contract import EndReason
from kernel_template.nodes.head import ENDED
from kernel_template.nodes.trust import HEADER, is_proof, proof
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
_ANSWER_S = 30.0
_POLL_S = 0.2
_MOST_WORDS = 2000  # Of why this machine failed.
_MOST_BYTES = 64 << 20  # Of an answer.
# Not through a proxy: machine 0 is near.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EndedError(Exception):
    """Machine 0's training ended well.

    Args:
        outcome: how its training ended.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


@dataclass(slots=True)
class Member:
    """Another machine's side.

    Args:
        nodes: the machines.
        key: what only they know.
        clock: seconds, monotonic.
        sleep: waits for some seconds.
        stop: whether this machine was told to stop.
    """

    nodes: Nodes
    key: bytes = field(repr=False)
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
        data = json_bytes({"node": self.nodes.number, "message": outcome.message[:_MOST_WORDS]})
        with contextlib.suppress(OSError, http.client.HTTPException):
            _OPENER.open(self._request("/failed", data), timeout=_ANSWER_S).close()

    def _request(self, path: str, data: bytes | None = None) -> urllib.request.Request:
        url, node = f"http://{self.nodes.head}:{self.nodes.port}{path}", str(self.nodes.number)
        shown = proof(self.key, "GET" if data is None else "POST", path, node, data or b"")
        return urllib.request.Request(url, data, {"From": node, HEADER: shown})

    def _read(self, answer: Any, name: str) -> Any:
        """Read an answer; None if machine 0 has not told that yet.

        Raises:
            KernelFailure: it is not from machine 0 of this run.
        """
        status, data = str(answer.status), answer.read(_MOST_BYTES)
        if not is_proof(answer.headers.get(HEADER), self.key, "answer", f"/told/{name}", status, data):
            head = f"{self.nodes.head}:{self.nodes.port}"
            raise KernelFailure(
                EndReason.BAD_CONFIG,
                f"What answers at {head} is not machine 0 of this run, or has another kernel.py. "
                "All machines need the same one; KGTTS_PORT names another port.",
            )
        return json.loads(data or b"null")

    def _hear(self, name: str, limit_s: float | None = None) -> Any:
        """Wait until machine 0 has told something; None if it has not within the limit."""
        began = self.clock()
        while True:
            try:
                with _OPENER.open(self._request(f"/told/{name}"), timeout=_ANSWER_S) as answer:
                    told = self._read(answer, name)
                    self._heard_at = self.clock()
                    return told
            except urllib.error.HTTPError as error:
                with error:
                    told = self._read(error, name)
                    self._heard_at = self.clock()
                    if error.code == ENDED:
                        raise self._ended(told) from None
            except (OSError, http.client.HTTPException):
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
        for name, sha256 in offer["files"].items():
            if name == offer["checkpoint"] and checkpoint.is_file() and sha256_of(checkpoint) == sha256:
                continue
            self._download(f"{offer['folder']}/{name}", folder / name)
            if sha256 is not None and sha256_of(folder / name) != sha256:
                raise KernelFailure(
                    EndReason.HANDOVER_FAILED, f"{name} was damaged on its way from machine 0."
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
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
            raise KernelFailure(
                EndReason.HANDOVER_FAILED, f"{target.name} could not be fetched from machine 0: {error}."
            ) from error


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
