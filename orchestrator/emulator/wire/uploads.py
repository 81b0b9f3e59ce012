"""Uploads on the wire: blobs, and the datasets that are made of them."""

from typing import Any

from kagglesdk.blobs.types import blob_api_service as blobs
from kagglesdk.datasets.types import dataset_api_service as datasets

from orchestrator.emulator.service.datasets import Dataset, DatasetRejectedError
from orchestrator.emulator.service.refusals import FaultError
from orchestrator.emulator.service.store import is_file_name
from orchestrator.emulator.wire.codec import Call, Method, Methods
from orchestrator.emulator.wire.intake import upload_address

_DATASETS = "datasets.DatasetApiService"


def start_blob_upload(call: Call) -> Any:
    """StartBlobUpload: a token for the file, and the address that its bytes go to."""
    request = call.request
    if request.type is not blobs.ApiBlobType.DATASET:
        raise FaultError(501, "The emulator takes uploads for datasets only.")
    if not is_file_name(request.name) or request.content_length < 0:
        raise FaultError(400, "Invalid file name or length.")
    blob = call.backend.blobs.start(request.name, request.content_length)
    answer = blobs.ApiStartBlobUploadResponse()
    answer.token, answer.create_url = blob.token, call.base_url + upload_address(blob)
    return answer


def _tokens(asked: Any) -> list[str]:
    if asked.directories:
        raise DatasetRejectedError("The emulator takes no folders.")
    tokens = [file.token for file in asked.files or []]
    if not all(isinstance(token, str) for token in tokens):
        raise FaultError(400, "Invalid value for the field token.")
    return tokens


def _made(call: Call, dataset: Dataset) -> Any:
    answer = datasets.ApiCreateDatasetResponse()
    answer.status, answer.ref = "ok", dataset.ref
    answer.url = f"{call.base_url}/datasets/{dataset.ref}"
    return answer


def _refused(error: DatasetRejectedError) -> Any:
    """A refusal is an answer with HTTP 200, as the official client reads it."""
    answer = datasets.ApiCreateDatasetResponse()
    answer.status, answer.error = "error", str(error)
    return answer


def create_dataset(call: Call) -> Any:
    """CreateDataset: version 1 of the uploaded files."""
    request = call.request
    try:
        made = call.backend.datasets.create(
            request.owner_slug,
            request.slug,
            request.title,
            _tokens(request),
            private=request.is_private,
        )
    except DatasetRejectedError as error:
        return _refused(error)
    return _made(call, made)


def create_dataset_version(call: Call) -> Any:
    """CreateDatasetVersion: another version, of the uploaded files alone; the earlier ones stay."""
    request, body = call.request, call.request.body
    if body is None or not isinstance(body.version_notes, str):
        raise FaultError(400, "The request has no version notes.")
    if body.delete_old_versions:
        return _refused(DatasetRejectedError("The emulator keeps every version of a dataset."))
    try:
        made = call.backend.datasets.add_version(
            request.owner_slug, request.dataset_slug, _tokens(body), body.version_notes
        )
    except DatasetRejectedError as error:
        return _refused(error)
    return _made(call, made)


METHODS: Methods = {
    ("blobs.BlobApiService", "StartBlobUpload"): Method(blobs.ApiStartBlobUploadRequest, start_blob_upload),
    (_DATASETS, "CreateDataset"): Method(datasets.ApiCreateDatasetRequest, create_dataset),
    (_DATASETS, "CreateDatasetVersion"): Method(
        datasets.ApiCreateDatasetVersionRequest, create_dataset_version
    ),
}
