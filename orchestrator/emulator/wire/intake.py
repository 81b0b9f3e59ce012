"""The address that files are sent to, with the manners of a resumable upload to Google's storage.

A PUT without `Content-Range` brings the whole file; `bytes */SIZE` asks how much is here (308 with `Range`);
`bytes A-B/SIZE` goes on from byte A. Whoever has the address may send: it carries the upload's secret.
"""

import re
from collections import deque
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from orchestrator.emulator.service.blobs import Blob, Blobs, BusyError, OverlongError

_CONTENT_RANGE = re.compile(
    r"bytes (?:(?P<first>\d{1,18})-(?P<last>\d{1,18})|\*)/(?P<size>\d{1,18})", re.ASCII
)
_RESUME_INCOMPLETE = 308


def upload_address(blob: Blob) -> str:
    """The path and query that a blob's bytes are sent to."""
    return f"/upload/{blob.token}?upload_id={blob.upload_id}"


class Intake:
    """Receives uploads.

    Args:
        blobs: keeps them.
        mishap: gives the error that a call of the given name shall end in, if one is due.
    """

    def __init__(self, blobs: Blobs, mishap: Callable[[str], Response | None]) -> None:
        self._blobs = blobs
        self._mishap = mishap
        self._breaks: deque[int] = deque()

    def break_next(self, after: int) -> None:
        """Lose what the next request sends beyond byte `after` of its file, and answer it with 503."""
        self._breaks.append(after)

    async def put(self, request: Request) -> Response:
        """One request of an upload."""
        blob = self._blobs.opened(request.path_params["token"], request.query_params.get("upload_id", ""))
        if blob is None:
            return Response("There is no such upload.", 404)
        if mishap := self._mishap("PutBlob"):
            return mishap
        if self._blobs.is_whole(blob):
            return _stored(blob)
        try:
            span = self._span(blob, request.headers.get("content-range"))
        except ValueError as error:
            return Response(str(error), 400)
        return self._state(blob) if span is None else await self._receive(request, blob, *span)

    def _span(self, blob: Blob, header: str | None) -> tuple[int, int] | None:
        """The bytes that a request brings, the last one excluded; None where it only asks."""
        if header is None:
            return 0, blob.size
        asked = _CONTENT_RANGE.fullmatch(header)
        if asked is None or int(asked["size"]) != blob.size:
            raise ValueError("The Content-Range does not fit this upload.")
        if asked["first"] is None:
            return None
        start, end = int(asked["first"]), int(asked["last"]) + 1
        if not start <= self._blobs.held(blob) or not start < end <= blob.size:
            raise ValueError("The Content-Range does not continue this upload.")
        return start, end

    async def _receive(self, request: Request, blob: Blob, start: int, end: int) -> Response:
        broken = bool(self._breaks)
        try:
            with self._blobs.writing(blob, start) as writer:
                writer.stop_at = self._breaks.popleft() if broken else end
                async for piece in request.stream():
                    await run_in_threadpool(writer.write, piece)
        except BusyError:
            return Response("Another request is sending this file.", 503)
        except OverlongError:
            return Response("The body is longer than the file was said to be.", 400)
        except ClientDisconnect:
            return Response(status_code=400)  # Nobody is there to read it.
        return Response("The upload was broken off.", 503) if broken else self._state(blob)

    def _state(self, blob: Blob) -> Response:
        if self._blobs.is_whole(blob):
            return _stored(blob)
        held = self._blobs.held(blob)
        return Response(None, _RESUME_INCOMPLETE, {"Range": f"bytes=0-{held - 1}"} if held else {})


def _stored(blob: Blob) -> Response:
    return JSONResponse({"name": blob.name, "size": str(blob.size)})
