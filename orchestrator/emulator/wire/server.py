"""The emulator's HTTP server: addresses, credentials, errors; on loopback, in a thread."""

import asyncio
import contextlib
import json
import logging
import re
import socket
import threading
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.emulator.faults import kinds
from orchestrator.emulator.faults.body import ResettableConnection
from orchestrator.emulator.faults.middleware import ACTIVE_FAULTS, FaultMiddleware
from orchestrator.emulator.faults.plan import FaultInjector, FaultTarget
from orchestrator.emulator.service.backend import Backend
from orchestrator.emulator.service.exceptions import ApiError
from orchestrator.emulator.wire import datasets, kernels, models, pages, security, storage, uploads
from orchestrator.emulator.wire.control import ControlEndpoint
from orchestrator.emulator.wire.logs import log_response
from orchestrator.emulator.wire.rpc import Call, Methods, json_error, read_request, write_response
from orchestrator.errors import LocalError

HOST = "127.0.0.1"  # Never anything else: what is pushed here runs as the user.
_STOP_TIMEOUT_S = 3
_PREFIXES = ("/v1", "/api/v1")  # Kaggle's production paths and its local ones.
_LOG_PATH = re.compile(r"/(?:api/)?v1/kernels/logs/stream/([^/]+/[^/]+)")
_CALL_PATH = re.compile(r"/(?:api/)?v1/[^/]+/([^/]+)")
_LOG_METHOD = "GetKernelSessionLogsStream"


def locate(path: str) -> FaultTarget | None:
    """What a path is for, as faults name it; None for what no fault may hit."""
    if path.startswith(storage.PREFIX):
        name = path.removeprefix(storage.PREFIX)
        return FaultTarget(kinds.STORAGE, (name, storage.output_path(name)))
    if path.startswith(uploads.PREFIX):
        return FaultTarget(kinds.UPLOAD, ("",), uploads.METHOD_NAME)
    if found := _LOG_PATH.fullmatch(path):
        return FaultTarget(kinds.LOG, (found[1],), _LOG_METHOD)
    if found := _CALL_PATH.fullmatch(path):
        return FaultTarget(kinds.LOG if found[1] == _LOG_METHOD else kinds.API, (found[1],), found[1])
    return None


class _Uvicorn(uvicorn.Server):
    """Ends as soon as it is told to; uvicorn itself looks every tenth of a second."""

    _loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        """Ask it to end; return at once."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # It has ended, and its loop is closed.
                self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        """Tick each second, for the date in answers, until `end` is called."""
        self._told = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), 1)


class Server:
    """Serves a backend over HTTP on 127.0.0.1.

    Args:
        backend: the service.
        credentials: the username and key that requests must carry.
        port: the port; 0 takes a free one.

    Raises:
        LocalError: the port is in use.
    """

    def __init__(self, backend: Backend, credentials: tuple[str, str], port: int) -> None:
        try:
            self._socket = socket.create_server((HOST, port))
            # asyncio does this by itself only for sockets that it made. Without it, every response on a kept
            # connection waits 40 ms for the client's delayed ACK. Accepted connections inherit it.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise LocalError(
                f"The emulator cannot listen on {HOST}:{port}: {error.strerror}.", hint="give another --port"
            ) from error
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}"
        self.faults = FaultInjector()
        self._backend = backend
        self._authenticator = security.Authenticator(
            *credentials, backend.options.access_token_lifetime_s, backend.clock
        )
        self._signer = storage.UrlSigner(backend.options.url_lifetime_s, backend.clock)
        self._methods: Methods = {
            **kernels.METHODS,
            **datasets.METHODS,
            **models.METHODS,
            **uploads.METHODS,
            **self._authenticator.methods(),
        }
        # No log of uvicorn's own on the user's terminal.
        logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())
        config = uvicorn.Config(
            self._application(),
            http=ResettableConnection,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_STOP_TIMEOUT_S,
        )
        self._uvicorn = _Uvicorn(config)
        # The socket listens already: a request that comes before the thread is ready waits in its queue.
        self._thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": [self._socket]}, name="emulator", daemon=True
        )

    @property
    def authenticator(self) -> security.Authenticator:
        """What checks credentials, and issues access tokens."""
        return self._authenticator

    def start(self) -> None:
        """Start to answer requests."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port; open streams are cut after some seconds."""
        self.faults.close()
        self._uvicorn.end()
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()

    def _application(self) -> Starlette:
        files = storage.StorageEndpoint(self._backend, self._signer)
        routes = [
            Route(f"{storage.PREFIX}{{name:path}}", files.get, methods=["GET"]),
            Route(
                f"{uploads.PREFIX}{{token}}",
                uploads.UploadEndpoint(self._backend.uploads).put,
                methods=["PUT"],
            ),
            Route("/code/{owner}/{slug}", pages.PageEndpoint(self._backend.kernels).get, methods=["GET"]),
            *ControlEndpoint(self.faults, self._authenticator.check).routes(),
        ]
        for prefix in _PREFIXES:
            routes += [
                Route(f"{prefix}/kernels/logs/stream/{{owner}}/{{slug}}", self._stream_log, methods=["GET"]),
                Route(f"{prefix}/{{service}}/{{method}}", self._call, methods=["POST"]),
            ]
        return Starlette(
            routes=routes,
            exception_handlers={
                HTTPException: self._unknown_address,
                ApiError: self._api_error,
                500: self._broken,
            },
            middleware=[
                # A page in a browser must not reach us through a name that it controls.
                Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
                Middleware(
                    FaultMiddleware, injector=self.faults, locate=locate, error_response=self._injected_error
                ),
            ],
        )

    async def _call(self, request: Request) -> Response:
        """A method of the API."""
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)  # The client is gone: nobody reads it.
        return await run_in_threadpool(self._answer, request, body)

    def _answer(self, request: Request, body: bytes) -> Response:
        name = (request.path_params["service"], request.path_params["method"])
        legacy_key = name not in security.OPEN_METHODS and self._authenticator.check(request)
        method = self._methods.get(name)
        if method is None:
            raise ApiError(501, f"The emulator does not offer {name[0]}/{name[1]}.")
        call = Call(
            self._backend,
            read_request(method.request_type, _parsed(body)),
            self.url,
            self._signer.sign,
            request.scope["state"][ACTIVE_FAULTS],
            legacy_key,
        )
        return write_response(method.handler(call))

    def _stream_log(self, request: Request) -> Response:
        self._authenticator.check(request)
        path, label = request.path_params, request.query_params.get("versionLabel")
        kernel, version = self._backend.kernels.get_run(path["owner"], path["slug"], label)
        kernels.check_visible(kernel, self._backend, request.scope["state"][ACTIVE_FAULTS])
        return log_response(self._backend, kernel, version)

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
        return json_error(status, message, headers, nested=self._backend.options.nested_errors)

    def _injected_error(
        self, place: str, status: int, code: str, message: str, headers: dict[str, str]
    ) -> Response:
        if place == kinds.STORAGE:
            return storage.storage_error(status, code, message, headers)
        return self._error(status, message, headers)

    def _unknown_address(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return self._error(error.status_code, f"There is nothing at {request.method} {request.url.path}")

    def _api_error(self, request: Request, error: Exception) -> Response:  # noqa: ARG002 - starlette's signature
        assert isinstance(error, ApiError)
        return self._error(error.status, error.message)

    def _broken(self, request: Request, error: Exception) -> Response:  # noqa: ARG002 - starlette's signature
        return self._error(500, "Internal error of the emulator.")  # uvicorn logs the exception itself.


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body or b"{}")
    except ValueError as error:
        raise ApiError(400, "The request body is not JSON.") from error
