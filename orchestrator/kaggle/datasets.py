"""Datasets: their files, their state, what they say of themselves, and the uploads that make them."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kagglesdk.blobs.types.blob_api_service import ApiBlobType
from kagglesdk.datasets.types.dataset_api_service import (
    ApiCreateDatasetRequest,
    ApiCreateDatasetVersionRequest,
    ApiCreateDatasetVersionRequestBody,
    ApiDeleteDatasetRequest,
    ApiDownloadDatasetRequest,
    ApiGetDatasetMetadataRequest,
    ApiGetDatasetStatusRequest,
    ApiListDatasetFilesRequest,
    ApiListDatasetsRequest,
    ApiUpdateDatasetMetadataRequest,
)
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus, DatasetSelectionGroup
from kagglesdk.datasets.types.dataset_types import DatasetSettings, SettingsLicense

from orchestrator import untrusted
from orchestrator.errors import ForbiddenError, NotFoundError, RefusedError, ServiceError
from orchestrator.kaggle.errors import Calls, refusal_hint, stated, translated
from orchestrator.kaggle.reading import find_archive, read_head
from orchestrator.kaggle.uploads import Uploads, check_names
from orchestrator.models import InputArchive, InputDetails, InputFile, Sending
from orchestrator.scrubbing import scrub

PAGE_SIZE = 200
_LENGTHS = range(6, 51)  # Of a dataset's title and slug (client 2.2.4, dataset_create_new).


class Datasets:
    """Datasets over HTTP; see `orchestrator.ports.Kaggle` for what the methods do.

    Args:
        call: makes the calls.
        datasets: the SDK's client of the service.
        uploads: uploads files.
    """

    def __init__(self, call: Calls, datasets: Any, uploads: Uploads) -> None:
        self._call = call
        self._datasets = datasets
        self._uploads = uploads

    def files(self, source: str) -> Iterator[InputFile]:
        """List the files of the newest version of the dataset `owner/slug`, page by page as they are used."""
        request = _addressed(ApiListDatasetFilesRequest(), source)
        request.page_size = PAGE_SIZE
        doing = f"list the files of the dataset {source}"
        for page in self._call.pages(doing, self._datasets.list_dataset_files, request):
            yield from (InputFile(item.name, item.total_bytes) for item in page.dataset_files or [])

    def head(self, source: str, name: str, most: int) -> bytes | None:
        """Return the first bytes of a file; None if there is no such file."""
        request = _addressed(ApiDownloadDatasetRequest(), source)
        request.file_name = name
        doing = f"read {untrusted.file_name(name)} of the dataset {source}"
        return read_head(self._call, doing, lambda: self._datasets.download_dataset(request), name, most)

    def archive(self, source: str) -> InputArchive:
        """Return the archive of all files of the newest version."""
        request = _addressed(ApiDownloadDatasetRequest(), source)
        doing = f"download the dataset {source}"
        return find_archive(
            self._call, doing, lambda: self._datasets.download_dataset(request), "archive.zip"
        )

    def mine(self) -> list[str]:
        """List the account's datasets, private ones included."""
        request = ApiListDatasetsRequest()
        request.group, request.page_size = DatasetSelectionGroup.DATASET_SELECTION_GROUP_MY, PAGE_SIZE
        pages = self._call.pages("list your datasets", self._datasets.list_datasets, request)
        return [item.ref for page in pages for item in page.datasets or []]

    def is_ready(self, source: str) -> bool:
        """Return whether the newest version of a dataset is processed; until then kernels mount the last.

        Raises:
            NotFoundError: there is no such dataset.
            RefusedError: Kaggle could not process it.
        """
        request = _addressed(ApiGetDatasetStatusRequest(), source)
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

    def details(self, source: str) -> InputDetails:
        """Return a dataset's metadata."""
        info = self._info(source)
        with translated(f"read the metadata of the dataset {source}"):
            return InputDetails(
                info.title or "",
                private=info.is_private,
                subtitle=info.subtitle or "",
                description=info.description or "",
                license=next((item.name for item in info.licenses or []), ""),
                keywords=tuple(info.keywords or ()),
            )

    def update(self, source: str, details: InputDetails) -> None:
        """Replace a dataset's metadata.

        Kaggle replaces the rest too (collaborators, files' descriptions, sources): it is read and sent back.

        Raises:
            RefusedError: Kaggle does not accept it.
        """
        info = self._info(source)
        doing = f"change the metadata of the dataset {source}"
        settings = DatasetSettings()
        with translated(doing):
            settings.title, settings.subtitle = details.title, details.subtitle
            settings.description, settings.is_private = details.description, details.private
            settings.keywords, settings.licenses = list(details.keywords), info.licenses
            settings.collaborators, settings.data = info.collaborators, info.data
            settings.expected_update_frequency = info.expected_update_frequency
            settings.user_specified_sources = info.user_specified_sources
        if details.license:
            licence = SettingsLicense()
            licence.name = details.license
            settings.licenses = [licence]
        request = _addressed(ApiUpdateDatasetMetadataRequest(), source)
        request.settings = settings
        answer = self._call(doing, lambda: self._datasets.update_dataset_metadata(request), retry=False)
        if answer.errors:
            raise RefusedError(f"Could not {doing}: {_words(' '.join(map(str, answer.errors)))}")

    def _info(self, source: str) -> Any:
        request = _addressed(ApiGetDatasetMetadataRequest(), source)
        doing = f"read the metadata of the dataset {source}"
        answer = self._call(doing, lambda: self._datasets.get_dataset_metadata(request))
        if answer.error_message:
            raise RefusedError(f"Could not {doing}: {_words(answer.error_message)}")
        return answer.info

    def delete(self, source: str) -> None:
        """Delete a dataset with all its versions."""
        request = _addressed(ApiDeleteDatasetRequest(), source)
        doing = f"delete the dataset {source}"
        answer = self._call(doing, lambda: self._datasets.delete_dataset(request), retry=False)
        if answer.error:
            raise RefusedError(f"Could not {doing}: {_words(answer.error)}")

    def upload(
        self,
        source: str,
        details: InputDetails,
        files: Mapping[str, Path],
        *,
        notes: str,
        sending: Sending,
    ) -> None:
        """Create a dataset, or a new version with these files only.

        This does what `kaggle datasets create` and `kaggle datasets version` do (2.2.4), and keeps folders as
        kagglehub does. An answer of 200 can be a refusal here too. Earlier versions stay. Kaggle unpacks
        archives (.zip, .tar, .gz).

        Raises:
            RefusedError: with Kaggle's own words; or title, slug or file names are not acceptable.
            ForbiddenError: 403 or 404, which a later try may not meet.
            ServiceError: the upload failed, or there was no answer; then the version may exist.
            LocalError: a file cannot be read.
        """
        _check(source, details, files)
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
            if exists:
                version = _version_request(source, notes)
                self._uploads.fill(version.body, files, ApiBlobType.DATASET, sending)
                answer = self._call(
                    doing, lambda: self._datasets.create_dataset_version(version), retry=False
                )
            else:
                new = _create_request(source, details)
                self._uploads.fill(new, files, ApiBlobType.DATASET, sending)
                answer = self._call(doing, lambda: self._datasets.create_dataset(new), retry=False)
        except (NotFoundError, ForbiddenError) as error:
            raise ForbiddenError(
                error.message,
                hint="Kaggle also refuses a version while it processes the one before it; if that is not it, "
                "check that the login may write datasets: `kgtts doctor`",
            ) from error
        with translated(doing):
            error_words, status = _words(answer.error), answer.status.lower()
        if error_words or status != "ok":
            raise RefusedError(
                f"Kaggle refused the dataset {source}: {error_words or status or 'no reason'}",
                hint=refusal_hint(error_words),
            )
        self._uploads.forget()


def _words(text: object) -> str:
    return untrusted.one_line(scrub(str(text or "")), 300)


def _addressed(request: Any, source: str) -> Any:
    request.owner_slug, request.dataset_slug = source.split("/")[:2]
    return request


def _check(source: str, details: InputDetails, files: Mapping[str, Path]) -> None:
    what = f"the dataset {source}"
    for name, text in (("title", details.title), ("name", source.split("/")[1])):
        if len(text) not in _LENGTHS:
            raise RefusedError(
                f"Kaggle does not accept {what}: its {name} must have 6 to 50 characters, "
                f"and has {len(text)}."
            )
    check_names(what, files)


def _create_request(source: str, details: InputDetails) -> Any:
    request = ApiCreateDatasetRequest()
    request.owner_slug, request.slug = source.split("/")[:2]
    request.title, request.description = details.title, details.description
    request.license_name, request.is_private, request.category_ids = details.license, True, []
    return request


def _version_request(source: str, notes: str) -> Any:
    body = ApiCreateDatasetVersionRequestBody()
    body.version_notes, body.category_ids = notes, []
    body.delete_old_versions = False  # A kernel mounts the previous one while this one is processed.
    request = _addressed(ApiCreateDatasetVersionRequest(), source)
    request.body = body
    return request
