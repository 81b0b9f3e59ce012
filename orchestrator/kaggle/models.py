"""Models: their variations and files, what they say of themselves, and the uploads that make versions."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kagglesdk.blobs.types.blob_api_service import ApiBlobType
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus
from kagglesdk.kaggle_object import FieldMask
from kagglesdk.models.types.model_api_service import (
    ApiCreateModelInstanceRequest,
    ApiCreateModelInstanceRequestBody,
    ApiCreateModelInstanceVersionRequest,
    ApiCreateModelInstanceVersionRequestBody,
    ApiCreateModelRequest,
    ApiDeleteModelInstanceRequest,
    ApiDeleteModelInstanceVersionRequest,
    ApiDeleteModelRequest,
    ApiDownloadModelInstanceVersionRequest,
    ApiListModelInstancesRequest,
    ApiListModelInstanceVersionFilesRequest,
    ApiListModelsRequest,
    ApiUpdateModelRequest,
)
from kagglesdk.models.types.model_enums import ModelFramework

from orchestrator import untrusted
from orchestrator.errors import ForbiddenError, NotFoundError, RefusedError, ServiceError, UsageError
from orchestrator.kaggle.errors import Calls
from orchestrator.kaggle.reading import find_archive, read_head
from orchestrator.kaggle.uploads import Uploads, check_names
from orchestrator.models import InputArchive, InputDetails, InputFile, ModelVariation, Sending
from orchestrator.scrubbing import scrub

_PAGE_SIZE = 200
_FRAMEWORK = "MODEL_FRAMEWORK_"
_NOT_FOUND, _CONFLICT = 404, 409
_CHANGED = ["title", "subtitle", "is_private", "description"]  # By an update.
_MODEL_PARTS, _VARIATION_PARTS, _VERSION_PARTS = 2, 4, 5


class Models:
    """Models over HTTP; see `orchestrator.ports.Kaggle` for what the methods do.

    Args:
        call: makes the calls.
        models: the SDK's client of the service.
        uploads: uploads files.
    """

    def __init__(self, call: Calls, models: Any, uploads: Uploads) -> None:
        self._call = call
        self._models = models
        self._uploads = uploads

    def files(self, source: str) -> Iterator[InputFile]:
        """List the files of the model version `owner/model/framework/variation/version`, page by page.

        Raises:
            UsageError: Kaggle has no such framework.
        """
        request = _variation_of(ApiListModelInstanceVersionFilesRequest(), source)
        request.version_number, request.page_size = int(source.split("/")[4]), _PAGE_SIZE
        doing = f"list the files of the model {source}"
        for page in self._call.pages(doing, self._models.list_model_instance_version_files, request):
            yield from (InputFile(item.name, item.size) for item in page.files or [])

    def head(self, source: str, name: str, most: int) -> bytes | None:
        """Return the first bytes of a file of a version; None if there is no such file."""
        request = _variation_of(ApiDownloadModelInstanceVersionRequest(), source)
        request.version_number, request.path = int(source.rpartition("/")[2]), name
        doing = f"read {untrusted.file_name(name)} of the model {source}"
        ask = lambda: self._models.download_model_instance_version(request)  # noqa: E731 - as short as it is.
        return read_head(self._call, doing, ask, name, most)

    def archive(self, source: str) -> InputArchive:
        """Return the archive of all files of a version."""
        request = _variation_of(ApiDownloadModelInstanceVersionRequest(), source)
        request.version_number = int(source.rpartition("/")[2])
        doing = f"download the model {source}"
        ask = lambda: self._models.download_model_instance_version(request)  # noqa: E731 - as short as it is.
        return find_archive(self._call, doing, ask, "archive.tar.gz")

    def mine(self, username: str) -> Sequence[str]:
        """List the account's models, private ones included."""
        request = ApiListModelsRequest()
        request.owner, request.page_size = username, _PAGE_SIZE
        pages = self._call.pages("list your models", self._models.list_models, request)
        return [item.ref for page in pages for item in page.models or []]

    def variations(self, model: str) -> Sequence[ModelVariation]:
        """List the variations of `owner/model`, each with its newest version."""
        request = _model_of(ApiListModelInstancesRequest(), model)
        request.page_size = _PAGE_SIZE
        doing = f"list the variations of the model {model}"
        pages = self._call.pages(doing, self._models.list_model_instances, request)
        return [_described(model, item) for page in pages for item in page.instances or []]

    def create(self, model: str, details: InputDetails) -> None:
        """Create a model without variations.

        Raises:
            RefusedError: it exists, or Kaggle does not accept it.
        """
        request = ApiCreateModelRequest()
        request.owner_slug, request.slug = model.split("/")[:2]
        request.title, request.subtitle = details.title, details.subtitle
        request.is_private, request.description = details.private, details.description
        doing = f"create the model {model}"
        answer = self._call(doing, lambda: self._models.create_model(request), retry=False)
        _check_accepted(doing, answer)

    def update(self, model: str, details: InputDetails) -> None:
        """Replace a model's metadata.

        Raises:
            RefusedError: Kaggle does not accept it.
        """
        request = _model_of(ApiUpdateModelRequest(), model)
        request.title, request.subtitle = details.title, details.subtitle
        request.is_private, request.description = details.private, details.description
        request.update_mask = FieldMask(paths=_CHANGED)
        doing = f"change the metadata of the model {model}"
        answer = self._call(doing, lambda: self._models.update_model(request), retry=False)
        _check_accepted(doing, answer)

    def upload(
        self,
        variation: str,
        files: Mapping[str, Path],
        *,
        notes: str,
        license_name: str,
        sending: Sending,
    ) -> str:
        """Create a version of a variation, which is created if it does not exist; return the version.

        Raises:
            NotFoundError: there is no such model.
            RefusedError: with Kaggle's own words; or a file name is not acceptable.
            ServiceError: the upload failed, or there was no answer; then the version may exist.
            LocalError: a file cannot be read.
        """
        check_names(f"the model {variation}", files)
        doing = f"save a version of the model {variation}"
        before = self._newest(variation)
        try:
            if before is None:
                answer = self._create_variation(doing, variation, files, license_name, sending)
                if answer.error and answer.error_code == _CONFLICT:  # Only the listing did not show it.
                    answer = self._create_version(doing, variation, files, notes, sending)
            else:
                answer = self._create_version(doing, variation, files, notes, sending)
        except (NotFoundError, ForbiddenError) as error:
            raise RefusedError(
                error.message,
                hint="Kaggle also refuses a version while it processes the one before it; if that is not it, "
                "check that the login may write models: `kgtts doctor`",
            ) from error
        _check_accepted(doing, answer)
        self._uploads.forget()
        newest = self._newest(variation)
        if newest is None or newest <= (before or 0):
            raise ServiceError(
                f"A version of the model {variation} was saved, but Kaggle does not show its number yet.",
                hint=f"see https://www.kaggle.com/models/{variation}",
            )
        return f"{variation}/{newest}"

    def delete(self, source: str) -> None:
        """Delete a model, one variation of it, or one version, as far as `source` goes.

        Raises:
            UsageError: it names none of these.
        """
        doing = f"delete the model {source}"
        parts = len(source.split("/"))
        if parts == _MODEL_PARTS:
            model = _model_of(ApiDeleteModelRequest(), source)
            answer = self._call(doing, lambda: self._models.delete_model(model), retry=False)
        elif parts == _VARIATION_PARTS:
            variation = _variation_of(ApiDeleteModelInstanceRequest(), source)
            answer = self._call(doing, lambda: self._models.delete_model_instance(variation), retry=False)
        elif parts == _VERSION_PARTS:
            version = _variation_of(ApiDeleteModelInstanceVersionRequest(), source)
            version.version_number = int(source.rpartition("/")[2])
            answer = self._call(
                doing, lambda: self._models.delete_model_instance_version(version), retry=False
            )
        else:
            raise UsageError(f"{source!r} does not name a model, a variation or a version.")
        _check_accepted(doing, answer)

    def _newest(self, variation: str) -> int | None:
        """Return the number of the newest version; None if the model has no such variation."""
        model = "/".join(variation.split("/")[:2])
        wanted = _plain(variation)
        found = [item for item in self.variations(model) if _plain(item.source) == wanted]
        return found[0].version if found else None

    def _create_variation(
        self, doing: str, variation: str, files: Mapping[str, Path], license_name: str, sending: Sending
    ) -> Any:
        body = ApiCreateModelInstanceRequestBody()
        body.framework, body.instance_slug = _framework(variation.split("/")[2]), variation.split("/")[3]
        body.license_name, body.fine_tunable = license_name, True
        self._uploads.fill(body, files, ApiBlobType.MODEL, sending)
        request = _model_of(ApiCreateModelInstanceRequest(), variation)
        request.body = body
        return self._call(doing, lambda: self._models.create_model_instance(request), retry=False)

    def _create_version(
        self, doing: str, variation: str, files: Mapping[str, Path], notes: str, sending: Sending
    ) -> Any:
        body = ApiCreateModelInstanceVersionRequestBody()
        body.version_notes = notes
        self._uploads.fill(body, files, ApiBlobType.MODEL, sending)
        request = _variation_of(ApiCreateModelInstanceVersionRequest(), variation)
        request.body = body
        return self._call(doing, lambda: self._models.create_model_instance_version(request), retry=False)


def _model_of(request: Any, source: str) -> Any:
    request.owner_slug, request.model_slug = source.split("/")[:2]
    return request


def _variation_of(request: Any, source: str) -> Any:
    framework, request.instance_slug = source.split("/")[2:4]
    request.framework = _framework(framework)
    return _model_of(request, source)


def _described(model: str, item: Any) -> ModelVariation:
    framework = item.framework.name.removeprefix(_FRAMEWORK).replace("_", "").lower()
    # The SDK takes a state that is left out for this one.
    told = item.status is not DatabundleVersionStatus.NOT_YET_PERSISTED
    ready = item.status is DatabundleVersionStatus.READY if told else None
    return ModelVariation(f"{model}/{framework}/{item.slug}", item.version_number, ready)


def _check_accepted(doing: str, answer: Any) -> None:
    """See that an answer of 200 is no refusal.

    Raises:
        NotFoundError, RefusedError: it is one, in Kaggle's words.
    """
    if answer.error:
        words = untrusted.one_line(scrub(str(answer.error)), 300)
        kind = NotFoundError if getattr(answer, "error_code", 0) == _NOT_FOUND else RefusedError
        raise kind(f"Could not {doing}: Kaggle refused it: {words}")


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _framework(name: str) -> ModelFramework:
    """The SDK's member for a framework as it is written in a model's address, such as `transformers`."""
    wanted = _FRAMEWORK + name.replace("-", "").replace("_", "").upper()
    for framework in ModelFramework:
        if framework.name.replace("_", "") == wanted.replace("_", ""):
            return framework
    raise UsageError(
        f"{name!r} is not a model framework that Kaggle knows.", hint="correct inputs.model in kgtts.toml"
    )
