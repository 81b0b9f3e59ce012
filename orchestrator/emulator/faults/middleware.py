"""Injects the faults of the plan: those of whole responses here, those of their bytes in `body`."""

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.emulator.faults import kinds
from orchestrator.emulator.faults.body import TRANSPORT, CutOffError, FaultyBody, pause
from orchestrator.emulator.faults.plan import FaultInjector, FaultTarget, RequestFaults

ACTIVE_FAULTS = "faults"  # The key under which handlers find the faults of their request in `scope["state"]`.
_MESSAGE = "The emulator was told to fail this request."

ErrorResponse = Callable[[str, int, str, str, dict[str, str]], Response]


class FaultMiddleware:
    """Lets faults hit requests on their way to the application.

    Args:
        app: the application that would answer.
        injector: decides which faults hit a request.
        locate: says what a path is for; None if no fault may hit it.
        error_response: makes an error from place, status, code, message and headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        injector: FaultInjector,
        locate: Callable[[str], FaultTarget | None],
        error_response: ErrorResponse,
    ) -> None:
        self._app = app
        self._injector = injector
        self._locate = locate
        self._error_response = error_response
        self._expired: dict[str, int] = {}  # Signatures that have expired, and the status that says so.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, faults included."""
        target = self._locate(scope["path"])
        active = RequestFaults() if target is None else self._injector.faults_for(target)
        scope["state"][ACTIVE_FAULTS] = active
        if target is None or not (active.faults or self._expired):
            await self._app(scope, receive, send)
            return
        body = FaultyBody(active, send, scope["state"][TRANSPORT], self._injector.is_closed)
        try:
            delay = sum(fault.seconds for fault in active.all(kinds.Latency))
            await pause(delay, self._injector.is_closed)
            respond = self._error(target.place, scope, active) or self._app
            if active.first(kinds.RangeIgnored):
                headers = [header for header in scope["headers"] if header[0] != b"range"]
                scope = {**scope, "headers": headers}
            await respond(scope, _slowed(receive, active), body.send)
        except CutOffError:
            pass

    def _error(self, place: str, scope: Scope, active: RequestFaults) -> Response | None:
        """The error that is sent instead of the application's response, if any."""
        if place == kinds.STORAGE:
            query = parse_qs(scope["query_string"].decode("ascii", "replace"))
            signature = query.get("X-Goog-Signature", [""])[0]
            if expired := active.first(kinds.Expired):
                self._expired[signature] = expired.status
            if status := self._expired.get(signature):
                message = "The provided token has expired."
                return self._error_response(place, status, "ExpiredToken", message, {})
        error = active.first(kinds.Error)
        if error is None:
            return None
        wait = error.retry_after_s
        headers = {} if wait is None else {"Retry-After": f"{wait:g}"}
        return self._error_response(place, error.status, "EmulatedError", _MESSAGE, headers)


def _slowed(receive: Receive, active: RequestFaults) -> Receive:
    """Receive a request's body no faster than its connection carries it."""
    rate = min((fault.bytes_per_s for fault in active.all(kinds.Bandwidth)), default=None)
    if rate is None:
        return receive

    async def receive_slowly() -> Message:
        message = await receive()
        await asyncio.sleep(len(message.get("body", b"")) / rate)
        return message

    return receive_slowly
