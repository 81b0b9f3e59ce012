"""What users have reported of the real Kaggle, and the switches for contradicting reports."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from kagglesdk.kaggle_client import KaggleClient
from kagglesdk.kaggle_env import KaggleEnv
from kagglesdk.kernels.types import kernels_api_service as sdk
from kagglesdk.kernels.types.kernels_enums import KernelExecutionType, KernelsListViewType

from orchestrator.emulator.faults.kinds import NotVisible
from orchestrator.emulator.faults.plan import FaultPlan
from tests.emulator.support import HANG, KEY, USER, Account, error_of, refused
from tests.fakes.clock import FakeClock
from tests.support import eventually

Start = Callable[..., Account]
FILES = "for number in range(4): open(f'{number}.txt', 'w').write('x')\n"
TELL = "import os\nprint(os.environ['KAGGLE_CONTAINER_NAME'])\n"


def cancel(account: Account, session: int, *, token: bool = True) -> Any:
    """Return the response to CancelKernelSession, with the API token or the legacy key."""
    request = sdk.ApiCancelKernelSessionRequest()
    request.kernel_session_id = session
    if not token:
        return account.kernels.cancel_kernel_session(request)
    with KaggleClient(env=KaggleEnv.PROD, api_token=KEY) as client:
        client._http_client._endpoint = account.url
        return client.kernels.kernels_api_client.cancel_kernel_session(request)


def told_session(account: Account, slug: str = "my-kernel") -> int:
    """Return the session's id, from the container's name that it prints."""
    name = json.loads(account.wait_for("container", slug))["data"]
    return int(name.split("-")[-2])


@pytest.mark.parametrize("nested", [False, True])
def test_errors_flat_and_nested(start: Start, *, nested: bool) -> None:
    """Errors have the form of www.kaggle.com or api.kaggle.com; injected ones too."""
    account = start(nested_errors=nested, absent=404)
    flat = {"code": 404, "message": "Kernel alice/my-kernel was not found"}
    wanted = {"error": {**flat, "status": "NOT_FOUND"}} if nested else flat
    assert refused(account.status).json() == wanted
    account.emulator.server.faults.fail_next(429)
    body = refused(account.status).json()
    assert (body["error"]["status"] if nested else body["code"]) == ("RESOURCE_EXHAUSTED" if nested else 429)
    assert ("error" in account.post("NoSuchMethod", {}).json()) is nested


@pytest.mark.parametrize("status", [403, 404])
def test_a_kernel_that_does_not_exist(start: Start, status: int) -> None:
    """It is a 403 or a 404, as both were reported; a deleted kernel is the same."""
    account = start(absent=status)
    assert refused(account.status).status_code == status
    account.run("print(1)")
    account.delete()
    assert refused(account.output).status_code == status


def test_a_new_kernel_is_not_visible_for_a_while(start: Start, clock: FakeClock) -> None:
    """Every read of it is a 403 for a while; later pushes are visible at once."""
    account = start(clock=clock)
    faults = NotVisible(seconds=60), NotVisible(where="log", seconds=60)
    account.emulator.server.faults.set(FaultPlan(faults=faults))
    account.push(HANG)
    kernel = sdk.ApiGetKernelRequest()
    kernel.user_name, kernel.kernel_slug = USER, "my-kernel"
    for read in (
        account.status,
        account.output,
        lambda: account.kernels.get_kernel(kernel),
    ):
        response = refused(read)
        assert (response.status_code, error_of(response)["message"]) == (
            403,
            "Permission 'kernels.get' was denied",
        )
    assert refused(lambda: list(account.stream())).status_code == 403
    clock.advance(60)
    assert account.kernels.get_kernel(kernel).metadata.current_version_number == 1
    account.push(HANG)
    assert account.kernels.get_kernel(kernel).metadata.current_version_number == 2


@pytest.mark.parametrize("listed", [False, True])
def test_a_new_kernel_may_be_missing_in_the_list(start: Start, clock: FakeClock, *, listed: bool) -> None:
    """Or stand there already, while everything about it is refused."""
    account = start(clock=clock)
    faults = (NotVisible(seconds=60, listed=listed),)
    account.emulator.server.faults.set(FaultPlan(faults=faults))
    account.push(HANG)
    own = sdk.ApiListKernelsRequest()
    own.group = KernelsListViewType.PROFILE
    assert len(account.kernels.list_kernels(own).kernels) == listed
    clock.advance(60)
    assert len(account.kernels.list_kernels(own).kernels) == 1


@pytest.mark.parametrize("as_complete", [False, True])
def test_a_script_that_fails(start: Start, *, as_complete: bool) -> None:
    """ERROR for some, COMPLETE for others; what it left is there in both cases."""
    account = start(crash_is_complete=as_complete)
    assert account.run(FILES + "raise SystemExit(3)") == ("COMPLETE" if as_complete else "ERROR")
    assert len(account.files()) == 4


@pytest.mark.parametrize("kept", [False, True])
def test_the_name_of_a_deleted_kernel(start: Start, *, kept: bool) -> None:
    """It can be used again, or is gone for good, over a restart too; other names are not."""
    account = start(keep_deleted_names=kept)
    account.run("print(1)")
    account.delete()
    account.emulator.stop()
    account = start(keep_deleted_names=kept)
    if kept:
        response = refused(lambda: account.push("print(2)"))
        assert (response.status_code, error_of(response)["message"]) == (404, "Notebook not found")
        assert account.emulator.backend.kernels.all() == []
    else:
        assert account.run("print(2)") == "COMPLETE"
    assert account.run("print(3)", "Another Kernel") == "COMPLETE"


@pytest.mark.parametrize("options", [{"max_gpu_sessions": 0}, {"weekly_quota_s": 0.0}])
def test_a_first_push_that_a_limit_refuses_leaves_half_a_kernel(
    start: Start, options: dict[str, object]
) -> None:
    """Until it is deleted, its name is refused, reading fails, and the list has a nameless entry."""
    account = start(**options)
    assert "Maximum" in account.push("print(1)", enable_gpu=True).error
    account.emulator.stop()
    account = start()
    kernel, own = sdk.ApiGetKernelRequest(), sdk.ApiListKernelsRequest()
    kernel.user_name, kernel.kernel_slug = USER, "my-kernel"
    own.group = KernelsListViewType.PROFILE
    for _ in range(2):
        assert account.push("print(1)").error == "Notebook not found"
    assert refused(lambda: account.kernels.get_kernel(kernel)).status_code == 500
    assert (refused(account.status).status_code, refused(account.output).status_code) == (404, 404)
    assert [item.ref for item in account.kernels.list_kernels(own).kernels] == [""]
    account.delete()
    assert account.kernels.list_kernels(own).kernels == []
    assert account.run("print(2)") == "COMPLETE"


def test_a_refused_version_leaves_a_kernel_as_it_is(start: Start) -> None:
    """Only a first push makes half a kernel; with the switch none does."""
    account = start(max_cpu_sessions=1)
    account.push(HANG)
    assert "Maximum" in account.push("print(1)").error
    assert account.status().status.name in ("QUEUED", "RUNNING")
    account.emulator.stop()
    account = start(max_cpu_sessions=0, refused_leaves_shell=False)
    for _ in range(2):
        assert "Maximum" in account.push("print(1)", "Another Kernel").error


@pytest.mark.parametrize(("length", "fits"), [(4, False), (5, True), (50, True), (51, False)])
def test_the_length_of_a_title(account: Account, length: int, *, fits: bool) -> None:
    """A title has 5 to 50 characters; a longer one gets a bare 500, as reported."""
    title = "x" * length
    if length > 50:
        assert refused(lambda: account.push("print(1)", title)).status_code == 500
    else:
        assert bool(account.push("print(1)", title).error) is not fits
    assert len(account.emulator.backend.kernels.all()) == fits


def test_a_source_of_a_megabyte_is_refused(account: Account) -> None:
    """It is refused with Kaggle's words and an HTTP status; a smaller one is accepted."""
    response = refused(lambda: account.push("#" * 1_000_000))
    assert response.status_code == 400
    assert error_of(response)["message"] == "The kernel source must be less than 1 megabytes in size."
    assert not account.push("#" * 999_999).error


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({"enable_internet": False}, True),
        ({"enable_internet": True}, False),
        ({"enable_internet": False, "machine_shape": "NvidiaTeslaT4"}, False),
    ],
)
def test_an_account_without_a_verified_phone(start: Start, fields: dict[str, Any], *, allowed: bool) -> None:
    """It gets a 403 for internet and for a GPU, and nothing is saved."""
    account = start(phone_verified=False)
    if allowed:
        assert not account.push("print(1)", **fields).error
    else:
        response = refused(lambda: account.push("print(1)", **fields))
        assert (response.status_code, "hone verification" in error_of(response)["message"]) == (403, True)
    assert len(account.emulator.backend.kernels.all()) == allowed


@pytest.mark.parametrize("as_new_script", [False, True])
def test_versions_that_never_run(start: Start, *, as_new_script: bool) -> None:
    """A quick save has no session: 404 or NEW_SCRIPT; without a label the last version that ran is meant."""
    account = start(never_run_is_new_script=as_new_script)
    quick = {"kernel_execution_type": KernelExecutionType.QUICK_SAVE}

    def check(label: str | None) -> None:
        if as_new_script:
            assert account.status(label=label).status.name == "NEW_SCRIPT"
        else:
            response = refused(lambda: account.status(label=label))
            assert (response.status_code, error_of(response)["message"]) == (
                404,
                "No runs found for this kernel",
            )

    account.push("print(1)", **quick)
    check(None)
    account.run("print(2)")
    account.push("print(3)", **quick)
    check("v3")
    assert account.status().status.name == "COMPLETE"
    assert refused(lambda: account.output(version_label="v3")).status_code == 404
    assert refused(lambda: account.status(label="v4")).status_code == 404


def test_a_cancelled_session_keeps_its_outputs(account: Account) -> None:
    """The id is in the session's environment; the kernel and its other versions stay."""
    account.push(TELL + FILES + HANG)
    account.wait_for("ready")
    session = told_session(account)
    assert not cancel(account, session).error_message
    account.wait()
    assert account.status().status.name == "CANCEL_ACKNOWLEDGED"
    assert set(account.files()) == {"0.txt", "1.txt", "2.txt", "3.txt"}
    assert cancel(account, session).error_message
    assert account.status().status.name == "CANCEL_ACKNOWLEDGED"


def test_who_may_cancel(start: Start) -> None:
    """A legacy key may not, unless the option allows it; nobody may cancel another's session."""
    account = start()
    account.push(TELL + HANG)
    account.wait_for("ready")
    session = told_session(account)
    assert refused(lambda: cancel(account, session, token=False)).status_code == 403
    assert refused(lambda: cancel(account, 5)).status_code == 403
    assert account.status().status.name == "RUNNING"
    account.emulator.stop()
    account = start(legacy_key_may_cancel=True)
    account.push(TELL + HANG, "Other Kernel")
    account.wait_for("ready", "other-kernel")
    assert not cancel(account, told_session(account, "other-kernel"), token=False).error_message
    account.wait("other-kernel")


def test_a_queued_session_can_be_cancelled(start: Start, clock: FakeClock) -> None:
    """A cancelled session never runs, and has no outputs."""
    account = start(clock=clock, queue_delay_s=60)
    account.push(FILES)
    (version,) = account.emulator.backend.kernels.get(USER, "my-kernel").versions
    assert version.session is not None
    cancel(account, version.session)
    account.wait()
    assert account.status().status.name == "CANCEL_ACKNOWLEDGED"
    assert account.files() == {}


@pytest.mark.parametrize(
    ("code", "meanwhile", "at_last"),
    [
        (FILES + HANG, "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED"),
        (FILES + "raise SystemExit(1)", "RUNNING", "ERROR"),
        (FILES, "RUNNING", "COMPLETE"),
    ],
    ids=["cancelled", "crashed", "complete"],
)
def test_outputs_are_saved_one_after_another(
    start: Start, clock: FakeClock, code: str, meanwhile: str, at_last: str
) -> None:
    """The session ends when all are saved; until then the listing grows."""
    account = start(clock=clock, saving_s=100)
    account.push(code)
    (version,) = account.emulator.backend.kernels.get(USER, "my-kernel").versions
    assert version.session is not None
    if meanwhile == "CANCEL_REQUESTED":
        account.wait_for("ready")
        cancel(account, version.session)
    with eventually("the outputs are being saved") as again:
        while account.emulator.backend.kernels.get_session(version.session)[1].saving_since is None:
            again()
    seen = []
    for _ in range(4):
        page = account.output()
        assert not page.log
        seen.append((account.status().status.name, len(page.files)))
        clock.advance(25)
    assert seen == [(meanwhile, number) for number in range(4)]
    account.wait()
    assert (account.status().status.name, len(account.files())) == (at_last, 4)


def test_stopping_the_emulator_does_not_wait_until_outputs_are_saved(start: Start, clock: FakeClock) -> None:
    """The session ends as it would have, with its outputs."""
    account = start(clock=clock, saving_s=100)
    account.push(FILES)
    (version,) = account.emulator.backend.kernels.get(USER, "my-kernel").versions
    assert version.session is not None
    with eventually("the outputs are being saved") as again:
        while account.emulator.backend.kernels.get_session(version.session)[1].saving_since is None:
            again()
    account.emulator.stop()
    account = start(clock=clock)
    assert (account.status().status.name, len(account.files())) == ("COMPLETE", 4)
