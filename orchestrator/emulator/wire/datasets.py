"""The datasets service: looking at datasets, downloading, making, describing, deleting (kagglesdk 0.1.38)."""

from dataclasses import replace
from typing import Any

from kagglesdk.datasets.types import dataset_api_service as sdk
from kagglesdk.datasets.types.dataset_enums import DatasetSelectionGroup, DatasetSortBy
from kagglesdk.datasets.types.dataset_types import (
    DatasetCollaborator,
    DatasetInfo,
    DatasetSettingsFile,
    SettingsLicense,
)
from kagglesdk.users.types.users_enums import CollaboratorType
from starlette.responses import RedirectResponse, Response

from orchestrator.emulator.faults.kinds import UnknownWord
from orchestrator.emulator.service.bundles import BundleVersion
from orchestrator.emulator.service.datasets import Dataset
from orchestrator.emulator.service.exceptions import ApiError, RejectedError, not_found
from orchestrator.emulator.service.files import list_files
from orchestrator.emulator.service.uploads import UploadKind
from orchestrator.emulator.wire.bundles import files_of, status_of, text_of
from orchestrator.emulator.wire.rpc import Call, Method, Methods, cut_page, naive_utc, page_of
from orchestrator.emulator.wire.storage import dataset_archive, dataset_file

_SERVICE = "datasets.DatasetApiService"
_DEFAULT_PAGE = 20
_MINE = (
    DatasetSelectionGroup.DATASET_SELECTION_GROUP_MY,
    DatasetSelectionGroup.DATASET_SELECTION_GROUP_MY_PRIVATE,
    DatasetSelectionGroup.DATASET_SELECTION_GROUP_MY_PUBLIC,
)


def _requested(call: Call, number: int = 0) -> tuple[Dataset, BundleVersion]:
    """A version of the requested dataset; 0, which the SDK sends for "not given", is the newest."""
    return call.backend.datasets.get(call.request.owner_slug, call.request.dataset_slug, number)


def _described(call: Call, dataset: Dataset) -> Any:
    version = dataset.versions[-1]
    item = sdk.ApiDataset()
    item.id, item.ref, item.title = dataset.key, dataset.ref, dataset.title
    item.subtitle, item.description = dataset.subtitle, dataset.description
    item.owner_ref = item.owner_name = item.creator_name = dataset.owner
    item.license_name = dataset.license
    item.is_private = dataset.private
    item.current_version_number = version.number
    folder = call.backend.datasets.folder(dataset, version.number)
    item.total_bytes = sum(entry.size for entry in list_files(folder))
    item.last_updated = naive_utc(version.created_at)
    item.url = f"{call.base_url}/datasets/{dataset.ref}"
    return item


def get_dataset(call: Call) -> Any:
    """GetDataset: whether it exists, its size, and its newest version."""
    dataset, _ = _requested(call)
    response = _described(call, dataset)
    for version in dataset.versions:
        item = sdk.ApiDatasetVersion()
        item.version_number, item.version_notes = version.number, version.notes
        item.creation_date = naive_utc(version.created_at)
        item.creator_name = item.creator_ref = dataset.owner
        item.status = status_of(ready=call.backend.datasets.bundles.is_ready(version)).name.capitalize()
        response.versions.append(item)
    return response


def list_datasets(call: Call) -> Any:
    """ListDatasets: the account's own, a user's public ones, or all public ones, in pages."""
    request = call.request
    mine = call.backend.username.lower()
    wanted = mine if request.group in _MINE else text_of(request.user).lower()
    search = text_of(request.search).lower()
    found = [
        dataset
        for dataset in call.backend.datasets.all()
        if (not wanted or dataset.owner.lower() == wanted)
        and (request.group in _MINE or not dataset.private)
        and (search in dataset.title.lower() or search in dataset.slug)
    ]
    items = [_described(call, dataset) for dataset in found]
    items = [
        item
        for item in items
        if (request.min_size or 0) <= item.total_bytes
        and (not request.max_size or item.total_bytes <= request.max_size)
    ]
    if request.sort_by is DatasetSortBy.DATASET_SORT_BY_PUBLISHED:
        items.sort(key=lambda item: item.title)
    size = request.page_size or _DEFAULT_PAGE
    token = request.page_token or str(max(0, (request.page or 1) - 1) * size)
    page, next_token = cut_page(items, size, token, default=size)
    response = sdk.ApiListDatasetsResponse()
    response.datasets, response.next_page_token = list(page), next_token or ""
    return response


def get_dataset_status(call: Call) -> Any:
    """GetDatasetStatus: whether its newest version is ready; a folder filled by hand always is."""
    _, version = _requested(call)
    if unknown := call.faults.first(UnknownWord):
        return {"status": unknown.word}
    response = sdk.ApiGetDatasetStatusResponse()
    response.status = status_of(ready=call.backend.datasets.bundles.is_ready(version))
    return response


def list_dataset_files(call: Call) -> Any:
    """ListDatasetFiles: a page of names and sizes; of the newest version, ready or not `[?]`."""
    request = call.request
    dataset, version = _requested(call, request.dataset_version_number)
    entries, token = page_of(list_files(call.backend.datasets.folder(dataset, version.number)), call)
    response = sdk.ApiListDatasetFilesResponse()
    for entry in entries:
        item = sdk.ApiDatasetFile()
        item.name = item.ref = entry.name
        item.dataset_ref, item.owner_ref = dataset.ref, dataset.owner
        item.description = dataset.descriptions.get(entry.name, "")
        item.total_bytes = entry.size
        item.creation_date = naive_utc(version.created_at)
        response.dataset_files.append(item)
    response.next_page_token = token
    return response


def download_dataset(call: Call) -> Response:
    """DownloadDataset: a redirect to the signed URL of one file, or of a ZIP archive of all.

    `[?]` Kaggle wraps some single files in an archive of their own; the emulator serves them as they are.
    """
    request = call.request
    dataset, version = _requested(call, request.dataset_version_number)
    names = [entry.name for entry in list_files(call.backend.datasets.folder(dataset, version.number))]
    if not request.file_name:
        call.backend.datasets.archive(dataset, version.number)
        return RedirectResponse(call.signed_url(dataset_archive(dataset, version.number)), 302)
    if request.file_name not in names:
        raise not_found(f"The file {request.file_name} of dataset {dataset.ref}")
    return RedirectResponse(call.signed_url(dataset_file(dataset, version.number, request.file_name)), 302)


def create_dataset(call: Call) -> Any:
    """CreateDataset: version 1 from uploaded files."""
    request = call.request
    files = files_of(request)
    new = Dataset(
        request.owner_slug,
        request.slug,
        request.title,
        # `[?]` The SDK sends nothing for "public"; one that the website makes is private.
        private=request.is_private,
        versions=(),
        subtitle=request.subtitle,
        description=request.description,
        license=request.license_name or "unknown",
        keywords=tuple(request.category_ids or ()),
    )
    try:
        dataset = call.backend.datasets.create(new, files)
    except RejectedError as error:
        return _rejected(error)
    return _created(call, dataset)


def create_dataset_version(call: Call) -> Any:
    """CreateDatasetVersion: another version, from uploaded files alone; the earlier ones stay."""
    owner, slug = call.request.owner_slug, call.request.dataset_slug
    return _new_version(call, call.backend.datasets.find(owner, slug))


def create_dataset_version_by_id(call: Call) -> Any:
    """CreateDatasetVersionById: the same for a numeric id."""
    return _new_version(call, call.backend.datasets.find_key(call.request.id))


def _new_version(call: Call, dataset: Dataset | None) -> Any:
    body = call.request.body
    if body is None:
        raise ApiError(400, "The request has no body.")
    notes, files = text_of(body.version_notes), files_of(body)
    if dataset is None:
        # Seen for a name that was wrong (kaggle-cli #642).
        raise ApiError(403, "Permission 'datasets.update' was denied")
    try:
        changed = call.backend.datasets.add_version(
            replace(
                dataset,
                subtitle=text_of(body.subtitle) or dataset.subtitle,
                description=text_of(body.description) or dataset.description,
            ),
            files,
            notes,
            alone=bool(body.delete_old_versions),
        )
    except RejectedError as error:
        return _rejected(error)
    return _created(call, changed)


def _created(call: Call, dataset: Dataset) -> Any:
    response = sdk.ApiCreateDatasetResponse()
    response.status, response.ref = "ok", dataset.ref
    response.url = f"{call.base_url}/datasets/{dataset.ref}"
    return response


def _rejected(error: RejectedError) -> Any:
    """A refusal, which the official client expects with HTTP 200."""
    response = sdk.ApiCreateDatasetResponse()
    response.status, response.error = "error", str(error)
    return response


def get_metadata(call: Call) -> Any:
    """GetDatasetMetadata: a dataset's title, license, keywords and the like."""
    dataset, version = _requested(call)
    info = DatasetInfo()
    info.dataset_id, info.dataset_slug, info.owner_user = dataset.key, dataset.slug, dataset.owner
    info.title, info.subtitle, info.description = dataset.title, dataset.subtitle, dataset.description
    info.is_private, info.keywords = dataset.private, list(dataset.keywords)
    licence = SettingsLicense()
    licence.name = dataset.license
    info.licenses = [licence]
    for username, role in dataset.collaborators.items():
        collaborator = DatasetCollaborator()
        collaborator.username, collaborator.role = username, CollaboratorType[role]
        info.collaborators.append(collaborator)
    for entry in list_files(call.backend.datasets.folder(dataset, version.number)):
        file = DatasetSettingsFile()
        file.name, file.total_bytes = entry.name, entry.size
        file.description = dataset.descriptions.get(entry.name, "")
        info.data.append(file)
    info.expected_update_frequency, info.user_specified_sources = dataset.frequency, dataset.sources
    response = sdk.ApiGetDatasetMetadataResponse()
    response.info = info
    return response


def update_metadata(call: Call) -> Any:
    """UpdateDatasetMetadata: replaces all metadata; what the request leaves out becomes empty.

    So a metadata file without `isPrivate` makes a dataset public, as the official client sends it. `[?]`
    """
    dataset, _ = _requested(call)
    settings = call.request.settings
    response = sdk.ApiUpdateDatasetMetadataResponse()
    if settings is None:
        raise ApiError(400, "The request has no settings.")
    licenses = [text_of(item.name) for item in settings.licenses or []]
    if len(licenses) > 1:
        response.errors = ["Please specify exactly one license"]
        return response
    if settings.image is not None and not _takes_picture(call, text_of(settings.image.token)):
        response.errors = ["The image was not uploaded."]
        return response
    response.errors = call.backend.datasets.update(
        dataset,
        title=text_of(settings.title),
        subtitle=text_of(settings.subtitle),
        description=text_of(settings.description),
        private=bool(settings.is_private),
        license=licenses[0] if licenses else dataset.license,
        keywords=tuple(text_of(word) for word in settings.keywords or []),
        collaborators={text_of(item.username): item.role.name for item in settings.collaborators or []},
        sources=text_of(settings.user_specified_sources),
        frequency=text_of(settings.expected_update_frequency) or dataset.frequency,
        descriptions={
            **dataset.descriptions,
            **{text_of(item.name): text_of(item.description) for item in settings.data or []},
        },
    )
    return response


def _takes_picture(call: Call, token: str) -> bool:
    """Delete an uploaded picture, which the emulator does not show; return whether there was one."""
    uploads = call.backend.uploads
    upload = uploads.find(token)
    if upload is None or upload.kind is not UploadKind.INBOX or not uploads.is_complete(upload):
        return False
    uploads.delete(upload)
    return True


def delete_dataset(call: Call) -> Any:
    """DeleteDataset: with all its versions."""
    dataset, _ = _requested(call)
    call.backend.datasets.delete(dataset)
    return sdk.ApiDeleteDatasetResponse()


METHODS: Methods = {
    (_SERVICE, name): Method(request_type, handler)
    for name, request_type, handler in (
        ("CreateDataset", sdk.ApiCreateDatasetRequest, create_dataset),
        ("CreateDatasetVersion", sdk.ApiCreateDatasetVersionRequest, create_dataset_version),
        ("CreateDatasetVersionById", sdk.ApiCreateDatasetVersionByIdRequest, create_dataset_version_by_id),
        ("DeleteDataset", sdk.ApiDeleteDatasetRequest, delete_dataset),
        ("DownloadDataset", sdk.ApiDownloadDatasetRequest, download_dataset),
        ("GetDataset", sdk.ApiGetDatasetRequest, get_dataset),
        ("GetDatasetMetadata", sdk.ApiGetDatasetMetadataRequest, get_metadata),
        ("GetDatasetStatus", sdk.ApiGetDatasetStatusRequest, get_dataset_status),
        ("ListDatasetFiles", sdk.ApiListDatasetFilesRequest, list_dataset_files),
        ("ListDatasets", sdk.ApiListDatasetsRequest, list_datasets),
        ("UpdateDatasetMetadata", sdk.ApiUpdateDatasetMetadataRequest, update_metadata),
    )
}
