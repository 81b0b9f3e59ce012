"""Requests and answers about kernels, between the SDK's types and ours."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from kagglesdk.kernels.types.kernels_api_service import ApiSaveKernelRequest

from orchestrator import untrusted
from orchestrator.errors import UsageError
from orchestrator.kaggle.answers import AnswerError
from orchestrator.models import (
    MAX_SLUG_LENGTH,
    MAX_SOURCE_BYTES,
    MIN_SLUG_LENGTH,
    KernelInfo,
    KernelPush,
    KernelRef,
)


def check_push(push: KernelPush) -> None:
    """Refuse what Kaggle is known to refuse, some of it with a bare 500.

    Raises:
        UsageError: the name, the title or the source has a size that Kaggle does not take.
    """
    for what, text in (("slug", push.ref.slug), ("title", push.title)):
        if not MIN_SLUG_LENGTH <= len(text) <= MAX_SLUG_LENGTH:
            raise UsageError(
                f"Kaggle does not take the {what} {text!r} of {push.ref.kernel}: it has {len(text)} "
                f"characters, and must have {MIN_SLUG_LENGTH} to {MAX_SLUG_LENGTH}.",
                hint=f"correct kernel.{what} in kgtts.toml",
            )
    size = len(push.source.encode("utf-8", "replace"))
    if size >= MAX_SOURCE_BYTES:
        raise UsageError(
            f"Kaggle does not take the source of {push.ref.kernel}: it has {size:,} bytes, and must have "
            f"fewer than {MAX_SOURCE_BYTES:,}.",
            hint="shorten samples.sentences or training.coqui in kgtts.toml",
        )


def save_request(push: KernelPush) -> Any:
    """Return the request that saves a version."""
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
    """Set owner, slug and version of a request about a kernel, and return it."""
    request.user_name, request.kernel_slug = ref.owner, ref.slug
    if ref.version is not None:
        request.version_label = ref.version_label
    return request


def ref_of(text: str, default: KernelRef) -> KernelRef:
    """Return the kernel that an answer names, as `/code/owner/slug` or as an address; else `default`."""
    parts = [part for part in urlsplit(text or "").path.split("/") if part and part != "code"]
    if len(parts) < 2:  # noqa: PLR2004  # Owner and slug.
        return default.kernel
    try:
        return KernelRef.parse(f"{parts[0]}/{parts[1]}")
    except UsageError:
        return default.kernel


def listed_ref(item: Any) -> KernelRef:
    """Return the name of a kernel in a listing.

    Raises:
        AnswerError: it has none.
    """
    try:
        return KernelRef.parse(item.ref)
    except UsageError as error:
        raise AnswerError("lists something that is no kernel") from error


def kernel_info(metadata: Any, ref: KernelRef, source: str | None) -> KernelInfo:
    """Return what Kaggle says of a kernel."""
    return KernelInfo(
        ref=ref,
        title=untrusted.text(metadata.title) or "",
        latest_version=metadata.current_version_number or None,
        accelerator=untrusted.text(metadata.machine_shape) or None,
        private=metadata.is_private,
        last_run=utc(metadata.last_run_time),
        source=source,
    )


def utc(moment: datetime | None) -> datetime | None:
    """Return a moment of the SDK with its time zone, which is UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)
