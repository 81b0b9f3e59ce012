"""The models service: models, their variations ("instances" on the wire) and versions (kagglesdk 0.1.38)."""

from datetime import UTC
from typing import Any

from kagglesdk.models.types import model_api_service as sdk
from kagglesdk.models.types.model_enums import ListModelsOrderBy, ModelFramework, ModelInstanceType
from kagglesdk.models.types.model_types import (
    ModelInstance,
    ModelInstanceVersion,
    ModelInstanceVersionList,
)
from starlette.responses import RedirectResponse, Response

from orchestrator.emulator.service.bundles import BundleVersion
from orchestrator.emulator.service.exceptions import ApiError, RejectedError, not_found
from orchestrator.emulator.service.files import list_files
from orchestrator.emulator.service.model_records import Model, Variation, VariationRef, key_of, plain
from orchestrator.emulator.wire.bundles import files_of, status_of, text_of
from orchestrator.emulator.wire.rpc import Call, Method, Methods, naive_utc, page_of
from orchestrator.emulator.wire.storage import model_archive, model_file

_SERVICE = "models.ModelApiService"
_FRAMEWORK_PREFIX = "MODEL_FRAMEWORK_"
# What an update may change: the words of its mask, and the fields behind them.
_MODEL_FIELDS = {
    "title": "title",
    "subtitle": "subtitle",
    "is_private": "private",
    "description": "description",
    "publish_time": "published_at",
    "provenance_sources": "provenance",
}
_VARIATION_FIELDS = {
    "overview": "overview",
    "usage": "usage",
    "license_name": "license",
    "fine_tunable": "fine_tunable",
    "training_data": "training_data",
    "model_instance_type": "kind",
    "base_model_instance": "base",
    "external_base_model_url": "base_url",
}


def _framework(member: ModelFramework) -> str:
    """A framework as it stands in a mount path; "" if the request has none."""
    unknown = member is ModelFramework.MODEL_FRAMEWORK_UNSPECIFIED
    return "" if unknown else plain(member.name.removeprefix(_FRAMEWORK_PREFIX))


def _member(framework: str) -> ModelFramework:
    """The SDK's enum member for a framework; OTHER for a folder named after none of them."""
    wanted = plain(framework)
    found = (item for item in ModelFramework if _framework(item) == wanted)
    return next(found, ModelFramework.MODEL_FRAMEWORK_OTHER)


def _model(call: Call) -> Model:
    return call.backend.models.get(call.request.owner_slug, call.request.model_slug)


def _ref(call: Call) -> VariationRef:
    request = call.request
    return VariationRef(
        request.owner_slug, request.model_slug, _framework(request.framework), request.instance_slug
    )


def _version(call: Call) -> tuple[Model, Variation, BundleVersion]:
    """The requested version; 0, which the SDK sends for "not given", is the newest."""
    return call.backend.models.get_version(_ref(call), call.request.version_number or 0)


def _size(call: Call, model: Model, variation: Variation) -> int:
    number = variation.versions[-1].number if variation.versions else 0
    return sum(entry.size for entry in list_files(call.backend.models.folder(model, variation, number)))


def _url(call: Call, model: Model, variation: Variation | None = None) -> str:
    where = "" if variation is None else f"/{variation.framework}/{variation.slug}"
    return f"{call.base_url}/models/{model.ref}{where}"


def _described(call: Call, model: Model) -> Any:
    item = sdk.ApiModel()
    item.id, item.ref, item.slug = key_of(model.ref), model.ref, model.slug
    item.title, item.subtitle, item.author = model.title, model.subtitle, model.owner
    item.is_private, item.description = model.private, model.description
    item.publish_time = naive_utc(model.published_at)
    item.update_time = naive_utc(model.updated_at)
    item.provenance_sources, item.url = model.provenance, _url(call, model)
    item.instances = [_described_variation(call, model, variation) for variation in model.variations]
    return item


def _described_variation(call: Call, model: Model, variation: Variation) -> Any:
    item = sdk.ApiModelInstance()
    item.id = key_of(model.ref, *variation.name)
    item.slug, item.framework = variation.slug, _member(variation.framework)
    item.overview, item.usage = variation.overview, variation.usage
    item.fine_tunable, item.training_data = variation.fine_tunable, list(variation.training_data)
    item.license_name, item.external_base_model_url = variation.license, variation.base_url
    if variation.kind:
        item.model_instance_type = ModelInstanceType[variation.kind]
    if variation.versions:
        item.version_number = variation.versions[-1].number
        item.version_id = key_of(model.ref, *variation.name, item.version_number)
    item.url = _url(call, model, variation)
    item.total_uncompressed_bytes = _size(call, model, variation)
    return item


def get_model(call: Call) -> Any:
    """GetModel: a model's metadata, with its variations."""
    return _described(call, _model(call))


def get_variation(call: Call) -> Any:
    """GetModelInstance: a variation's metadata, and its newest version, ready or not `[?]`."""
    return _described_variation(call, *call.backend.models.get_variation(_ref(call)))


def list_models(call: Call) -> Any:
    """ListModels: an owner's, or all public ones; searched, sorted and paged."""
    request = call.request
    owner, search = text_of(request.owner).lower(), text_of(request.search).lower()
    found = [
        model
        for model in call.backend.models.all()
        if (not owner or model.owner.lower() == owner)
        # Private ones are shown in the account's own list alone.
        and (not model.private or owner == call.backend.username.lower() == model.owner.lower())
        and (search in model.title.lower() or search in model.slug)
    ]
    if request.sort_by is ListModelsOrderBy.LIST_MODELS_ORDER_BY_CREATE_TIME:
        found.sort(key=lambda model: model.created_at, reverse=True)
    page, token = _page(call, found)
    response = sdk.ApiListModelsResponse()
    response.models, response.next_page_token = [_described(call, model) for model in page], token
    response.total_results = len(found)
    return response


def list_variations(call: Call) -> Any:
    """ListModelInstances: the variations of a model, each with the state of its newest version."""
    model = _model(call)
    page, token = _page(call, model.variations)
    response = sdk.ApiListModelInstancesResponse()
    for variation in page:
        item = ModelInstance()
        item.id = key_of(model.ref, *variation.name)
        item.owner_slug, item.model_slug, item.slug = model.owner, model.slug, variation.slug
        item.framework, item.overview, item.usage = (
            _member(variation.framework),
            variation.overview,
            variation.usage,
        )
        item.fine_tunable, item.training_data = variation.fine_tunable, list(variation.training_data)
        item.model_id, item.total_uncompressed_bytes = key_of(model.ref), _size(call, model, variation)
        if variation.versions:
            newest = variation.versions[-1]
            item.version_number, item.version_notes = newest.number, newest.notes
            item.version_id = key_of(model.ref, *variation.name, newest.number)
            item.status = status_of(ready=call.backend.models.bundles.is_ready(newest))
        response.instances.append(item)
    response.next_page_token = token
    return response


def list_versions(call: Call) -> Any:
    """ListModelInstanceVersions: the versions of a variation, the newest first."""
    model, variation = call.backend.models.get_variation(_ref(call))
    page, token = _page(call, variation.versions[::-1])
    listed = ModelInstanceVersionList()
    for version in page:
        item = ModelInstanceVersion()
        item.id = key_of(model.ref, *variation.name, version.number)
        item.framework, item.variation_slug = _member(variation.framework), variation.slug
        item.version_number, item.model_title = version.number, model.title
        item.is_private, item.url = model.private, f"{_url(call, model, variation)}/{version.number}"
        item.model_id, item.owner_slug, item.model_slug = key_of(model.ref), model.owner, model.slug
        item.model_instance_id = key_of(model.ref, *variation.name)
        listed.versions.append(item)
    response = sdk.ApiListModelInstanceVersionsResponse()
    response.version_list, response.next_page_token = listed, token
    return response


def list_files_of_version(call: Call) -> Any:
    """ListModelInstanceVersionFiles: a page of names and sizes of a version, by default of the newest."""
    model, variation, version = _version(call)
    page, token = _page(call, list_files(call.backend.models.folder(model, variation, version.number)))
    response = sdk.ApiListModelInstanceVersionFilesResponse()
    for entry in page:
        item = sdk.ApiModelFile()
        item.name, item.size = entry.name, entry.size
        item.creation_date = version.created_at.astimezone(UTC).replace(tzinfo=None)
        response.files.append(item)
    response.next_page_token = token
    return response


def download_version(call: Call) -> Response:
    """DownloadModelInstanceVersion: a redirect to the signed URL of one file, or of an archive of all."""
    model, variation, version = _version(call)
    path = call.request.path
    if not path:
        call.backend.models.archive(model, variation, version.number)
        return RedirectResponse(call.signed_url(model_archive(model, variation, version.number)), 302)
    folder = call.backend.models.folder(model, variation, version.number)
    if path not in [entry.name for entry in list_files(folder)]:
        raise not_found(f"The file {path}")
    return RedirectResponse(call.signed_url(model_file(model, variation, version.number, path)), 302)


def create_model(call: Call) -> Any:
    """CreateModel: a model without variations; private unless the request says otherwise."""
    request = call.request
    now = call.backend.clock.now()
    try:
        model = call.backend.models.create(
            Model(
                request.owner_slug,
                request.slug,
                request.title,
                # Unset is private.
                private=request._is_private is not False,  # noqa: SLF001 - the property hides "unset"
                created_at=now,
                updated_at=now,
                subtitle=request.subtitle,
                description=request.description,
                published_at=_aware(request.publish_time),
                provenance=request.provenance_sources,
            )
        )
    except RejectedError as error:
        return _rejected(error)
    return _created(key_of(model.ref), model.ref, _url(call, model))


def create_variation(call: Call) -> Any:
    """CreateModelInstance: a variation with version 1 from uploaded files."""
    request, body = call.request, call.request.body
    if body is None:
        raise ApiError(400, "The request has no body.")
    variation = Variation(
        _framework(body.framework),
        text_of(body.instance_slug),
        text_of(body.license_name),
        overview=text_of(body.overview),
        usage=text_of(body.usage),
        fine_tunable=bool(body.fine_tunable),
        training_data=tuple(text_of(item) for item in body.training_data or []),
        kind=body.model_instance_type.name if body.model_instance_type else "",
        base=text_of(body.base_model_instance),
        base_url=text_of(body.external_base_model_url),
    )
    try:
        model, added = call.backend.models.create_variation(
            request.owner_slug, request.model_slug, variation, files_of(body)
        )
    except RejectedError as error:
        return _rejected(error)
    return _created_version(call, model, added)


def create_version(call: Call) -> Any:
    """CreateModelInstanceVersion: another version, from uploaded files alone; the earlier ones stay."""
    body = call.request.body
    if body is None:
        raise ApiError(400, "The request has no body.")
    try:
        model, variation = call.backend.models.add_version(
            _ref(call), files_of(body), text_of(body.version_notes)
        )
    except RejectedError as error:
        return _rejected(error)
    return _created_version(call, model, variation)


def _created_version(call: Call, model: Model, variation: Variation) -> Any:
    number = variation.versions[-1].number
    ref = f"{model.ref}/{variation.framework}/{variation.slug}/{number}"
    url = f"{_url(call, model, variation)}/{number}"
    return _created(key_of(model.ref, *variation.name, number), ref, url)


def _created(key: int, ref: str, url: str) -> Any:
    response = sdk.ApiCreateModelResponse()
    response.id, response.ref, response.url = key, ref, url
    return response


def _rejected(error: RejectedError) -> Any:
    """A refusal, which has HTTP 200 and its status in the body (kagglehub #43)."""
    response = sdk.ApiCreateModelResponse()
    response.error, response.error_code = str(error), error.code
    return response


def update_model(call: Call) -> Any:
    """UpdateModel: changes what the mask names."""
    request, model = call.request, _model(call)
    values = {name: getattr(request, name) for name in _MODEL_FIELDS}
    values["publish_time"] = _aware(request.publish_time)
    response = sdk.ApiUpdateModelResponse()
    try:
        call.backend.models.update(model, **_masked(request.update_mask, _MODEL_FIELDS, values))
    except RejectedError as error:
        response.error = str(error)
        return response
    response.id, response.ref, response.url = key_of(model.ref), model.ref, _url(call, model)
    return response


def update_variation(call: Call) -> Any:
    """UpdateModelInstance: changes what the mask names."""
    request = call.request
    model, variation = call.backend.models.get_variation(_ref(call))
    values = {name: getattr(request, name) for name in _VARIATION_FIELDS}
    values["training_data"] = tuple(request.training_data or ())
    kind = request.model_instance_type
    values["model_instance_type"] = kind.name if kind else ""
    response = sdk.ApiUpdateModelResponse()
    try:
        changes = _masked(request.update_mask, _VARIATION_FIELDS, values)
        call.backend.models.update_variation(model, variation, **changes)
    except RejectedError as error:
        response.error = str(error)
        return response
    response.id = key_of(model.ref, *variation.name)
    response.ref = f"{model.ref}/{variation.framework}/{variation.slug}"
    response.url = _url(call, model, variation)
    return response


def _masked(mask: Any, fields: dict[str, str], values: dict[str, Any]) -> dict[str, Any]:
    """The values that an update changes, by the names of the fields that they change.

    Raises:
        ApiError: 400, the mask names something that cannot be changed.
    """
    paths = list(mask.paths) if mask is not None else []
    if unknown := set(paths) - set(fields):
        raise ApiError(400, f"Invalid update mask: {', '.join(sorted(unknown))}.")
    return {fields[path]: values[path] for path in paths}


def delete_model(call: Call) -> Any:
    """DeleteModel: with all its variations."""
    call.backend.models.delete(_model(call))
    return sdk.ApiDeleteModelResponse()


def delete_variation(call: Call) -> Any:
    """DeleteModelInstance: with all its versions."""
    call.backend.models.delete_variation(*call.backend.models.get_variation(_ref(call)))
    return sdk.ApiDeleteModelResponse()


def delete_version(call: Call) -> Any:
    """DeleteModelInstanceVersion: one version alone."""
    if not call.request.version_number:
        raise ApiError(400, "A version number is required.")
    call.backend.models.delete_version(*_version(call))
    return sdk.ApiDeleteModelResponse()


def _page(call: Call, items: Any) -> tuple[Any, str]:
    page, token = page_of(items, call)
    return page, token or ""


def _aware(moment: Any) -> Any:
    return None if moment is None else moment.replace(tzinfo=UTC)


METHODS: Methods = {
    (_SERVICE, name): Method(request_type, handler)
    for name, request_type, handler in (
        ("CreateModel", sdk.ApiCreateModelRequest, create_model),
        ("CreateModelInstance", sdk.ApiCreateModelInstanceRequest, create_variation),
        ("CreateModelInstanceVersion", sdk.ApiCreateModelInstanceVersionRequest, create_version),
        ("DeleteModel", sdk.ApiDeleteModelRequest, delete_model),
        ("DeleteModelInstance", sdk.ApiDeleteModelInstanceRequest, delete_variation),
        ("DeleteModelInstanceVersion", sdk.ApiDeleteModelInstanceVersionRequest, delete_version),
        ("DownloadModelInstanceVersion", sdk.ApiDownloadModelInstanceVersionRequest, download_version),
        ("GetModel", sdk.ApiGetModelRequest, get_model),
        ("GetModelInstance", sdk.ApiGetModelInstanceRequest, get_variation),
        ("ListModelInstanceVersionFiles", sdk.ApiListModelInstanceVersionFilesRequest, list_files_of_version),
        ("ListModelInstanceVersions", sdk.ApiListModelInstanceVersionsRequest, list_versions),
        ("ListModelInstances", sdk.ApiListModelInstancesRequest, list_variations),
        ("ListModels", sdk.ApiListModelsRequest, list_models),
        ("UpdateModel", sdk.ApiUpdateModelRequest, update_model),
        ("UpdateModelInstance", sdk.ApiUpdateModelInstanceRequest, update_variation),
    )
}
