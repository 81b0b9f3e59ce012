"""A session's log over HTTP: server-sent events while it runs, the stored JSON array afterwards."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import IO

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from orchestrator.emulator.service.backend import Backend
from orchestrator.emulator.service.kernels import Kernel, Version
from orchestrator.emulator.service.sessions import SessionLog

END_OF_LOG = "END_OF_LOG"
_CHUNK = 65536


def log_response(backend: Backend, kernel: Kernel, version: Version) -> Response:
    """The log of a version; every stream starts at the log's beginning, as on a reconnect to Kaggle."""
    log = backend.live_log(version)
    if log is not None:
        with suppress(FileNotFoundError):  # It has just ended: the stored log is there.
            file = log.path.open(encoding="utf-8")
            return _LiveLog(_events(log, file, backend.options.keepalive_s), file)
    kernel, version = backend.kernels.get_run(kernel.owner, kernel.slug, version.label)
    return Response(backend.kernels.stored_log(kernel, version), media_type="application/json")


class _LiveLog(StreamingResponse):
    """Streams events, and closes their file however the stream ends: complete, abandoned or interrupted."""

    def __init__(self, events: AsyncGenerator[str], file: IO[str]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self._events = events
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        with self._file:
            try:
                await super().__call__(scope, receive, send)
            finally:
                await self._events.aclose()


async def _events(log: SessionLog, file: IO[str], keepalive_s: float) -> AsyncGenerator[str]:
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def notify() -> None:
        with suppress(RuntimeError):  # The server's loop is gone.
            loop.call_soon_threadsafe(changed.set)

    with file, log.followed(notify):
        rest = ""
        while True:
            changed.clear()
            closed = log.closed  # Asked before reading, so that everything written before the end is read.
            while chunk := file.read(_CHUNK):
                *lines, rest = (rest + chunk).split("\n")
                for line in lines:
                    yield f"data: {line}\n\n"
            if closed:
                yield f"data: {END_OF_LOG}\n\n"
                return
            try:
                await asyncio.wait_for(changed.wait(), keepalive_s)
            except TimeoutError:
                yield ": keep-alive\n\n"
