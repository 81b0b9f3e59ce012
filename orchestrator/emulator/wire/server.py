"""The emulator's HTTP side: addresses, credentials, errors as JSON; on loopback, in a thread."""

import base64
import binascii
import hmac
import json
import logging
import socket
import threading
from collections import deque
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orchestrator.emulator.faults.middleware import STRUCK, Interference
from orchestrator.emulator.faults.switch import FaultSwitch
from orchestrator.emulator.service.backend import Backend
from orchestrator.emulator.service.refusals import FaultError
from orchestrator.emulator.wire import inputs as wire_inputs
from orchestrator.emulator.wire import kernels as wire_kernels
from orchestrator.emulator.wire import uploads as wire_uploads
from orchestrator.emulator.wire.answers import json_error
from orchestrator.emulator.wire.codec import Call, Method, read_request, write_answer
from orchestrator.emulator.wire.connections import OpenConnection
from orchestrator.emulator.wire.control import Control
from orchestrator.emulator.wire.intake import Intake
from orchestrator.emulator.wire.logstream import log_response
from orchestrator.emulator.wire.signing import Signer
from orchestrator.emulator.wire.storage import Storage
from orchestrator.errors import LocalError

HOST = "127.0.0.1"  # Never anything else: what is pushed here runs as the user.
_STOP_PATIENCE_S = 3
_ANY = "*"


class Server:
    """Serves a backend over HTTP on 127.0.0.1.

    Args:
        backend: what answers.
        credentials: username and key that requests must carry.
        port: the port; 0 takes a free one.

    Raises:
        LocalError: the port is taken.
    """

    def __init__(self, backend: Backend, credentials: tuple[str, str], port: int) -> None:
        try:
            self._socket = socket.create_server((HOST, port))
            # asyncio does this by itself only for sockets it made: without it every answer on a kept
            # connection waits 40 ms for the client's delayed ACK. Accepted connections inherit it.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise LocalError(
                f"The emulator cannot listen on {HOST}:{port}: {error.strerror}.", hint="give another --port"
            ) from error
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}"
        self._backend = backend
        self._credentials = credentials
        self._signer = Signer(backend.options.url_lifetime_s, backend.clock)
        self.faults = FaultSwitch()
        self._mishaps: deque[tuple[str, int, float | None]] = deque()
        self._intake = Intake(backend.blobs, self._take_mishap)
        self._methods: dict[tuple[str, str], Method] = {
            **wire_kernels.METHODS,
            **wire_inputs.METHODS,
            **wire_uploads.METHODS,
            wire_inputs.INTROSPECT: wire_inputs.introspection(credentials[1]),
        }
        # No log of uvicorn's own on the user's terminal.
        logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())
        config = uvicorn.Config(
            self._application(),
            http=OpenConnection,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_STOP_PATIENCE_S,
        )
        self._uvicorn = uvicorn.Server(config)
        # The socket listens already: a request that comes before the thread is ready waits in its queue.
        self._thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": [self._socket]}, name="emulator", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port; open streams are cut after some seconds."""
        self.faults.close()
        self._uvicorn.should_exit = True
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()

    def fail_next(
        self, status: int, *, method: str = _ANY, times: int = 1, retry_after_s: float | None = None
    ) -> None:
        """Answer the next `times` calls with an HTTP error instead of the truth.

        Args:
            status: the HTTP status, 429 or 500 for example.
            method: the method that it befalls, `GetKernelSessionStatus` for example, or `PutBlob` for bytes
                of an upload; by default every one.
            times: how often.
            retry_after_s: seconds for a `Retry-After` header.
        """
        self._mishaps.extend([(method, status, retry_after_s)] * times)

    def break_next_upload(self, after: int) -> None:
        """Lose what the next request of an upload sends beyond byte `after` of its file, and answer 503."""
        self._intake.break_next(after)

    def _application(self) -> Starlette:
        storage = Storage(self._backend, self._signer)
        routes = [
            Route("/storage/{name:path}", storage.get, methods=["GET"]),
            Route("/upload/{token}", self._intake.put, methods=["PUT"]),
            *Control(self.faults, self._authenticate).routes(),
        ]
        for prefix in ("/v1", "/api/v1"):
            routes += [
                Route(f"{prefix}/kernels/logs/stream/{{owner}}/{{slug}}", self._stream, methods=["GET"]),
                Route(f"{prefix}/{{service}}/{{method}}", self._call, methods=["POST"]),
            ]
        return Starlette(
            routes=routes,
            exception_handlers={HTTPException: _unknown_address, FaultError: _refusal, 500: _broken},
            middleware=[
                # A page in a browser must not reach us through a name that it controls.
                Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
                Middleware(Interference, switch=self.faults),
            ],
        )

    async def _call(self, request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)
        return await run_in_threadpool(self._answer, request, body)

    def _answer(self, request: Request, body: bytes) -> Response:
        name = (request.path_params["service"], request.path_params["method"])
        if name != wire_inputs.INTROSPECT:  # The token in its body is what it is about.
            self._authenticate(request)
        if mishap := self._take_mishap(name[1]):
            return mishap
        method = self._methods.get(name)
        if method is None:
            raise FaultError(501, f"The emulator does not offer {name[0]}/{name[1]}.")
        asked = read_request(method.request_type, _parsed(body))
        answer = write_answer(
            method.handler(Call(self._backend, self._signer, self.url, asked, request.scope["state"][STRUCK]))
        )
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    def _stream(self, request: Request) -> Response:
        self._authenticate(request)
        if mishap := self._take_mishap("GetKernelSessionLogsStream"):
            return mishap
        path = request.path_params
        kernel, version = self._backend.catalogue.version_run(
            path["owner"], path["slug"], request.query_params.get("versionLabel")
        )
        return log_response(self._backend, kernel, version)

    def _take_mishap(self, method: str) -> Response | None:
        for mishap in list(self._mishaps):
            if mishap[0] in (_ANY, method):
                self._mishaps.remove(mishap)
                wait = mishap[2]
                return json_error(
                    mishap[1],
                    "The emulator was told to fail this call.",
                    None if wait is None else {"Retry-After": f"{wait:g}"},
                )
        return None

    def _authenticate(self, request: Request) -> None:
        """Basic (username and key) or Bearer (the key alone), compared in constant time.

        Raises:
            FaultError: 401.
        """
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        username, key = self._credentials
        given = wanted = b""
        if scheme.lower() == "bearer":
            given, wanted = value.strip().encode(), key.encode()
        elif scheme.lower() == "basic":
            try:
                given, wanted = base64.b64decode(value), f"{username}:{key}".encode()
            except binascii.Error:
                given = b""
        if not wanted or not hmac.compare_digest(given, wanted):
            raise FaultError(401, "Unauthenticated")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body or b"{}")
    except ValueError as error:
        raise FaultError(400, "The request body is not JSON.") from error


def _unknown_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return json_error(error.status_code, f"There is nothing at {request.method} {request.url.path}")


def _refusal(request: Request, error: Exception) -> Response:  # noqa: ARG001 - starlette's signature
    assert isinstance(error, FaultError)
    return json_error(error.code, error.message)


def _broken(request: Request, error: Exception) -> Response:  # noqa: ARG001 - starlette's signature
    return json_error(500, "Internal error of the emulator.")  # uvicorn logs the exception itself.
