"""Carries out the faults of the plan: on whole answers here, on their bytes in `body_faults`."""

import asyncio
import re
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.emulator.faults import plan as faults
from orchestrator.emulator.faults.body import CutOffError, FaultyBody, pause
from orchestrator.emulator.faults.switch import FaultSwitch, Struck
from orchestrator.emulator.wire.answers import json_error, storage_error
from orchestrator.emulator.wire.connections import TRANSPORT

STRUCK = "struck"  # Where handlers find their request's faults, in its state.
_LOG = re.compile(r"/(?:api/)?v1/kernels/logs/stream/([^/]+/[^/]+)")
_CALL = re.compile(r"/(?:api/)?v1/[^/]+/([^/]+)")
_LOG_CALL = "GetKernelSessionLogsStream"
_STORAGE, _UPLOAD = "/storage/", "/upload/"
_PARTS_BEFORE_PATH = 3  # OWNER/SLUG/VERSION/path
_TOLD = "The emulator was told to fail this request."


def _address(path: str) -> tuple[str, tuple[str, ...]] | None:
    """The place that a request goes to and its names there; None for what faults leave alone."""
    if path.startswith(_STORAGE):
        name = path.removeprefix(_STORAGE)
        return faults.STORAGE, (name, name.split("/", _PARTS_BEFORE_PATH)[-1])
    if path.startswith(_UPLOAD):
        return faults.UPLOAD, ("",)
    if found := _LOG.fullmatch(path):
        return faults.LOG, (found[1],)
    if found := _CALL.fullmatch(path):
        return (faults.LOG if found[1] == _LOG_CALL else faults.API), (found[1],)
    return None


class Interference:
    """The middleware that lets faults strike.

    Args:
        app: the application that would answer.
        switch: says which faults strike a request.
    """

    def __init__(self, app: ASGIApp, switch: FaultSwitch) -> None:
        self._app = app
        self._switch = switch
        self._expired: dict[str, int] = {}  # Signatures that are over, and the status that says so.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, faults included."""
        address = _address(scope["path"])
        struck = Struck() if address is None else self._switch.strike(address[0], *address[1])
        scope["state"][STRUCK] = struck
        if address is None or not (struck.faults or self._expired):
            await self._app(scope, receive, send)
            return
        body = FaultyBody(struck, send, scope["state"][TRANSPORT], self._switch.is_closed)
        try:
            await pause(sum(fault.seconds for fault in struck.all(faults.Latency)), self._switch.is_closed)
            answer = self._refusal(address[0], scope, struck) or self._app
            if struck.one(faults.RangeIgnored):
                headers = [header for header in scope["headers"] if header[0] != b"range"]
                scope = {**scope, "headers": headers}
            await answer(scope, _slowed(receive, struck), body.send)
        except CutOffError:
            pass

    def _refusal(self, place: str, scope: Scope, struck: Struck) -> Response | None:
        if place == faults.STORAGE:
            signature = parse_qs(scope["query_string"].decode("ascii", "replace")).get(
                "X-Goog-Signature", [""]
            )[0]
            if over := struck.one(faults.Expired):
                self._expired[signature] = over.status
            if status := self._expired.get(signature):
                return storage_error(status, "ExpiredToken", "The provided token has expired.")
        error = struck.one(faults.Error)
        if error is None:
            return None
        wait = error.retry_after_s
        headers = {} if wait is None else {"Retry-After": f"{wait:g}"}
        if place == faults.STORAGE:
            return storage_error(error.status, "EmulatedError", _TOLD, headers)
        return json_error(error.status, _TOLD, headers)


def _slowed(receive: Receive, struck: Struck) -> Receive:
    """A request's body, read no faster than the connection carries it."""
    rate = min((fault.bytes_per_s for fault in struck.all(faults.Bandwidth)), default=None)
    if rate is None:
        return receive

    async def slowly() -> Message:
        message = await receive()
        await asyncio.sleep(len(message.get("body", b"")) / rate)
        return message

    return slowly
