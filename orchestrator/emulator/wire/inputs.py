"""Datasets, models and tokens on the wire: what checks before a push ask for, and no more."""

import hmac
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kagglesdk.datasets.types import dataset_api_service as datasets
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus
from kagglesdk.models.types import model_api_service as models
from kagglesdk.security.types import oauth_service as oauth

from orchestrator.emulator.service.datasets import Dataset, DatasetVersion
from orchestrator.emulator.service.refusals import not_found
from orchestrator.emulator.service.sources import list_entries
from orchestrator.emulator.wire.codec import Call, Method, Methods, naive_utc, page_of

_DATASETS = "datasets.DatasetApiService"
_MODELS = "models.ModelApiService"
_FRAMEWORK_PREFIX = "MODEL_FRAMEWORK_"
INTROSPECT = ("security.OAuthService", "IntrospectToken")


def _changed_at(folder: Path) -> datetime:
    return datetime.fromtimestamp(folder.stat().st_mtime, UTC).replace(tzinfo=None)


def _dataset_version(call: Call, number: int = 0) -> tuple[Dataset, DatasetVersion, Path]:
    """A version of the dataset that is asked for; 0, as which the SDK reads "not given", is the newest."""
    owner, slug = call.request.owner_slug, call.request.dataset_slug
    found = call.backend.datasets.find(owner, slug)
    versions = () if found is None else found.versions
    asked = [version for version in versions if number in (0, version.number)]
    if found is None or not asked:
        raise not_found(
            f"Version {number} of dataset {owner}/{slug}" if number else f"Dataset {owner}/{slug}"
        )
    return found, asked[-1], call.backend.datasets.folder(found, asked[-1].number)


def get_dataset(call: Call) -> Any:
    """GetDataset: that it exists, how big it is, and its newest version."""
    dataset, version, folder = _dataset_version(call)
    answer = datasets.ApiDataset()
    answer.ref = f"{call.request.owner_slug}/{call.request.dataset_slug}"
    answer.title = dataset.title
    answer.owner_ref = call.request.owner_slug
    answer.is_private = dataset.private
    answer.current_version_number = version.number
    answer.total_bytes = sum(entry.size for entry in list_entries(folder))
    answer.last_updated = naive_utc(version.created_at)
    return answer


def get_dataset_status(call: Call) -> Any:
    """GetDatasetStatus: whether its newest version is ready; a folder filled by hand always is."""
    _, version, _ = _dataset_version(call)
    ready = call.backend.datasets.is_ready(version)
    answer = datasets.ApiGetDatasetStatusResponse()
    answer.status = DatabundleVersionStatus.READY if ready else DatabundleVersionStatus.BLOBS_RECEIVED
    return answer


def list_dataset_files(call: Call) -> Any:
    """ListDatasetFiles: a page of names and sizes; of the newest version, ready or not `[?]`."""
    request = call.request
    _, version, folder = _dataset_version(call, request.dataset_version_number)
    entries, token = page_of(
        list_entries(folder), request.page_size, request.page_token, default=call.backend.options.page_size
    )
    answer = datasets.ApiListDatasetFilesResponse()
    for entry in entries:
        item = datasets.ApiDatasetFile()
        item.name = item.ref = entry.name
        item.dataset_ref = f"{request.owner_slug}/{request.dataset_slug}"
        item.owner_ref = request.owner_slug
        item.total_bytes = entry.size
        item.creation_date = naive_utc(version.created_at)
        answer.dataset_files.append(item)
    answer.next_page_token = token
    return answer


def _model_version(call: Call, asked: int) -> tuple[int, Path]:
    request = call.request
    framework = request.framework.name.removeprefix(_FRAMEWORK_PREFIX)
    name = (request.owner_slug, request.model_slug, framework, request.instance_slug)
    number = asked or call.backend.sources.latest_model_version(*name)
    folder = None if number is None else call.backend.sources.model_folder(*name, number)
    if number is None or folder is None:
        raise not_found(f"Model {'/'.join(name[:2])}/{framework.lower()}/{request.instance_slug}")
    return number, folder


def get_model_instance(call: Call) -> Any:
    """GetModelInstance: that the variation exists, and its latest version."""
    number, folder = _model_version(call, 0)
    answer = models.ApiModelInstance()
    answer.slug = call.request.instance_slug
    answer.framework = call.request.framework
    answer.version_number = number
    answer.total_uncompressed_bytes = sum(entry.size for entry in list_entries(folder))
    return answer


def list_model_files(call: Call) -> Any:
    """ListModelInstanceVersionFiles: a page of names and sizes of a version, or of the latest."""
    request = call.request
    _, folder = _model_version(call, request.version_number)
    entries, token = page_of(
        list_entries(folder), request.page_size, request.page_token, default=call.backend.options.page_size
    )
    answer = models.ApiListModelInstanceVersionFilesResponse()
    for entry in entries:
        item = models.ApiModelFile()
        item.name = entry.name
        item.size = entry.size
        item.creation_date = _changed_at(folder)
        answer.files.append(item)
    answer.next_page_token = token or ""
    return answer


def introspection(key: str) -> Method:
    """IntrospectToken for an account whose legacy key also serves as its API token."""

    def introspect(call: Call) -> Any:
        answer = oauth.IntrospectTokenResponse()
        answer.active = hmac.compare_digest(call.request.token.encode(), key.encode())
        if answer.active:
            answer.username = call.backend.username
        return answer

    return Method(oauth.IntrospectTokenRequest, introspect)


METHODS: Methods = {
    (_DATASETS, "GetDataset"): Method(datasets.ApiGetDatasetRequest, get_dataset),
    (_DATASETS, "GetDatasetStatus"): Method(datasets.ApiGetDatasetStatusRequest, get_dataset_status),
    (_DATASETS, "ListDatasetFiles"): Method(datasets.ApiListDatasetFilesRequest, list_dataset_files),
    (_MODELS, "GetModelInstance"): Method(models.ApiGetModelInstanceRequest, get_model_instance),
    (_MODELS, "ListModelInstanceVersionFiles"): Method(
        models.ApiListModelInstanceVersionFilesRequest, list_model_files
    ),
}
