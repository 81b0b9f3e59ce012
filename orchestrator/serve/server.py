"""The server: its paths on a socket, and its clean end."""

import asyncio
import logging
import socket
from collections.abc import Collection
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orchestrator.errors import LocalError
from orchestrator.serve import measures
from orchestrator.serve.connection import GuardedConnection
from orchestrator.serve.guard import Access, Guard
from orchestrator.serve.request import ApiError
from orchestrator.serve.speech import SPEECH_PATH, TEXT_PATH, Limits, SpeechEndpoint, Studio, TextEndpoint
from orchestrator.serve.voices import ANY_MODEL, Voices

_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_LARGEST_HEAD = 16_384
_BACKLOG = 128
_log = logging.getLogger(__name__)


class Server:
    """Serves voices over HTTP.

    Args:
        voices: the voices.
        access: where, and to whom.
        port: the port; 0 takes a free one.
        limits: what it takes at once.

    Attributes:
        url: its address from this machine.

    Raises:
        LocalError: the port is in use, or the address is not this machine's.
    """

    def __init__(
        self,
        voices: Voices,
        access: Access,
        port: int,
        limits: Limits | None = None,
    ) -> None:
        family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
        try:
            self._socket = socket.create_server((access.host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise LocalError(
                f"kgtts cannot listen on {access.host}:{port}: {error.strerror or error}.",
                hint="give another --port (0 takes a free one) or --host",
            ) from error
        # Accepted connections inherit it. Without it a sentence may wait 40 ms for the client's delayed ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"http://{_reachable(access.host)}:{self._socket.getsockname()[1]}"
        self.studio = Studio(voices, limits or Limits())
        logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())
        held = self.studio.limits

        class Connection(GuardedConnection):
            head_s, most = held.head_s, held.connections

        config = uvicorn.Config(
            self._application(access),
            http=Connection,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=_LARGEST_HEAD,
            timeout_graceful_shutdown=int(held.grace_s) + 2,
        )
        self._uvicorn = _Uvicorn(config, self.studio)

    @property
    def connections(self) -> Collection[object]:
        """The open connections."""
        return self._uvicorn.server_state.connections

    def run(self) -> None:
        """Serve until `stop`, Ctrl-C or SIGTERM; then requests in flight finish or are told.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self.studio.close()
            self._socket.close()

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._uvicorn.should_exit = True

    def _application(self, access: Access) -> Starlette:
        pages = [Route(path, _page(*page), methods=["GET"]) for path, page in _PAGE.items()]
        application = Starlette(
            routes=[
                *pages,
                Route(SPEECH_PATH, SpeechEndpoint(self.studio), methods=["POST"]),
                Route(TEXT_PATH, TextEndpoint(self.studio), methods=["POST"]),
                Route("/v1/models", self._models, methods=["GET"]),
                Route("/v1/models/{name}", self._model, methods=["GET"]),
                Route("/v1/audio/models", self._models, methods=["GET"]),
                Route("/v1/audio/voices", self._voices, methods=["GET"]),
                Route("/health", self._health, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
            ],
            middleware=[Middleware(Guard, access=access)],
            exception_handlers={HTTPException: _http_error, ApiError: _api_error, 500: _broken},
        )
        application.router.redirect_slashes = False
        return application

    async def _models(self, request: Request) -> Response:  # noqa: ARG002 # starlette's signature
        data = [_described(name) for name in (*(item.name for item in self.studio.voices), ANY_MODEL[0])]
        return JSONResponse({"object": "list", "data": data, "models": data})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.studio.voices.choose(name, "default")
        return JSONResponse(_described(name))

    async def _voices(self, request: Request) -> Response:  # noqa: ARG002 # starlette's signature
        limits = {"longest_text": self.studio.limits.text}
        return JSONResponse({"voices": self.studio.voices.listing(), **limits})

    async def _health(self, request: Request) -> Response:  # noqa: ARG002 # starlette's signature
        ends = self._uvicorn.should_exit
        told = {
            "status": "stopping" if ends else "ok",
            "voices": len(self.studio.voices),
            "places": self.studio.limits.places,
            "places_in_use": self.studio.busy,
        }
        return JSONResponse(told, 503 if ends else 200)

    async def _metrics(self, request: Request) -> Response:  # noqa: ARG002 # starlette's signature
        return Response(self.studio.measures.text(), media_type=measures.MEDIA_TYPE)


class _Uvicorn(uvicorn.Server):
    """uvicorn, which tells the studio when it ends."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self._studio = studio

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for requests in flight; those that are left after the grace are told."""
        asyncio.get_running_loop().call_later(self._studio.limits.grace_s, self._studio.stopping.set)
        await super().shutdown(sockets)


def _reachable(host: str) -> str:
    """The host in an address for this machine: for all interfaces (0.0.0.0) it is loopback."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what a person chose.
    found = everywhere.get(host, host)
    return f"[{found}]" if ":" in found else found


def _page(name: str, kind: str) -> Any:
    content = files("orchestrator.serve").joinpath("page", name).read_bytes()

    async def page(request: Request) -> Response:  # noqa: ARG001 # starlette's signature
        return Response(content, media_type=kind)

    return page


def _described(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "kgtts"}


def _http_error(request: Request, error: Exception) -> Response:  # noqa: ARG001 # starlette's signature
    assert isinstance(error, HTTPException)
    methods = (error.headers or {}).get("Allow")
    if methods is not None:
        found = ApiError(error.status_code, f"This address takes {methods} only.", "wrong_method")
    else:
        found = ApiError(error.status_code, "There is nothing at this address.", "not_found")
    response = found.response()
    response.headers.update(error.headers or {})
    return response


def _api_error(request: Request, error: Exception) -> Response:  # noqa: ARG001 # starlette's signature
    assert isinstance(error, ApiError)
    return error.response()


def _broken(request: Request, error: Exception) -> Response:
    _log.error("%s failed: %s: %s", request.url.path, type(error).__name__, error)
    return ApiError(500, "kgtts itself failed; its terminal says where.", "internal_error").response()
