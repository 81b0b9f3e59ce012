"""Requests and answers about kernels, between the SDK's types and ours."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from kagglesdk.kernels.types.kernels_api_service import ApiSaveKernelRequest

from orchestrator.errors import UsageError
from orchestrator.models import KernelInfo, KernelPush, KernelRef


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


def kernel_info(metadata: Any, ref: KernelRef, source: str | None) -> KernelInfo:
    """Return what Kaggle says of a kernel."""
    return KernelInfo(
        ref=ref,
        title=metadata.title,
        latest_version=metadata.current_version_number or None,
        accelerator=metadata.machine_shape or None,
        private=metadata.is_private,
        last_run=utc(metadata.last_run_time),
        source=source,
    )


def utc(moment: datetime | None) -> datetime | None:
    """Return a moment of the SDK with its time zone, which is UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)
