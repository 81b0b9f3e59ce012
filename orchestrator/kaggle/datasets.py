"""Datasets: their files, their state, and the uploads that make them."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kagglesdk.datasets.types.dataset_api_service import (
    ApiCreateDatasetRequest,
    ApiCreateDatasetVersionRequest,
    ApiCreateDatasetVersionRequestBody,
    ApiDatasetNewFile,
    ApiGetDatasetStatusRequest,
    ApiListDatasetFilesRequest,
)
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus

from orchestrator import untrusted
from orchestrator.errors import ForbiddenError, NotFoundError, RefusedError, ServiceError
from orchestrator.kaggle.answers import next_token
from orchestrator.kaggle.errors import Calls, stated, translated
from orchestrator.kaggle.uploads import Uploads
from orchestrator.models import InputFile
from orchestrator.scrubbing import scrub

PAGE_SIZE = 200
_LENGTHS = range(6, 51)  # Of a dataset's title and slug (client 2.2.4, dataset_create_new).
# Nothing is given away by it. `copyright-authors` would say it better and is documented, but users report
# that the service refuses it.
_LICENSE = "other"
_DESCRIPTION = "Kept by kgtts to continue a training. No licence is given: all rights stay with their owners."


class Datasets:
    """Datasets over HTTP; see `orchestrator.ports.Kaggle` for what the methods do.

    Args:
        call: makes the calls.
        client: the SDK's client.
        service: the address that calls go to.
    """

    def __init__(self, call: Calls, client: Any, service: str) -> None:
        self._call = call
        self._datasets = client.datasets.dataset_api_client
        self._uploads = Uploads(call, client.blobs.blob_api_client, service)

    def files(self, source: str) -> Iterator[InputFile]:
        """List the files of the newest version of the dataset `owner/slug`, page by page as they are used."""
        request = ApiListDatasetFilesRequest()
        request.owner_slug, request.dataset_slug = source.split("/")[:2]
        request.page_size = PAGE_SIZE
        doing, used = f"list the files of the dataset {source}", set[str]()
        while True:
            answer = self._call(doing, lambda: self._datasets.list_dataset_files(request))
            yield from (InputFile(item.name, item.total_bytes) for item in answer.dataset_files or [])
            with translated(doing):
                token = next_token(answer, used)
            if token is None:
                return
            request.page_token = token

    def is_ready(self, source: str) -> bool:
        """Return whether the newest version of a dataset is processed; until then kernels mount the last.

        Raises:
            NotFoundError: there is no such dataset.
            RefusedError: Kaggle could not process it.
        """
        request = ApiGetDatasetStatusRequest()
        request.owner_slug, request.dataset_slug = source.split("/")[:2]
        doing = f"read the status of the dataset {source}"

        def ask() -> DatabundleVersionStatus:
            answer = self._call(doing, lambda: self._datasets.get_dataset_status(request))
            with translated(doing):
                return DatabundleVersionStatus(answer.status)

        status = stated(ask, lambda: self._first_state(source))
        if status is DatabundleVersionStatus.FAILED:
            raise RefusedError(
                f"Kaggle could not process the newest version of the dataset {source}.",
                hint=f"see https://www.kaggle.com/datasets/{source}",
            )
        if status is DatabundleVersionStatus.DELETED:
            raise NotFoundError(f"The dataset {source} was deleted.")
        return status is DatabundleVersionStatus.READY

    def _first_state(self, source: str) -> DatabundleVersionStatus | None:
        """Return the state of a dataset whose state Kaggle leaves out; None unless it lists the dataset."""
        with contextlib.suppress(RefusedError, ServiceError):
            if next(self.files(source), None) is not None:
                return DatabundleVersionStatus.NOT_YET_PERSISTED
        return None

    def upload(self, source: str, title: str, files: Sequence[Path], *, notes: str) -> None:
        """Create the private dataset `owner/slug` from `files`, or a new version with these files only.

        This does what `kaggle datasets create` and `kaggle datasets version` do (2.2.4). An answer of 200 can
        be a refusal here too. Earlier versions stay. Kaggle unpacks archives (.zip, .tar, .gz).

        Raises:
            RefusedError: with Kaggle's own words; or title, slug or file names are not acceptable.
            ServiceError: the upload failed, or there was no answer; then the version may exist.
            LocalError: a file cannot be read.
        """
        owner, slug = source.split("/")[:2]
        _check(source, slug, title, files)
        exists = True
        try:
            self.is_ready(source)
        except (NotFoundError, ForbiddenError):
            # Kaggle may answer 403 for what does not exist. If it does exist, creating it is refused.
            exists = False
        except RefusedError:
            pass  # Kaggle could not process the previous version; it may process this one.
        doing = f"save the dataset {source}"
        try:
            tokens = [_new_file(self._uploads.upload(path)) for path in files]
            if exists:
                version = _version_request(owner, slug, tokens, notes)
                answer = self._call(
                    doing, lambda: self._datasets.create_dataset_version(version), retry=False
                )
            else:
                new = _create_request(owner, slug, title, tokens)
                answer = self._call(doing, lambda: self._datasets.create_dataset(new), retry=False)
        except (NotFoundError, ForbiddenError) as error:
            raise RefusedError(
                error.message, hint="check that the login may write datasets; then `kgtts doctor`"
            ) from error
        with translated(doing):
            error_words, status = untrusted.one_line(scrub(str(answer.error)), 300), answer.status.lower()
        if error_words or status != "ok":
            raise RefusedError(f"Kaggle refused the dataset {source}: {error_words or status or 'no reason'}")


def _check(source: str, slug: str, title: str, files: Sequence[Path]) -> None:
    for what, text in (("title", title), ("name", slug)):
        if len(text) not in _LENGTHS:
            raise RefusedError(
                f"Kaggle does not accept the dataset {source}: its {what} must have 6 to 50 characters, "
                f"and has {len(text)}."
            )
    if not files or len({path.name for path in files}) < len(files):
        raise RefusedError(
            f"Kaggle does not accept the dataset {source}: it has no files, or two with one name."
        )


def _new_file(token: str) -> ApiDatasetNewFile:
    file = ApiDatasetNewFile()
    file.token = token
    return file


def _create_request(owner: str, slug: str, title: str, files: list[ApiDatasetNewFile]) -> Any:
    request = ApiCreateDatasetRequest()
    request.owner_slug, request.slug, request.title = owner, slug, title
    request.license_name, request.description = _LICENSE, _DESCRIPTION
    request.is_private, request.files, request.category_ids = True, files, []
    return request


def _version_request(owner: str, slug: str, files: list[ApiDatasetNewFile], notes: str) -> Any:
    body = ApiCreateDatasetVersionRequestBody()
    body.version_notes, body.files, body.category_ids = notes, files, []
    body.delete_old_versions = False  # A kernel mounts the previous one while this one is processed.
    request = ApiCreateDatasetVersionRequest()
    request.owner_slug, request.dataset_slug, request.body = owner, slug, body
    return request
