"""The datasets service: looking at datasets and creating them (kagglesdk 0.1.37)."""

from pathlib import Path
from typing import Any

from kagglesdk.datasets.types import dataset_api_service as sdk
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus

from orchestrator.emulator.service.datasets import Dataset, DatasetVersion
from orchestrator.emulator.service.exceptions import ApiError, DatasetRejectedError, not_found
from orchestrator.emulator.service.files import list_files
from orchestrator.emulator.wire.rpc import Call, Method, Methods, naive_utc, page_of

_SERVICE = "datasets.DatasetApiService"


def _version(call: Call, number: int = 0) -> tuple[Dataset, DatasetVersion, Path]:
    """A version of the requested dataset; 0, which the SDK sends for "not given", is the newest."""
    owner, slug = call.request.owner_slug, call.request.dataset_slug
    found = call.backend.datasets.find(owner, slug)
    versions = () if found is None else found.versions
    matching = [version for version in versions if number in (0, version.number)]
    if found is None or not matching:
        raise not_found(
            f"Version {number} of dataset {owner}/{slug}" if number else f"Dataset {owner}/{slug}"
        )
    return found, matching[-1], call.backend.datasets.folder(found, matching[-1].number)


def get_dataset(call: Call) -> Any:
    """GetDataset: whether it exists, its size, and its newest version."""
    dataset, version, folder = _version(call)
    response = sdk.ApiDataset()
    response.ref = f"{call.request.owner_slug}/{call.request.dataset_slug}"
    response.title = dataset.title
    response.owner_ref = call.request.owner_slug
    response.is_private = dataset.private
    response.current_version_number = version.number
    response.total_bytes = sum(entry.size for entry in list_files(folder))
    response.last_updated = naive_utc(version.created_at)
    return response


def get_dataset_status(call: Call) -> Any:
    """GetDatasetStatus: whether its newest version is ready; a folder filled by hand always is."""
    _, version, _ = _version(call)
    ready = call.backend.datasets.is_ready(version)
    response = sdk.ApiGetDatasetStatusResponse()
    response.status = DatabundleVersionStatus.READY if ready else DatabundleVersionStatus.BLOBS_RECEIVED
    return response


def list_dataset_files(call: Call) -> Any:
    """ListDatasetFiles: a page of names and sizes; of the newest version, ready or not `[?]`."""
    request = call.request
    _, version, folder = _version(call, request.dataset_version_number)
    entries, token = page_of(
        list_files(folder), request.page_size, request.page_token, default=call.backend.options.page_size
    )
    response = sdk.ApiListDatasetFilesResponse()
    for entry in entries:
        item = sdk.ApiDatasetFile()
        item.name = item.ref = entry.name
        item.dataset_ref = f"{request.owner_slug}/{request.dataset_slug}"
        item.owner_ref = request.owner_slug
        item.total_bytes = entry.size
        item.creation_date = naive_utc(version.created_at)
        response.dataset_files.append(item)
    response.next_page_token = token
    return response


def create_dataset(call: Call) -> Any:
    """CreateDataset: version 1 from uploaded files."""
    request = call.request
    try:
        dataset = call.backend.datasets.create(
            request.owner_slug,
            request.slug,
            request.title,
            _tokens(request),
            private=request.is_private,
        )
    except DatasetRejectedError as error:
        return _rejected(error)
    return _created(call, dataset)


def create_dataset_version(call: Call) -> Any:
    """CreateDatasetVersion: another version, from uploaded files alone; the earlier ones stay."""
    request, body = call.request, call.request.body
    if body is None or not isinstance(body.version_notes, str):
        raise ApiError(400, "The request has no version notes.")
    if body.delete_old_versions:
        return _rejected(DatasetRejectedError("The emulator keeps every version of a dataset."))
    try:
        dataset = call.backend.datasets.add_version(
            request.owner_slug, request.dataset_slug, _tokens(body), body.version_notes
        )
    except DatasetRejectedError as error:
        return _rejected(error)
    return _created(call, dataset)


def _tokens(body: Any) -> list[str]:
    """The tokens of the uploads that a dataset version is created from."""
    if body.directories:
        raise DatasetRejectedError("The emulator does not accept folders.")
    tokens = [file.token for file in body.files or []]
    if not all(isinstance(token, str) for token in tokens):
        raise ApiError(400, "Invalid value for the field token.")
    return tokens


def _created(call: Call, dataset: Dataset) -> Any:
    response = sdk.ApiCreateDatasetResponse()
    response.status, response.ref = "ok", dataset.ref
    response.url = f"{call.base_url}/datasets/{dataset.ref}"
    return response


def _rejected(error: DatasetRejectedError) -> Any:
    """A refusal, which the official client expects with HTTP 200."""
    response = sdk.ApiCreateDatasetResponse()
    response.status, response.error = "error", str(error)
    return response


METHODS: Methods = {
    (_SERVICE, name): Method(request_type, handler)
    for name, request_type, handler in (
        ("GetDataset", sdk.ApiGetDatasetRequest, get_dataset),
        ("GetDatasetStatus", sdk.ApiGetDatasetStatusRequest, get_dataset_status),
        ("ListDatasetFiles", sdk.ApiListDatasetFilesRequest, list_dataset_files),
        ("CreateDataset", sdk.ApiCreateDatasetRequest, create_dataset),
        ("CreateDatasetVersion", sdk.ApiCreateDatasetVersionRequest, create_dataset_version),
    )
}
