"""The ports of kgtts: what the life of a run needs from Kaggle and from time.

`orchestrator.kaggle.KaggleClient` is the real Kaggle; tests and simulations put another in its place.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from orchestrator.models import (
    InputArchive,
    InputDetails,
    InputFile,
    KernelInfo,
    KernelPush,
    KernelRef,
    LogEvent,
    ModelVariation,
    OutputFile,
    Pushed,
    Quota,
    Sending,
    SessionStatus,
)


class Clock(Protocol):
    """Time as the library sees it, so that nothing has to wait for real."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`."""
        time.sleep(seconds)


class Kaggle(Protocol):
    """What kgtts asks of Kaggle.

    Every method may raise `CredentialsError` (401), `NotFoundError` (404), `ForbiddenError` (403),
    `RefusedError` or `ServiceError`. A 403 says nothing about whether a thing exists: Kaggle answers so for
    what is absent, for what is not yet visible, and now and then for what is there. Reads are retried by the
    implementation, unless `retry=False` says that the caller comes back by itself; what changes something
    (`push`, `cancel_session`, `delete`, and all that makes, changes or deletes datasets and models) is sent
    at most once.
    """

    @property
    def calls(self) -> int:
        """How many calls were made so far; each attempt of a retried call counts."""
        ...

    @property
    def service(self) -> str:
        """The address that calls go to; it separates the emulator's runs from Kaggle's."""
        ...

    @property
    def username(self) -> str:
        """The account that the credentials belong to."""
        ...

    def push(self, push: KernelPush) -> Pushed:
        """Save a new version of a kernel and start its session."""
        ...

    def kernel(self, ref: KernelRef) -> KernelInfo:
        """Describe a kernel with its source, at `ref.version` or at its newest version."""
        ...

    def session_status(self, ref: KernelRef, *, retry: bool = True) -> SessionStatus:
        """The state of the session of `ref.version`, or of the newest one."""
        ...

    def outputs(self, ref: KernelRef) -> Sequence[OutputFile]:
        """Every file that the session left, from all pages of the listing."""
        ...

    def output_file(self, ref: KernelRef, name: str) -> bytes | None:
        """The content of one small output of the session of `ref.version`; None if there is no such file."""
        ...

    def stored_log(self, ref: KernelRef) -> Sequence[LogEvent]:
        """The log of a session that is over; empty while Kaggle has none."""
        ...

    def log_stream(self, ref: KernelRef, *, idle_s: float, retry: bool = True) -> Iterator[LogEvent]:
        """The log from its start, then as it grows; ends when the log does.

        `SilentLogError`: there was no new line for `idle_s` seconds. `ServiceError`: the connection was cut.
        A new call starts at the log's beginning again.
        """
        ...

    def cancel_session(self, session: int) -> None:
        """Ask Kaggle to end a session by the id that the session itself tells in its log.

        The kernel, its versions and what the session saved are kept. Kaggle saves the outputs first, so the
        session is over only some time after this.

        `ForbiddenError`: these credentials may not: it is another account's session, or they are a legacy
        key. `RefusedError`: the session has ended.
        """
        ...

    def delete(self, ref: KernelRef) -> None:
        """Delete the kernel with all its versions and outputs; a running session is stopped by it."""
        ...

    def my_kernels(self) -> Sequence[KernelInfo]:
        """The account's kernels, last run first."""
        ...

    def quota(self) -> Quota | None:
        """The week's GPU hours; None if Kaggle reports none."""
        ...

    def dataset_files(self, source: str) -> Iterator[InputFile]:
        """The files of the newest version of the dataset `owner/slug`, page by page as they are asked for.

        That version may still be in preparation (`dataset_ready`); whether Kaggle then lists it already, or
        the one before, is not documented. `NotFoundError`: there is no such dataset.
        """
        ...

    def dataset_ready(self, source: str) -> bool:
        """Whether the newest version of a dataset is processed; until then a kernel mounts the one before.

        `NotFoundError`: there is no such dataset. `RefusedError`: Kaggle could not process the version.
        """
        ...

    def upload_dataset(
        self,
        source: str,
        details: InputDetails,
        files: Mapping[str, Path],
        *,
        notes: str,
        sending: Sending | None = None,
    ) -> None:
        """Make the private dataset `owner/slug` of `files`, or a new version that holds these and no others.

        Each file has its name, with `/` for folders; the last part is that of the file itself. A dataset
        keeps the details that it was made with (`update_dataset` changes them); `notes` describe the version.
        After a `ServiceError`, `dataset_files` tells whether the version was made.
        """
        ...

    def my_datasets(self) -> Sequence[str]:
        """The account's datasets, private ones included, as `owner/slug`."""
        ...

    def dataset_details(self, source: str) -> InputDetails:
        """The metadata of the dataset `owner/slug`."""
        ...

    def update_dataset(self, source: str, details: InputDetails) -> None:
        """Replace a dataset's metadata. `RefusedError`: Kaggle does not accept it; with Kaggle's reason."""
        ...

    def delete_dataset(self, source: str) -> None:
        """Delete the dataset `owner/slug` with all its versions."""
        ...

    def my_models(self) -> Sequence[str]:
        """The account's models, private ones included, as `owner/model`."""
        ...

    def model_variations(self, model: str) -> Sequence[ModelVariation]:
        """The variations of `owner/model`, each with its newest version. A version that was made is here."""
        ...

    def create_model(self, model: str, details: InputDetails) -> None:
        """Make the model `owner/model`, without variations. `RefusedError`: it exists, or is not accepted."""
        ...

    def update_model(self, model: str, details: InputDetails) -> None:
        """Replace a model's metadata."""
        ...

    def upload_model(
        self,
        variation: str,
        files: Mapping[str, Path],
        *,
        notes: str,
        license_name: str,
        sending: Sending | None = None,
    ) -> str:
        """Make a version of `owner/model/framework/variation` that holds `files` and no others.

        The variation is made, with this licence, if the model has none of that name; later versions keep its
        licence. Returns the version, `owner/model/framework/variation/N`. `NotFoundError`: there is no such
        model. After a `ServiceError`, `model_variations` tells whether the version was made.
        """
        ...

    def delete_model(self, source: str) -> None:
        """Delete a model (`owner/model`), one variation of it, or one version, as far as `source` goes."""
        ...

    def dataset_head(self, source: str, name: str, most: int) -> bytes | None:
        """The first bytes of one file of a dataset's newest version, `most` at most; None if it has none."""
        ...

    def model_head(self, source: str, name: str, most: int) -> bytes | None:
        """The same of a model version, `owner/model/framework/variation/version`."""
        ...

    def dataset_archive(self, source: str) -> InputArchive:
        """A ZIP archive of the newest version of the dataset `owner/slug`, to download.

        `NotFoundError`, `ForbiddenError`: there is no such dataset, or it is not yours to see.
        """
        ...

    def model_archive(self, source: str) -> InputArchive:
        """A tar archive of the model version `owner/model/framework/variation/version`, to download."""
        ...

    def model_files(self, source: str) -> Iterator[InputFile]:
        """The files of the model version `owner/model/framework/variation/version`."""
        ...
