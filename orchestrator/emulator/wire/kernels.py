"""The kernels service on the wire (kagglesdk 0.1.37, `kernels.KernelsApiService`)."""

from datetime import timedelta
from typing import Any

from kagglesdk.kernels.types import kernels_api_service as sdk
from kagglesdk.kernels.types.kernels_enums import (
    KernelExecutionType,
    KernelsListSortType,
    KernelsListViewType,
    KernelWorkerStatus,
)
from starlette.responses import RedirectResponse, Response

from orchestrator.emulator.faults.plan import HostileNames, SlowStatus, StaleVersion
from orchestrator.emulator.service.pushes import Push, PushRejectedError
from orchestrator.emulator.service.records import Kernel, Version
from orchestrator.emulator.service.refusals import FaultError, not_found
from orchestrator.emulator.wire.codec import Call, Method, Methods, duration, naive_utc, page_of
from orchestrator.emulator.wire.logstream import log_response
from orchestrator.emulator.wire.storage import HOSTILE_OBJECT, output_name

_SERVICE = "kernels.KernelsApiService"


def save_kernel(call: Call) -> Any:
    """SaveKernel: a rejected push is an answer with `error`, not an HTTP error."""
    request = call.request
    answer = sdk.ApiSaveKernelResponse()
    try:
        pushed = call.backend.push(
            Push(
                slug=request.slug or None,
                key=request.id or None,
                title=request.new_title or None,
                text=request.text,
                language=request.language,
                kernel_type=request.kernel_type,
                # Unset is private, as in the client's metadata.
                private=request._is_private is not False,  # noqa: SLF001 - the property hides "unset"
                machine_shape=request.machine_shape or None,
                enable_gpu=request.enable_gpu,
                internet=request._enable_internet is not False,  # noqa: SLF001 - as above
                dataset_sources=tuple(request.dataset_data_sources or ()),
                model_sources=tuple(request.model_data_sources or ()),
                kernel_sources=tuple(request.kernel_data_sources or ()),
                competition_sources=tuple(request.competition_data_sources or ()),
                timeout_s=request.session_timeout_seconds or None,
                quick=request.kernel_execution_type is KernelExecutionType.QUICK_SAVE,
                docker_image=request.docker_image or None,
            )
        )
    except PushRejectedError as rejected:
        answer.error = str(rejected)
        return answer
    answer.ref = f"/code/{pushed.kernel.ref}"
    answer.url = f"{call.base_url}/code/{pushed.kernel.ref}"
    answer.version_number = pushed.version.number
    answer.kernel_id = pushed.kernel.key
    answer.invalid_dataset_sources = list(pushed.invalid.datasets)
    answer.invalid_model_sources = list(pushed.invalid.models)
    answer.invalid_kernel_sources = list(pushed.invalid.kernels)
    answer.invalid_competition_sources = list(pushed.invalid.competitions)
    return answer


def _metadata(kernel: Kernel, version: Version) -> Any:
    found = sdk.ApiKernelMetadata()
    found.id = kernel.key
    found.ref = kernel.ref
    found.title = kernel.title
    found.author = kernel.owner
    found.slug = kernel.slug
    run = kernel.latest_run
    found.last_run_time = naive_utc(version.pushed_at if run is None else run.started_at or run.pushed_at)
    found.language = version.language
    found.kernel_type = version.kernel_type
    found.is_private = kernel.private
    found.enable_gpu = version.machine_shape is not None
    found.enable_tpu = False
    found.enable_internet = version.internet
    found.dataset_data_sources = list(version.dataset_sources)
    found.model_data_sources = list(version.model_sources)
    found.kernel_data_sources = list(version.kernel_sources)
    found.current_version_number = kernel.latest.number
    found.machine_shape = version.machine_shape or "None"
    if version.docker_image:
        found.docker_image = version.docker_image
    return found


def get_kernel(call: Call) -> Any:
    """GetKernel: metadata and source of the latest version, or of the one labelled.

    The stock client asks for a version as `slug/3` in the slug (kernels_pull, 2.2.4); both forms work.
    """
    slug, _, number = call.request.kernel_slug.partition("/")
    kernel = call.backend.catalogue.kernel(call.request.user_name, slug)
    label = f"v{number}" if number else call.request.version_label
    if label:
        version = next((v for v in kernel.versions if v.label == label), None)
    else:
        known = kernel.versions[:-1] if call.struck.one(StaleVersion) else kernel.versions
        version = known[-1] if known else None
    if version is None:
        raise not_found(f"Version {label} of kernel {kernel.ref}" if label else f"Kernel {kernel.ref}")
    answer = sdk.ApiGetKernelResponse()
    answer.metadata = _metadata(kernel, version)
    if not label:
        answer.metadata.current_version_number = version.number
    answer.blob = sdk.ApiKernelBlob()
    answer.blob.source = call.backend.catalogue.source(kernel, version.number)
    answer.blob.language = version.language
    answer.blob.kernel_type = version.kernel_type
    answer.blob.slug = kernel.slug
    return answer


def _asked_run(call: Call) -> tuple[Kernel, Version]:
    request = call.request
    return call.backend.catalogue.version_run(request.user_name, request.kernel_slug, request.version_label)


def get_status(call: Call) -> Any:
    """GetKernelSessionStatus: of the last run, or of the version labelled."""
    _, version = _asked_run(call)
    state = version.state
    if slow := call.struck.one(SlowStatus):
        state = version.state_at(call.backend.clock.now() - timedelta(seconds=slow.seconds))
    answer = sdk.ApiGetKernelSessionStatusResponse()
    answer.status = KernelWorkerStatus[state.name]
    if version.failure_message and state is version.state:
        answer.failure_message = version.failure_message
    return answer


def list_output(call: Call) -> Any:
    """ListKernelSessionOutput: a page of file names with signed URLs, and the log as JSON text."""
    kernel, version = _asked_run(call)
    request = call.request
    files, token = page_of(
        call.backend.catalogue.outputs(kernel, version),
        request.page_size,
        request.page_token,
        default=call.backend.options.page_size,
    )
    answer = sdk.ApiListKernelSessionOutputResponse()
    for file in files:
        item = sdk.ApiKernelSessionOutputFile()
        item.file_name = file.name
        item.url = call.signed_url(output_name(kernel.owner, kernel.slug, version.number, file.name))
        answer.files.append(item)
    if (hostile := call.struck.one(HostileNames)) and not request.page_token:
        for name in hostile.names:
            item = sdk.ApiKernelSessionOutputFile()
            item.file_name = name
            item.url = call.signed_url(HOSTILE_OBJECT)
            answer.files.append(item)
    answer.log = call.backend.catalogue.stored_log(kernel, version)
    answer.next_page_token = token
    return answer


def list_files(call: Call) -> Any:
    """ListKernelFiles: a page of the output files' names and sizes."""
    kernel, version = _asked_run(call)
    request = call.request
    files, token = page_of(
        call.backend.catalogue.outputs(kernel, version),
        request.page_size,
        request.page_token,
        default=call.backend.options.page_size,
    )
    answer = sdk.ApiListKernelFilesResponse()
    for file in files:
        item = sdk.ApiListKernelFilesItem()
        item.name = file.name
        item.size = file.size
        ended_at = naive_utc(version.ended_at)
        item.creation_date = "" if ended_at is None else f"{ended_at.isoformat(timespec='milliseconds')}Z"
        answer.files.append(item)
    answer.next_page_token = token
    return answer


def download_output(call: Call) -> Response:
    """DownloadKernelOutput: a redirect to one file's signed URL."""
    request = call.request
    label = f"v{request.version_number}" if request.version_number else None
    kernel, version = call.backend.catalogue.version_run(request.owner_slug, request.kernel_slug, label)
    if not request.file_path:
        raise FaultError(501, "The emulator gives outputs one by one: name a file_path.")
    call.backend.catalogue.output_file(kernel.owner, kernel.slug, version.number, request.file_path)
    name = output_name(kernel.owner, kernel.slug, version.number, request.file_path)
    return RedirectResponse(call.signed_url(name), 302)


def delete_kernel(call: Call) -> Any:
    """DeleteKernel: also ends a running session."""
    call.backend.delete(call.request.user_name, call.request.kernel_slug)
    return sdk.ApiDeleteKernelResponse()


def list_kernels(call: Call) -> Any:
    """ListKernels: those of the account, searched, sorted and paged."""
    request = call.request
    others = bool(request.user) and request.user.lower() != call.backend.username.lower()
    search = (request.search or "").lower()
    found = [
        kernel
        for kernel in call.backend.catalogue.kernels()
        if not others
        and (search in kernel.title.lower() or search in kernel.slug)
        # Everyone else sees what is public; an account's own list shows all.
        and (request.group is not KernelsListViewType.EVERYONE or not kernel.private or request.user)
        and (request.kernel_type or "all") in ("all", kernel.latest.kernel_type)
        and (request.language or "all") in ("all", kernel.latest.language)
    ]
    if request.sort_by is KernelsListSortType.DATE_CREATED:
        found.sort(key=lambda kernel: kernel.versions[0].pushed_at, reverse=True)
    size = request.page_size or call.backend.options.page_size
    token = request.page_token or str(max(0, (request.page or 1) - 1) * size)
    page, next_token = page_of(found, size, token, default=size)
    answer = sdk.ApiListKernelsResponse()
    answer.kernels = [_metadata(kernel, kernel.latest) for kernel in page]
    answer.next_page_token = next_token or ""
    return answer


def get_quota(call: Call) -> dict[str, Any]:
    """GetAcceleratorQuotaStatistics, with durations written by hand: see `wire.duration`."""
    quota = call.backend.quota()
    answer = sdk.ApiGetAcceleratorQuotaStatisticsResponse()
    answer.quota_refresh_time = naive_utc(quota.refreshes_at)
    written: dict[str, Any] = answer.to_dict()
    written["gpuQuota"] = {
        "timeUsed": duration(quota.used),
        "timeReserved": duration(quota.reserved),
        "totalTimeAllowed": duration(quota.allowed),
        "hasEverRun": True,
    }
    return written


def stream_logs(call: Call) -> Response:
    """GetKernelSessionLogsStream: by session id, or by kernel and version."""
    number = call.request.kernel_session_id
    kernel, version = call.backend.catalogue.version_of_session(number) if number else _asked_run(call)
    return log_response(call.backend, kernel, version)


METHODS: Methods = {
    (_SERVICE, name): Method(request_type, handler)
    for name, request_type, handler in (
        ("SaveKernel", sdk.ApiSaveKernelRequest, save_kernel),
        ("GetKernel", sdk.ApiGetKernelRequest, get_kernel),
        ("GetKernelSessionStatus", sdk.ApiGetKernelSessionStatusRequest, get_status),
        ("ListKernelSessionOutput", sdk.ApiListKernelSessionOutputRequest, list_output),
        ("ListKernelFiles", sdk.ApiListKernelFilesRequest, list_files),
        ("DownloadKernelOutput", sdk.ApiDownloadKernelOutputRequest, download_output),
        ("DeleteKernel", sdk.ApiDeleteKernelRequest, delete_kernel),
        ("ListKernels", sdk.ApiListKernelsRequest, list_kernels),
        ("GetAcceleratorQuotaStatistics", sdk.ApiGetAcceleratorQuotaStatisticsRequest, get_quota),
        ("GetKernelSessionLogsStream", sdk.ApiGetKernelSessionLogsStreamRequest, stream_logs),
    )
}
