"""The answers to a push."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kagglesdk.kernels.types import kernels_api_service as sdk
from kagglesdk.kernels.types.kernels_enums import KernelExecutionType
from requests import HTTPError

from tests.emulator.support import HANG, USER, Account, error_of
from tests.fakes.clock import FakeClock


def get_kernel(account: Account, slug: str, label: str | None = None) -> sdk.ApiGetKernelResponse:
    """Call GetKernel with the client."""
    request = sdk.ApiGetKernelRequest()
    request.user_name, request.kernel_slug = USER, slug
    if label is not None:
        request.version_label = label
    return account.kernels.get_kernel(request)


def test_versions_count_up(account: Account) -> None:
    """Each push of a title makes the next version of the same kernel."""
    first, second = account.push("print(1)"), account.push("print(2)")
    assert (first.version_number, second.version_number) == (1, 2)
    assert first.kernel_id == second.kernel_id
    assert first.ref == "/code/alice/my-kernel"


def test_the_title_decides_the_slug(account: Account) -> None:
    """A title with another slug than the id makes a kernel of that name, as on Kaggle."""
    answer = account.push("print(1)", "Another Title", slug="alice/my-kernel")
    assert answer.ref == "/code/alice/another-title"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"new_title": "abc"}, "at least five characters"),
        ({"new_title": "!!!!!"}, "no letter or digit"),
        ({"slug": "bob/my-kernel"}, "permission"),
        ({"machine_shape": "NvidiaTeslaX9"}, "not a valid machine shape"),
        ({"machine_shape": "NvidiaH100"}, "permission"),
        ({"language": "r"}, "Python only"),
        ({"kernel_type": "notebook", "text": "no json"}, "not a valid notebook"),
        ({"kernel_type": "poem"}, "not a valid kernel type"),
        ({"text": ""}, "no source"),
        ({"slug": "", "new_title": "Some Title"}, "must be named"),
    ],
)
def test_a_rejected_push_is_an_answer_with_an_error(
    account: Account, fields: dict[str, str], words: str
) -> None:
    """A refused push is HTTP 200 with the reason in `error`, and makes no version."""
    answer = account.push("print(1)", **fields)
    assert words in answer.error
    assert account.emulator.backend.kernels.all() == []


def test_unknown_inputs_are_listed_and_the_push_succeeds(account: Account, root: Path) -> None:
    """The answer names missing inputs, and the session runs with the others."""
    answer = account.push(
        "print(1)",
        dataset_data_sources=["alice/some-data", "alice/no-data", "../x", "alice/some-data/7"],
        model_data_sources=["alice/some-model/transformers/default/1", "alice/some-model/onnx/default/1"],
        kernel_data_sources=["alice/my-kernel", "bob/other-kernel"],
    )
    assert answer.version_number == 1
    assert answer.invalid_dataset_sources == ["alice/no-data", "../x", "alice/some-data/7"]
    assert answer.invalid_model_sources == ["alice/some-model/onnx/default/1"]
    assert answer.invalid_kernel_sources == ["alice/my-kernel", "bob/other-kernel"]
    kept = get_kernel(account, "my-kernel").metadata
    assert kept.dataset_data_sources == ["alice/some-data"]
    assert kept.model_data_sources == ["alice/some-model/transformers/default/1"]
    assert kept.kernel_data_sources == []


def test_a_quick_save_runs_nothing(account: Account) -> None:
    """A quick save makes a version without a session: its status is a 404, its source can be read."""
    answer = account.push("print(1)", kernel_execution_type=KernelExecutionType.QUICK_SAVE)
    assert answer.version_number == 1
    with pytest.raises(HTTPError) as caught:
        account.status()
    assert caught.value.response.status_code == 404
    assert get_kernel(account, "my-kernel").blob.source == "print(1)"


def test_the_status_after_a_quick_save_is_that_of_the_last_run(account: Account) -> None:
    """Without a label the API answers for the last version that ran."""
    assert account.run("print(1)") == "COMPLETE"
    account.push("print(2)", kernel_execution_type=KernelExecutionType.QUICK_SAVE)
    assert account.status().status.name == "COMPLETE"
    assert get_kernel(account, "my-kernel").metadata.current_version_number == 2


def test_a_quick_save_takes_no_machine(start: Callable[..., Account]) -> None:
    """It is saved whatever sessions run and however little quota is left."""
    account = start(max_gpu_sessions=0, weekly_quota_s=0.0)
    assert account.push("print(1)", "Another Kernel", enable_gpu=True).error
    saved = account.push("print(1)", enable_gpu=True, kernel_execution_type=KernelExecutionType.QUICK_SAVE)
    assert (saved.error, saved.version_number) == ("", 1)


def test_a_version_is_named_with_a_v(account: Account) -> None:
    """`v1` is a version; a bare number and a missing version are 404s."""
    account.run("print(1)")
    account.run("raise SystemExit(3)")
    assert account.status(label="v1").status.name == "COMPLETE"
    assert account.status(label="v2").status.name == "ERROR"
    for label in ("1", "v3", "vv1", "v01"):
        with pytest.raises(HTTPError) as caught:
            account.status(label=label)
        assert caught.value.response.status_code == 404
    assert get_kernel(account, "my-kernel", "v1").blob.source == "print(1)"
    assert get_kernel(account, "my-kernel/1").blob.source == "print(1)"


@pytest.mark.parametrize(
    ("fields", "machine"),
    [
        ({}, "None"),
        ({"enable_gpu": True}, "NvidiaTeslaT4"),
        ({"machine_shape": "NvidiaTeslaT4"}, "NvidiaTeslaT4"),
        ({"machine_shape": "NvidiaTeslaP100"}, "NvidiaTeslaT4"),
        ({"machine_shape": "None", "enable_gpu": True}, "None"),
    ],
)
def test_the_machine_that_a_push_gets(account: Account, fields: dict[str, Any], machine: str) -> None:
    """The shape overrides enable_gpu, and a retired P100 is silently replaced by another GPU."""
    answer = account.push("print(1)", **fields)
    assert not answer.error
    assert get_kernel(account, "my-kernel").metadata.machine_shape == machine


def test_two_gpu_sessions_at_once(start: Callable[..., Account]) -> None:
    """A third GPU session is refused in Kaggle's words; a CPU session is not."""
    account = start()
    for number in (1, 2):
        assert not account.push(HANG, f"Kernel Number {number}", enable_gpu=True).error
    answer = account.push(HANG, "Kernel Number 3", enable_gpu=True)
    assert "Maximum batch GPU session count of 2 reached" in answer.error
    assert not account.push("print(1)", "Kernel Number 4").error


def test_pushes_at_the_same_time_keep_the_count(start: Callable[..., Account]) -> None:
    """Of many simultaneous pushes, exactly as many are accepted as sessions are allowed."""
    account = start()
    numbers = range(6)
    with ThreadPoolExecutor(len(numbers)) as pool:
        answers = list(pool.map(lambda n: account.push(HANG, f"Kernel Number {n}", enable_gpu=True), numbers))
    assert [bool(answer.error) for answer in answers].count(False) == 2
    assert len({answer.kernel_id for answer in answers if not answer.error}) == 2


def test_cpu_sessions_have_a_count_of_their_own(start: Callable[..., Account]) -> None:
    """CPU sessions have their own limit."""
    account = start(max_cpu_sessions=1)
    account.push(HANG, "Kernel Number 1")
    assert "Maximum batch CPU session count of 1 reached" in account.push(HANG, "Kernel Number 2").error


def test_the_weekly_quota_refuses(start: Callable[..., Account], clock: FakeClock) -> None:
    """If the week's hours are used or reserved, a GPU push is refused until the week ends."""
    account = start(clock=clock)
    account.push(HANG, enable_gpu=True)
    account.wait_for("ready")
    clock.advance(12 * 3600)
    account.wait()
    assert account.quota().time_used.total_seconds() == 12 * 3600
    account.push(HANG, "Kernel Number 2", enable_gpu=True)  # 12 h used and 12 h reserved
    answer = account.push(HANG, "Kernel Number 3", enable_gpu=True)
    assert not answer.error
    account.wait_for("ready", "kernel-number-2")
    account.wait_for("ready", "kernel-number-3")
    clock.advance(12 * 3600)
    account.wait("kernel-number-2")
    account.wait("kernel-number-3")
    answer = account.push("print(1)", "Kernel Number 4", enable_gpu=True)
    assert answer.error == "Maximum weekly GPU quota of 30.00 hours reached."
    clock.advance(3 * 24 * 3600)
    assert not account.push("print(1)", "Kernel Number 5", enable_gpu=True).error


def test_used_hours_survive_a_restart(start: Callable[..., Account], clock: FakeClock) -> None:
    """The hours of deleted kernels count as well."""
    account = start(clock=clock)
    account.push(HANG, enable_gpu=True)
    account.wait_for("ready")
    clock.advance(1800)
    account.delete()
    account.emulator.stop()
    assert start(clock=clock).quota().time_used.total_seconds() == 1800


def test_another_owners_kernel_is_forbidden(account: Account) -> None:
    """Reading another account's kernel is a 403, in words that the stock client explains."""
    request = sdk.ApiGetKernelRequest()
    request.user_name, request.kernel_slug = "bob", "his-kernel"
    with pytest.raises(HTTPError) as caught:
        account.kernels.get_kernel(request)
    response = caught.value.response
    assert (response.status_code, error_of(response)["message"]) == (
        403,
        "Permission 'kernels.get' was denied",
    )


def test_a_notebook_runs_its_code_cells(account: Account) -> None:
    """A notebook's code cells run one after another in one process."""
    cells = '[{"cell_type":"code","source":"a = 1"},{"cell_type":"markdown","source":"#"},'
    text = '{"cells":' + cells + '{"cell_type":"code","source":["print(a\\n", " + 41)"]}]}'
    assert account.run(text, kernel_type="notebook") == "COMPLETE"
    assert "42" in account.text()


def test_kernels_are_listed_newest_first(account: Account, clock: FakeClock) -> None:
    """ListKernels pages through the account's kernels, and searches titles."""
    for number in range(3):
        account.push("print(1)", f"Kernel Number {number}", is_private=number != 1)
    request = sdk.ApiListKernelsRequest()
    request.page_size = 2
    page = account.kernels.list_kernels(request)
    assert [kernel.slug for kernel in page.kernels] == ["kernel-number-2", "kernel-number-1"]
    request.page_token = page.next_page_token
    rest = account.kernels.list_kernels(request)
    assert [kernel.slug for kernel in rest.kernels] == ["kernel-number-0"]
    assert not rest.next_page_token
    search = sdk.ApiListKernelsRequest()
    search.search = "number 1"
    assert [kernel.is_private for kernel in account.kernels.list_kernels(search).kernels] == [False]
