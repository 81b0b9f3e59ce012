"""Uploads: the method that starts one, and the address that its bytes are sent to.

The address behaves like a resumable upload to Google's storage: a PUT without `Content-Range` brings the
whole file; `bytes */SIZE` asks how much has arrived (308 with `Range`); `bytes A-B/SIZE` continues from byte
A. Whoever knows the address may send, since it carries the upload's secret.
"""

import re
from typing import Any

from kagglesdk.blobs.types import blob_api_service as sdk
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from orchestrator.emulator.faults.kinds import UploadLost
from orchestrator.emulator.faults.middleware import ACTIVE_FAULTS
from orchestrator.emulator.service.exceptions import ApiError, UploadBusyError, UploadTooLongError
from orchestrator.emulator.service.files import is_file_name
from orchestrator.emulator.service.uploads import StoredUpload, UploadFolder, UploadKind
from orchestrator.emulator.wire.rpc import Call, Method, Methods

PREFIX = "/upload/"
METHOD_NAME = "PutBlob"  # What faults call a request to the address.
_CONTENT_RANGE = re.compile(
    r"bytes (?:(?P<first>\d{1,18})-(?P<last>\d{1,18})|\*)/(?P<size>\d{1,18})", re.ASCII
)
_RESUME_INCOMPLETE = 308
_KINDS = {
    sdk.ApiBlobType.DATASET: UploadKind.DATASET,
    sdk.ApiBlobType.MODEL: UploadKind.MODEL,
    sdk.ApiBlobType.INBOX: UploadKind.INBOX,
}


def start_blob_upload(call: Call) -> Any:
    """StartBlobUpload: a token for the file, and the address that its bytes are sent to."""
    request = call.request
    kind = _KINDS.get(request.type)
    if kind is None:
        raise ApiError(400, "Invalid type of an upload.")
    if not is_file_name(request.name) or request.content_length < 0:
        raise ApiError(400, "Invalid file name or length.")
    upload = call.backend.uploads.start(request.name, request.content_length, kind)
    response = sdk.ApiStartBlobUploadResponse()
    response.token = upload.token
    response.create_url = f"{call.base_url}{PREFIX}{upload.token}?upload_id={upload.upload_id}"
    return response


METHODS: Methods = {
    ("blobs.BlobApiService", "StartBlobUpload"): Method(sdk.ApiStartBlobUploadRequest, start_blob_upload),
}


class UploadEndpoint:
    """Receives the bytes of uploads.

    Args:
        uploads: stores them.
    """

    def __init__(self, uploads: UploadFolder) -> None:
        self._uploads = uploads

    async def put(self, request: Request) -> Response:
        """One request of an upload."""
        upload = self._uploads.open(request.path_params["token"], request.query_params.get("upload_id", ""))
        if upload is None:
            return Response("There is no such upload.", 404)
        if self._uploads.is_complete(upload):
            return _stored(upload)
        try:
            span = self._span(upload, request.headers.get("content-range"))
        except ValueError as error:
            return Response(str(error), 400)
        return self._state(upload) if span is None else await self._receive(request, upload, *span)

    def _span(self, upload: StoredUpload, header: str | None) -> tuple[int, int] | None:
        """The bytes that a request sends, as start and end (exclusive); None if it asks for the count."""
        if header is None:
            return 0, upload.size
        asked = _CONTENT_RANGE.fullmatch(header)
        if asked is None or int(asked["size"]) != upload.size:
            raise ValueError("The Content-Range does not fit this upload.")
        if asked["first"] is None:
            return None
        start, end = int(asked["first"]), int(asked["last"]) + 1
        if not start <= self._uploads.received(upload) or not start < end <= upload.size:
            raise ValueError("The Content-Range does not continue this upload.")
        return start, end

    async def _receive(self, request: Request, upload: StoredUpload, start: int, end: int) -> Response:
        lost = request.scope["state"][ACTIVE_FAULTS].first(UploadLost)
        try:
            with self._uploads.writing(upload, start) as writer:
                writer.stop_at = end if lost is None else lost.after
                async for piece in request.stream():
                    await run_in_threadpool(writer.write, piece)
        except UploadBusyError:
            return Response("Another request is sending this file.", 503)
        except UploadTooLongError:
            return Response("The body is longer than the declared size of the file.", 400)
        except ClientDisconnect:
            return Response(status_code=400)  # The client is gone: nobody reads it.
        return self._state(upload) if lost is None else Response("The upload was interrupted.", 503)

    def _state(self, upload: StoredUpload) -> Response:
        if self._uploads.is_complete(upload):
            return _stored(upload)
        received = self._uploads.received(upload)
        return Response(None, _RESUME_INCOMPLETE, {"Range": f"bytes=0-{received - 1}"} if received else {})


def _stored(upload: StoredUpload) -> Response:
    return JSONResponse({"name": upload.name, "size": str(upload.size)})
