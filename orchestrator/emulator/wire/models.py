"""The models service: what a client checks before a push (kagglesdk 0.1.37)."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kagglesdk.models.types import model_api_service as sdk

from orchestrator.emulator.service.exceptions import not_found
from orchestrator.emulator.service.files import list_files
from orchestrator.emulator.wire.rpc import Call, Method, Methods, page_of

_SERVICE = "models.ModelApiService"
_FRAMEWORK_PREFIX = "MODEL_FRAMEWORK_"


def _version(call: Call, number: int) -> tuple[int, Path]:
    """A version of the requested variation and its folder; 0 is the newest."""
    request = call.request
    framework = request.framework.name.removeprefix(_FRAMEWORK_PREFIX)
    name = (request.owner_slug, request.model_slug, framework, request.instance_slug)
    found = number or call.backend.models.latest_version(*name)
    folder = None if found is None else call.backend.models.folder(*name, found)
    if found is None or folder is None:
        raise not_found(f"Model {'/'.join(name[:2])}/{framework.lower()}/{request.instance_slug}")
    return found, folder


def get_model_instance(call: Call) -> Any:
    """GetModelInstance: whether the variation exists, and its latest version."""
    number, folder = _version(call, 0)
    response = sdk.ApiModelInstance()
    response.slug = call.request.instance_slug
    response.framework = call.request.framework
    response.version_number = number
    response.total_uncompressed_bytes = sum(entry.size for entry in list_files(folder))
    return response


def list_model_files(call: Call) -> Any:
    """ListModelInstanceVersionFiles: a page of names and sizes of a version, by default of the latest."""
    request = call.request
    _, folder = _version(call, request.version_number)
    entries, token = page_of(
        list_files(folder), request.page_size, request.page_token, default=call.backend.options.page_size
    )
    response = sdk.ApiListModelInstanceVersionFilesResponse()
    for entry in entries:
        item = sdk.ApiModelFile()
        item.name = entry.name
        item.size = entry.size
        item.creation_date = datetime.fromtimestamp(folder.stat().st_mtime, UTC).replace(tzinfo=None)
        response.files.append(item)
    response.next_page_token = token or ""
    return response


METHODS: Methods = {
    (_SERVICE, "GetModelInstance"): Method(sdk.ApiGetModelInstanceRequest, get_model_instance),
    (_SERVICE, "ListModelInstanceVersionFiles"): Method(
        sdk.ApiListModelInstanceVersionFilesRequest, list_model_files
    ),
}
