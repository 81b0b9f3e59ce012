"""The `Kaggle` port over HTTP, through the typed SDK below the official client."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from kagglesdk.kaggle_client import KaggleClient as SdkClient
from kagglesdk.kaggle_env import KaggleEnv
from kagglesdk.kaggle_http_client import KaggleHttpClient
from kagglesdk.kernels.types.kernels_api_service import (
    ApiCancelKernelSessionRequest,
    ApiDeleteKernelRequest,
    ApiDownloadKernelOutputRequest,
    ApiGetKernelRequest,
    ApiGetKernelSessionStatusRequest,
    ApiListKernelSessionOutputRequest,
    ApiListKernelsRequest,
)
from kagglesdk.kernels.types.kernels_enums import KernelsListSortType, KernelsListViewType
from kagglesdk.security.types.oauth_service import IntrospectTokenRequest

from orchestrator import untrusted
from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    NotFoundError,
    OddAnswerError,
    RefusedError,
    ServiceError,
)
from orchestrator.kaggle.answers import AnswerError, ApiSession, read_answer
from orchestrator.kaggle.auth import CredentialKind, Credentials
from orchestrator.kaggle.datasets import Datasets
from orchestrator.kaggle.errors import CORRECT_HINT, Calls, refusal_hint, stated, translated
from orchestrator.kaggle.kernels import (
    addressed,
    check_push,
    kernel_info,
    listed_ref,
    ref_of,
    save_request,
    utc,
)
from orchestrator.kaggle.log_stream import open_stream, read_stream
from orchestrator.kaggle.logs import parse_stored_log
from orchestrator.kaggle.models import Models
from orchestrator.kaggle.oauth import OAuthLogin
from orchestrator.kaggle.uploads import Uploads
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
    SessionState,
    SessionStatus,
)
from orchestrator.scrubbing import scrub

_PAGE_SIZE = 200
_LONGEST_QUOTA = timedelta(days=3650)
_SMALL_FILE = 16 << 20


def log_in(credentials: Credentials, url: str, home: Path) -> "KaggleClient":
    """Return a client with these credentials and no others; `home` holds the file of an OAuth login.

    Raises:
        CredentialsError: the file of an OAuth login has none.
    """
    sdk = SdkClient(KaggleEnv.PROD)
    http = sdk.http_client()
    http._signed_in = True  # noqa: SLF001  # Or it would look for credentials by itself.
    session = ApiSession()
    session.headers.update({"User-Agent": http._user_agent, "Content-Type": "application/json"})  # noqa: SLF001
    http._session = session  # noqa: SLF001  # The SDK's own has no time-outs and reads ~/.netrc.
    http._prepare_response = read_answer  # noqa: SLF001  # See there.
    if credentials.kind is CredentialKind.OAUTH:
        login = OAuthLogin(sdk, home)
        session.auth = login
        return KaggleClient(sdk, login.username, url, Calls(login.renew))
    if credentials.kind is CredentialKind.API_KEY:
        session.auth = (credentials.username or "", credentials.secret)
    else:
        session.auth = KaggleHttpClient.BearerAuth(credentials.secret)
    return KaggleClient(sdk, credentials.username, url, Calls())


class KaggleClient:
    """The `Kaggle` port over HTTP; see `orchestrator.ports.Kaggle`. Reads are retried, pushes are not."""

    def __init__(self, client: Any, username: str | None, service: str, call: Calls) -> None:
        self._http = client.http_client()
        self._kernels = client.kernels.kernels_api_client
        self._oauth = client.security.oauth_client
        self._username = username
        self._service = service
        self._call = call
        self._sdk = client
        uploads = Uploads(self._call, client.blobs.blob_api_client, service)
        self._datasets = Datasets(self._call, client.datasets.dataset_api_client, uploads)
        self._models = Models(self._call, client.models.model_api_client, uploads)

    @property
    def calls(self) -> int:
        """The number of calls so far; each attempt counts."""
        return self._call.count

    @property
    def service(self) -> str:
        """The address that calls go to."""
        return self._service

    @property
    def username(self) -> str:
        """The account that the credentials belong to; Kaggle is asked once if only a token is known."""
        if self._username is None:
            request = IntrospectTokenRequest()
            request.token = self._http._session.auth.token  # noqa: SLF001
            answer = self._call("ask whose token it is", lambda: self._oauth.introspect_token(request))
            if not answer.active or not answer.username:
                raise CredentialsError(
                    "Kaggle does not accept the access token: it is wrong or has expired.",
                    hint="make a new one at https://www.kaggle.com/settings/api; then `kgtts doctor`",
                )
            self._username = str(answer.username)
        return self._username

    def close(self) -> None:
        """Close the connections."""
        self._http._session.close()  # noqa: SLF001

    def push(self, push: KernelPush) -> Pushed:
        """Save a new version of a kernel, which starts its session.

        An answer of 200 can be a refusal too: its body has an `error`, or sources that Kaggle calls invalid.

        Raises:
            UsageError: Kaggle would not take it; nothing was sent.
            RefusedError: with Kaggle's own words; if a source is unknown, the version exists nevertheless.
            ServiceError: there was no answer; the push may have arrived.
        """
        check_push(push)
        answer = self._call(
            f"push {push.ref}",
            lambda: self._kernels.save_kernel(save_request(push)),
            retry=False,
            pushing=str(push.ref),
        )
        if answer.error:
            words = untrusted.one_line(scrub(str(answer.error)), 300)
            raise RefusedError(
                f"Kaggle refused {push.ref}: {words}",
                hint=refusal_hint(words, CORRECT_HINT, str(push.ref)),
            )
        with translated(f"push {push.ref}"):
            ref = ref_of(answer.ref or answer.url, push.ref)
            pushed = Pushed(ref.at(int(answer.version_number)), untrusted.text(answer.url) or "")
        unknown = {
            "dataset": answer.invalid_dataset_sources,
            "model": answer.invalid_model_sources,
            "kernel": answer.invalid_kernel_sources,
            "competition": answer.invalid_competition_sources,
        }
        if any(unknown.values()):
            listed = "; ".join(
                f"{kind} {untrusted.one_line(', '.join(map(str, names)), 300)}"
                for kind, names in unknown.items()
                if names
            )
            raise RefusedError(
                f"Kaggle saved {pushed.ref} without sources that it does not have or show you: {listed}.",
                hint="correct [inputs] in kgtts.toml, check with `kgtts doctor`; this version cannot train: "
                f"`kgtts stop {ref}` stops it",
            )
        return pushed

    def kernel(self, ref: KernelRef) -> KernelInfo:
        """Describe a kernel with its source, at `ref.version` or at its newest version."""
        doing = f"read the kernel {ref}"
        answer = self._call(doing, lambda: self._kernels.get_kernel(addressed(ApiGetKernelRequest(), ref)))
        with translated(doing):
            return kernel_info(answer.metadata, ref.kernel, answer.blob.source if answer.blob else None)

    def session_status(self, ref: KernelRef, *, retry: bool = True) -> SessionStatus:
        """Return the state of the session of `ref.version`, or of the newest one.

        An answer without a state means QUEUED if it comes twice, and Kaggle shows the version as the newest.
        """
        return stated(
            lambda: self._status(ref, retry=retry),
            lambda: SessionStatus(SessionState.QUEUED) if self._is_newest(ref) else None,
        )

    def _status(self, ref: KernelRef, *, retry: bool) -> SessionStatus:
        doing = f"read the status of {ref}"

        def ask(asked: KernelRef) -> SessionStatus:
            request = addressed(ApiGetKernelSessionStatusRequest(), asked)
            answer = self._call(doing, lambda: self._kernels.get_kernel_session_status(request), retry=retry)
            with translated(doing):
                message = untrusted.text(answer.failure_message) or None
                return SessionStatus(SessionState(answer.status.name.lower()), message)

        try:
            return ask(ref)
        except RefusedError as error:
            # Reports contradict each other on whether Kaggle takes a version here, or refuses it (400).
            if ref.version is None or isinstance(error, NotFoundError | ForbiddenError):
                raise
        status = ask(ref.kernel)
        if not self._shows_results(ref) and status.state.is_terminal:
            raise OddAnswerError(
                f"Could not {doing}: Kaggle says only that a session of {ref.kernel} has ended, and shows "
                "neither log nor outputs of this one.",
                hint="try again in a minute",
            )
        return status

    def _shows_results(self, ref: KernelRef) -> bool:
        """Return whether a version, the newest of its kernel with a session, shows a log or outputs.

        Raises:
            NotFoundError: the version has no session. OddAnswerError: a newer one has, or may have.
        """
        version = ref.version or 0
        newest = max(version, self.kernel(ref.kernel).latest_version or 0)
        with contextlib.suppress(NotFoundError, ForbiddenError):  # The answer may be one version behind.
            self.kernel(ref.kernel.at(newest + 1))
            newest += 1
        for number in range(newest, version, -1):
            with contextlib.suppress(NotFoundError):  # It was saved, and never run.
                next(self._output_pages(ref.kernel.at(number), 1))
                raise OddAnswerError(
                    f"Could not read the status of {ref}: Kaggle says only that of the newest session of "
                    f"{ref.kernel}, which is version {number}.",
                    hint=f"see it on its page: kgtts open {ref}",
                )
        page = next(self._output_pages(ref, 1))
        return bool(page.log or page.files)

    def _is_newest(self, ref: KernelRef) -> bool:
        """Return whether Kaggle shows a version, or any of a kernel, as the newest."""
        with contextlib.suppress(RefusedError, ServiceError):
            newest = self.kernel(ref.kernel).latest_version
            return newest is not None and ref.version in (None, newest)
        return False

    def outputs(self, ref: KernelRef) -> Sequence[OutputFile]:
        """List every file that the session left, with signed URLs."""
        return [
            OutputFile(item.file_name or "", item.url or "")
            for page in self._output_pages(ref, _PAGE_SIZE)
            for item in page.files or []
        ]

    def output_file(self, ref: KernelRef, name: str) -> bytes | None:
        """Return the content of one small output of the session of `ref.version`; None if it does not exist.

        Raises:
            ServiceError: also if the file is larger than 16 MB.
        """
        request = ApiDownloadKernelOutputRequest()
        request.owner_slug, request.kernel_slug, request.file_path = ref.owner, ref.slug, name
        if ref.version is not None:
            request.version_number = ref.version
        doing = f"read {name} of {ref}"

        def read() -> bytes:
            with contextlib.closing(self._kernels.download_kernel_output(request)) as response:
                return bytes(response.raw.read(_SMALL_FILE + 1, decode_content=True))

        try:
            content = self._call(doing, read)
        except NotFoundError:
            return None
        if len(content) > _SMALL_FILE:
            raise ServiceError(f"Could not {doing}: it is larger than {_SMALL_FILE >> 20} MB.")
        return content

    def stored_log(self, ref: KernelRef) -> Sequence[LogEvent]:
        """Return the log of a session that has ended; empty if Kaggle has none."""
        return parse_stored_log(next(self._output_pages(ref, 1)).log or "")

    def log_stream(self, ref: KernelRef, *, idle_s: float, retry: bool = True) -> Iterator[LogEvent]:
        """Yield the log from its start, then as it grows, until the server says that it is complete.

        `retry` concerns the connection only; each call begins at the start of the log.

        Raises:
            SilentLogError: nothing came for `idle_s` seconds.
            ServiceError: the connection broke.
        """
        base = self._http._endpoint  # noqa: SLF001  # As the official `kernels_logs_stream` builds it.
        query = f"?versionLabel={ref.version_label}" if ref.version else ""
        url = f"{base}/v1/kernels/logs/stream/{ref.owner}/{ref.slug}{query}"
        session = self._http._session  # noqa: SLF001
        response = self._call(f"read the log of {ref}", lambda: open_stream(session, url), retry=retry)
        with contextlib.closing(response):
            yield from read_stream(response, ref, idle_s=idle_s)

    def cancel_session(self, session: int) -> None:
        """Ask Kaggle to end a session; its kernel and its outputs are kept.

        Raises:
            ForbiddenError: these credentials may not. RefusedError: the session has ended.
        """
        request = ApiCancelKernelSessionRequest()
        request.kernel_session_id = session
        doing = f"stop the session {session}"
        answer = self._call(doing, lambda: self._kernels.cancel_kernel_session(request), retry=False)
        if answer.error_message:
            words = untrusted.one_line(scrub(str(answer.error_message)), 300)
            raise RefusedError(f"Kaggle refused to {doing}: {words}")

    def delete(self, ref: KernelRef) -> None:
        """Delete the kernel with all its versions and outputs; this stops a running session."""
        request = ApiDeleteKernelRequest()
        request.user_name, request.kernel_slug = ref.owner, ref.slug
        answer = self._call(f"delete {ref}", lambda: self._kernels.delete_kernel(request), retry=False)
        if answer.error_message:
            words = untrusted.one_line(scrub(str(answer.error_message)), 300)
            raise RefusedError(f"Kaggle refused to delete {ref}: {words}")

    def my_kernels(self) -> Sequence[KernelInfo]:
        """List the account's kernels, the one that ran last first, without half-made ones."""
        request = ApiListKernelsRequest()
        request.group, request.sort_by = KernelsListViewType.PROFILE, KernelsListSortType.DATE_RUN
        request.page_size = 100
        kernels: list[KernelInfo] = []
        for page in self._call.pages("list your kernels", self._kernels.list_kernels, request):
            with translated("list your kernels"):
                named = [item for item in page.kernels or [] if item.ref]
                kernels += [kernel_info(item, listed_ref(item), None) for item in named]
        return kernels

    def quota(self) -> Quota | None:
        """Return the week's GPU hours; None if Kaggle reports none."""
        answer = self._call("read the quota", self._kernels.get_accelerator_quota_statistics)
        with translated("read the quota"):
            gpu = answer.gpu_quota
            if gpu is None or gpu.total_time_allowed is None:
                return None
            times = [gpu.time_used, gpu.time_reserved, gpu.total_time_allowed]
            if any(time is not None and not timedelta(0) <= time <= _LONGEST_QUOTA for time in times):
                raise AnswerError("has a quota that is negative or longer than ten years")
            used, reserved, allowed = (time or timedelta(0) for time in times)
            return Quota(used, reserved, allowed, utc(answer.quota_refresh_time))

    def dataset_files(self, source: str) -> Iterator[InputFile]:
        """List the files of the newest version of the dataset `owner/slug`, page by page as they are used."""
        return self._datasets.files(source)

    def dataset_ready(self, source: str) -> bool:
        """Return whether the newest version of a dataset is processed; until then kernels mount the last."""
        return self._datasets.is_ready(source)

    def upload_dataset(
        self,
        source: str,
        details: InputDetails,
        files: Mapping[str, Path],
        *,
        notes: str,
        sending: Sending | None = None,
    ) -> None:
        """Create the private dataset `owner/slug` from `files`, or a new version with these files only."""
        self._datasets.upload(source, details, files, notes=notes, sending=sending or Sending())

    def my_datasets(self) -> Sequence[str]:
        """List the account's datasets."""
        return self._datasets.mine()

    def dataset_details(self, source: str) -> InputDetails:
        """Return a dataset's metadata."""
        return self._datasets.details(source)

    def update_dataset(self, source: str, details: InputDetails) -> None:
        """Replace a dataset's metadata."""
        self._datasets.update(source, details)

    def delete_dataset(self, source: str) -> None:
        """Delete a dataset with all its versions."""
        self._datasets.delete(source)

    def model_files(self, source: str) -> Iterator[InputFile]:
        """List the files of the model version `owner/model/framework/variation/version`."""
        return self._models.files(source)

    def dataset_head(self, source: str, name: str, most: int) -> bytes | None:
        """Return the first bytes of a file of a dataset's newest version; None if it has none."""
        return self._datasets.head(source, name, most)

    def model_head(self, source: str, name: str, most: int) -> bytes | None:
        """Return the first bytes of a file of a model version; None if it has none."""
        return self._models.head(source, name, most)

    def dataset_archive(self, source: str) -> InputArchive:
        """Return a ZIP archive of a dataset's newest version, to download."""
        return self._datasets.archive(source)

    def model_archive(self, source: str) -> InputArchive:
        """Return a tar archive of a model version, to download."""
        return self._models.archive(source)

    def my_models(self) -> Sequence[str]:
        """List the account's models."""
        return self._models.mine(self.username)

    def model_variations(self, model: str) -> Sequence[ModelVariation]:
        """List the variations of `owner/model`, each with its newest version."""
        return self._models.variations(model)

    def create_model(self, model: str, details: InputDetails) -> None:
        """Create a model without variations."""
        self._models.create(model, details)

    def update_model(self, model: str, details: InputDetails) -> None:
        """Replace a model's metadata."""
        self._models.update(model, details)

    def upload_model(
        self,
        variation: str,
        files: Mapping[str, Path],
        *,
        notes: str,
        license_name: str,
        sending: Sending | None = None,
    ) -> str:
        """Create a version of a variation, which is created if it does not exist; return the version."""
        used = sending or Sending()
        return self._models.upload(variation, files, notes=notes, license_name=license_name, sending=used)

    def delete_model(self, source: str) -> None:
        """Delete a model, one variation of it, or one version."""
        self._models.delete(source)

    def _output_pages(self, ref: KernelRef, page_size: int) -> Iterator[Any]:
        request = addressed(ApiListKernelSessionOutputRequest(), ref)
        request.page_size = page_size
        return self._call.pages(
            f"list the outputs of {ref}", self._kernels.list_kernel_session_output, request
        )
