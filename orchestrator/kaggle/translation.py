"""Between the official client's words and ours: failures, requests and answers."""

import contextlib
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from kagglesdk.kernels.types.kernels_api_service import ApiSaveKernelRequest
from kagglesdk.models.types.model_enums import ModelFramework

from orchestrator import untrusted
from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    KgttsError,
    NotFoundError,
    RefusedError,
    ServiceError,
    UsageError,
)
from orchestrator.kaggle.connection import URL_VARIABLE
from orchestrator.models import KernelInfo, KernelPush, KernelRef

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
_LONGEST_RETRY_AFTER_S = 45.0
# An answer whose body breaks off shows as one of requests' own errors or, read piece by piece, of urllib3's.
_BODY_BROKEN = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.HTTPError,
)
_BROKEN = (requests.ConnectionError, requests.Timeout, *_BODY_BROKEN)


def retry_delay(error: Exception) -> bool | float:
    """Whether a read is worth another try: drops, 429 and 5xx, after the seconds that these ask for."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        if status == requests.codes.too_many_requests or status >= requests.codes.internal_server_error:
            wanted = untrusted.retry_after(error.response.headers)
            return True if wanted is None else min(wanted, _LONGEST_RETRY_AFTER_S)
        return False
    return isinstance(error, _BROKEN)


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what the official client raises into our errors; `doing` completes "could not …"."""
    try:
        yield
    except KgttsError:
        raise
    except requests.HTTPError as error:
        raise _http_error(doing, error) from error
    except requests.Timeout as error:
        raise ServiceError(f"Could not {doing}: Kaggle did not answer in time.", hint="try again") from error
    except requests.ConnectionError as error:
        host = (
            urlsplit(error.request.url).netloc
            if error.request is not None and error.request.url
            else "Kaggle"
        )
        raise ServiceError(
            f"Could not {doing}: no connection to {host}.", hint="check the network, then try again"
        ) from error
    except _BODY_BROKEN as error:
        raise ServiceError(f"Could not {doing}: the answer broke off.", hint="try again") from error
    # The SDK takes an answer for what it should be: another one shows as any of these.
    except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ServiceError(
            f"Could not {doing}: the answer is not one of Kaggle's ({type(error).__name__}: {error}).",
            hint=f"try again; check {URL_VARIABLE} if it is set",
        ) from error


def _http_error(doing: str, error: Any) -> KgttsError:
    status = error.response.status_code if error.response is not None else 0
    wait_s = untrusted.retry_after(error.response.headers) if error.response is not None else None
    words = _kaggles_words(error)
    said = f" Kaggle says: {words}" if words else ""
    match status:
        case 401:
            return CredentialsError(
                f"Could not {doing}: Kaggle does not accept the credentials (401).{said}",
                hint="make a new token at https://www.kaggle.com/settings/api; then `kgtts doctor`",
            )
        case 403:
            return ForbiddenError(
                f"Could not {doing}: it does not exist, or is not yours to see ({status}).{said}",
                hint="check owner and name; `kgtts doctor` checks the inputs, `kgtts list` shows your runs",
            )
        case 404:
            return NotFoundError(
                f"Could not {doing}: it does not exist, or is not yours to see ({status}).{said}",
                hint="check owner and name; `kgtts doctor` checks the inputs, `kgtts list` shows your runs",
            )
        case 429:
            return ServiceError(
                f"Could not {doing}: Kaggle asks for fewer calls (429).{said}",
                hint=f"try again in {math.ceil(wait_s)} seconds" if wait_s else "try again in some minutes",
                retry_after_s=wait_s,
            )
        case _ if status >= 500:  # noqa: PLR2004  # The class of HTTP status codes that are the server's fault.
            return ServiceError(
                f"Could not {doing}: Kaggle failed ({status}).{said}",
                hint="try again later",
                retry_after_s=wait_s,
            )
        case _:
            return RefusedError(f"Could not {doing}: Kaggle refused ({status}).{said}")


def _kaggles_words(error: Any) -> str:
    """The `message` of an error body, one line of it."""
    answer = untrusted.json_object(error.response.text if error.response is not None else None) or {}
    return untrusted.text(answer.get("message"), 300) or ""


def refusal_hint(words: str) -> str:
    """The next step after a refusal, from Kaggle's own words."""
    lowered = words.lower()
    if "session count" in lowered:
        return "wait for a running session to end (`kgtts list`), or stop one with `kgtts cancel`"
    if "quota" in lowered:
        return "see `kgtts quota` for what is left and when it refreshes"
    if "title" in lowered or "slug" in lowered:
        return "correct kernel.slug and kernel.title in kgtts.toml"
    return "correct kgtts.toml, then `kgtts push` again"


def save_request(push: KernelPush) -> Any:
    """The request of a push."""
    request = ApiSaveKernelRequest()
    request.slug, request.new_title, request.text = str(push.ref.kernel), push.title, push.source
    request.language, request.kernel_type = "python", "script"
    request.is_private, request.enable_internet = push.private, push.internet
    request.enable_gpu, request.enable_tpu = push.accelerator is not None, False
    request.machine_shape = push.accelerator
    request.dataset_data_sources = list(push.dataset_sources)
    request.model_data_sources = list(push.model_sources)
    request.kernel_data_sources = list(push.kernel_sources)
    request.competition_data_sources, request.category_ids = [], []
    request.docker_image, request.docker_image_pinning_type = push.docker_image, push.docker_image_pinning
    request.session_timeout_seconds = push.session_timeout_s
    return request


def addressed(request: Any, ref: KernelRef) -> Any:
    """Put owner, slug and version into a request that asks about a kernel."""
    request.user_name, request.kernel_slug = ref.owner, ref.slug
    if ref.version is not None:
        request.version_label = ref.version_label
    return request


def ref_of(text: str, default: KernelRef) -> KernelRef:
    """The kernel that an answer names; Kaggle writes it as `/code/owner/slug` or as an address."""
    parts = [part for part in urlsplit(text or "").path.split("/") if part and part != "code"]
    if len(parts) < 2:  # noqa: PLR2004  # Owner and slug.
        return default.kernel
    try:
        return KernelRef.parse(f"{parts[0]}/{parts[1]}")
    except UsageError:
        return default.kernel


def kernel_info(metadata: Any, ref: KernelRef, source: str | None) -> KernelInfo:
    """What Kaggle tells of a kernel, in our words."""
    return KernelInfo(
        ref=ref,
        title=metadata.title,
        latest_version=metadata.current_version_number or None,
        accelerator=metadata.machine_shape or None,
        private=metadata.is_private,
        last_run=utc(metadata.last_run_time),
        source=source,
    )


def model_framework(name: str) -> ModelFramework:
    """The SDK's enum member for a framework as it is written in a model's address, such as `transformers`."""
    wanted = "MODEL_FRAMEWORK_" + name.replace("-", "").replace("_", "").upper()
    for framework in ModelFramework:
        if framework.name.replace("_", "") == wanted.replace("_", ""):
            return framework
    raise UsageError(
        f"{name!r} is not a model framework that Kaggle knows.", hint="correct inputs.model in kgtts.toml"
    )


def utc(moment: datetime | None) -> datetime | None:
    """The SDK's moments are UTC without saying so."""
    return None if moment is None else moment.replace(tzinfo=UTC)


class _TimeLimitedAdapter(requests.adapters.HTTPAdapter):
    """An adapter with a time-out for those who set none."""

    def __init__(self, read_s: float) -> None:
        super().__init__()
        self._timeout = (CONNECT_TIMEOUT_S, read_s)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeout
        sender: Any = super().send
        return sender(request, *args, **kwargs)


def limit_waiting(session: Any, *, read_s: float = READ_TIMEOUT_S) -> None:
    """Give every call of the session a time-out: `read_s` seconds without a byte, fewer to connect."""
    session.mount("https://", _TimeLimitedAdapter(read_s))
    session.mount("http://", _TimeLimitedAdapter(read_s))
