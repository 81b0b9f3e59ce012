"""The kernels service: pushes, sessions, outputs, logs, quota (kagglesdk 0.1.37)."""

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

from orchestrator.emulator.faults.kinds import HostileNames, NotVisible, SlowStatus, StaleVersion, UnknownWord
from orchestrator.emulator.faults.plan import RequestFaults
from orchestrator.emulator.service.backend import Backend
from orchestrator.emulator.service.exceptions import (
    ApiError,
    PushRejectedError,
    absent,
    not_found,
    permission_denied,
)
from orchestrator.emulator.service.kernels import Kernel, Version
from orchestrator.emulator.service.mounts import InputSources
from orchestrator.emulator.service.pushes import PushRequest
from orchestrator.emulator.wire.logs import log_response
from orchestrator.emulator.wire.rpc import Call, Method, Methods, cut_page, duration, naive_utc, page_of
from orchestrator.emulator.wire.storage import HOSTILE_OBJECT, output_name

_SERVICE = "kernels.KernelsApiService"


def save_kernel(call: Call) -> Any:
    """SaveKernel: a refused push is a response with `error`, not an HTTP error."""
    request = call.request
    response = sdk.ApiSaveKernelResponse()
    try:
        pushed = call.backend.push(
            PushRequest(
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
                sources=InputSources(
                    datasets=tuple(request.dataset_data_sources or ()),
                    models=tuple(request.model_data_sources or ()),
                    kernels=tuple(request.kernel_data_sources or ()),
                    competitions=tuple(request.competition_data_sources or ()),
                ),
                timeout_s=request.session_timeout_seconds or None,
                quick=request.kernel_execution_type is KernelExecutionType.QUICK_SAVE,
                docker_image=request.docker_image or None,
            )
        )
    except PushRejectedError as rejected:
        response.error = str(rejected)
        return response
    response.ref = f"/code/{pushed.kernel.ref}"
    response.url = f"{call.base_url}/code/{pushed.kernel.ref}"
    response.version_number = pushed.version.number
    response.kernel_id = pushed.kernel.key
    response.invalid_dataset_sources = list(pushed.invalid.datasets)
    response.invalid_model_sources = list(pushed.invalid.models)
    response.invalid_kernel_sources = list(pushed.invalid.kernels)
    response.invalid_competition_sources = list(pushed.invalid.competitions)
    return response


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
    """GetKernel: metadata and source of the latest version, or of the labelled one.

    The stock client asks for a version by `slug/3` in the slug (kernels_pull, 2.2.4); both forms work.
    """
    slug, _, number = call.request.kernel_slug.partition("/")
    if call.backend.kernels.is_shell(slug):
        raise ApiError(500, "Internal Server Error")
    kernel = call.backend.kernels.get(call.request.user_name, slug)
    check_visible(kernel, call.backend, call.faults)
    label = f"v{number}" if number else call.request.version_label
    if label:
        version = next((v for v in kernel.versions if v.label == label), None)
    else:
        known = kernel.versions[:-1] if call.faults.first(StaleVersion) else kernel.versions
        version = known[-1] if known else None
    if version is None:
        if label:
            raise not_found(f"Version {label} of kernel {kernel.ref}")
        raise absent(call.backend.options.absent, "kernels.get", f"Kernel {kernel.ref}")
    response = sdk.ApiGetKernelResponse()
    response.metadata = _metadata(kernel, version)
    if not label:
        response.metadata.current_version_number = version.number
    response.blob = sdk.ApiKernelBlob()
    response.blob.source = call.backend.kernels.source(kernel, version.number)
    response.blob.language = version.language
    response.blob.kernel_type = version.kernel_type
    response.blob.slug = kernel.slug
    return response


def check_visible(kernel: Kernel, backend: Backend, faults: RequestFaults) -> None:
    """Refuse to show a kernel that the fault `not_visible` hides.

    Raises:
        ApiError: 403, as Kaggle answers for a kernel that was just created.
    """
    if _is_hidden(kernel, backend, faults.first(NotVisible)):
        raise permission_denied("kernels.get")


def _is_hidden(kernel: Kernel, backend: Backend, fault: NotVisible | None) -> bool:
    age = backend.clock.now() - kernel.versions[0].pushed_at
    return fault is not None and age < timedelta(seconds=fault.seconds)


def _requested_run(call: Call) -> tuple[Kernel, Version]:
    request = call.request
    found = call.backend.kernels.get_run(request.user_name, request.kernel_slug, request.version_label)
    check_visible(found[0], call.backend, call.faults)
    return found


def get_status(call: Call) -> Any:
    """GetKernelSessionStatus: of the newest run, or of the labelled version."""
    if call.request.version_label and not call.backend.options.status_by_version:
        raise ApiError(400, 'Invalid JSON payload received. Unknown name "versionLabel": Cannot find field.')
    if call.backend.options.never_run_is_new_script:
        request = call.request
        kernel, version = call.backend.kernels.get_version(
            request.user_name, request.kernel_slug, request.version_label
        )
        check_visible(kernel, call.backend, call.faults)
    else:
        _, version = _requested_run(call)
    state = version.state
    if slow := call.faults.first(SlowStatus):
        state = version.state_at(call.backend.clock.now() - timedelta(seconds=slow.seconds))
    response = sdk.ApiGetKernelSessionStatusResponse()
    response.status = KernelWorkerStatus[state.name]
    if version.failure_message and state is version.state:
        response.failure_message = version.failure_message
    unknown = call.faults.first(UnknownWord)
    if unknown is not None:
        return {**response.to_dict(), "status": unknown.word}
    # The SDK's writer leaves out an enum's first word, which is QUEUED.
    return response if call.backend.options.omit_queued else {**response.to_dict(), "status": state.name}


def list_output(call: Call) -> Any:
    """ListKernelSessionOutput: a page of file names with signed URLs, and the log as JSON text."""
    kernel, version = _requested_run(call)
    request = call.request
    files, token = page_of(call.backend.outputs(kernel, version), call)
    response = sdk.ApiListKernelSessionOutputResponse()
    for file in files:
        item = sdk.ApiKernelSessionOutputFile()
        item.file_name = file.name
        item.url = call.signed_url(output_name(kernel.owner, kernel.slug, version.number, file.name))
        response.files.append(item)
    if (hostile := call.faults.first(HostileNames)) and not request.page_token:
        for name in hostile.names:
            item = sdk.ApiKernelSessionOutputFile()
            item.file_name = name
            item.url = call.signed_url(HOSTILE_OBJECT)
            response.files.append(item)
    response.log = call.backend.kernels.stored_log(kernel, version)
    response.next_page_token = token
    return response


def list_files(call: Call) -> Any:
    """ListKernelFiles: a page of the output files' names and sizes."""
    kernel, version = _requested_run(call)
    files, token = page_of(call.backend.outputs(kernel, version), call)
    response = sdk.ApiListKernelFilesResponse()
    for file in files:
        item = sdk.ApiListKernelFilesItem()
        item.name = file.name
        item.size = file.size
        ended_at = naive_utc(version.ended_at)
        item.creation_date = "" if ended_at is None else f"{ended_at.isoformat(timespec='milliseconds')}Z"
        response.files.append(item)
    response.next_page_token = token
    return response


def download_output(call: Call) -> Response:
    """DownloadKernelOutput: a redirect to one file's signed URL."""
    request = call.request
    label = f"v{request.version_number}" if request.version_number else None
    kernel, version = call.backend.kernels.get_run(request.owner_slug, request.kernel_slug, label)
    check_visible(kernel, call.backend, call.faults)
    if not request.file_path:
        raise ApiError(501, "The emulator serves outputs one by one: name a file_path.")
    call.backend.kernels.output_file(kernel.owner, kernel.slug, version.number, request.file_path)
    name = output_name(kernel.owner, kernel.slug, version.number, request.file_path)
    return RedirectResponse(call.signed_url(name), 302)


def cancel_session(call: Call) -> Any:
    """CancelKernelSession: ends a session by its id and keeps its outputs."""
    response = sdk.ApiCancelKernelSessionResponse()
    if not call.backend.cancel(call.request.kernel_session_id, legacy_key=call.legacy_key):
        response.error_message = "The session is not running."  # `[?]` The words are a guess.
    return response


def delete_kernel(call: Call) -> Any:
    """DeleteKernel: also ends an active session."""
    call.backend.delete(call.request.user_name, call.request.kernel_slug)
    return sdk.ApiDeleteKernelResponse()


def list_kernels(call: Call) -> Any:
    """ListKernels: the account's own, searched, sorted and paged."""
    request = call.request
    others = bool(request.user) and request.user.lower() != call.backend.username.lower()
    search = (request.search or "").lower()
    hidden = call.faults.first(NotVisible)
    hidden = None if hidden is None or hidden.listed else hidden
    found = [
        kernel
        for kernel in call.backend.kernels.all()
        if not others
        and not _is_hidden(kernel, call.backend, hidden)
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
    page, next_token = cut_page(found, size, token, default=size)
    response = sdk.ApiListKernelsResponse()
    response.kernels = [_metadata(kernel, kernel.latest) for kernel in page]
    if not request.page_token:  # Half-made kernels have no name in the list.
        response.kernels += [sdk.ApiKernelMetadata() for _ in call.backend.state.shells()]
    response.next_page_token = next_token or ""
    return response


def get_quota(call: Call) -> dict[str, Any]:
    """GetAcceleratorQuotaStatistics, with durations written by hand: see `rpc.duration`."""
    quota = call.backend.quota()
    response = sdk.ApiGetAcceleratorQuotaStatisticsResponse()
    response.quota_refresh_time = naive_utc(quota.refreshes_at)
    written: dict[str, Any] = response.to_dict()
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
    kernel, version = call.backend.kernels.get_session(number) if number else _requested_run(call)
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
        ("CancelKernelSession", sdk.ApiCancelKernelSessionRequest, cancel_session),
        ("DeleteKernel", sdk.ApiDeleteKernelRequest, delete_kernel),
        ("ListKernels", sdk.ApiListKernelsRequest, list_kernels),
        ("GetAcceleratorQuotaStatistics", sdk.ApiGetAcceleratorQuotaStatisticsRequest, get_quota),
        ("GetKernelSessionLogsStream", sdk.ApiGetKernelSessionLogsStreamRequest, stream_logs),
    )
}
