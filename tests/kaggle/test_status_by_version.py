"""The status of a version, if Kaggle tells it by the version, or only of a kernel's newest session."""

from collections.abc import Callable, Iterator

import pytest
from kagglesdk.kernels.types.kernels_enums import KernelExecutionType

from orchestrator.emulator import Emulator
from orchestrator.emulator.faults.kinds import StaleVersion
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.errors import NotFoundError, OddAnswerError
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from orchestrator.kaggle.kernels import save_request
from orchestrator.models import KernelRef, SessionState
from tests.altered import altered
from tests.kaggle.helpers import HANG, KERNEL, run_to_end, small_push
from tests.support import KEY, USER


@pytest.fixture
def only_newest(start_emulator: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """An emulator that refuses to tell the status of a version."""
    started = start_emulator(status_by_version=False)
    monkeypatch.setenv("KGTTS_KAGGLE_URL", started.url)
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    return started


@pytest.fixture
def client(only_newest: Emulator) -> Iterator[KaggleClient]:
    """A client of it."""
    found = connect()
    yield found
    found.close()


def save_without_running(client: KaggleClient) -> KernelRef:
    """Save a version that has no session; returns it."""
    request = save_request(small_push("print('saved')"))
    request.kernel_execution_type = KernelExecutionType.QUICK_SAVE
    answer = client._sdk.kernels.kernels_api_client.save_kernel(request)  # No port saves so.
    return KERNEL.at(answer.version_number)


def test_the_newest_session_is_known_by_its_kernel(client: KaggleClient, only_newest: Emulator) -> None:
    """Versions without a session do not matter; of an older one nothing can be told."""
    first = run_to_end(client, "print()")
    assert client.session_status(first).state is SessionState.COMPLETE
    saved = save_without_running(client)
    assert client.session_status(first).state is SessionState.COMPLETE
    with pytest.raises(NotFoundError, match="No runs found"):
        client.session_status(saved)
    second = client.push(small_push(HANG)).ref
    for _ in client.log_stream(second, idle_s=60):
        break
    assert client.session_status(second).state is SessionState.RUNNING
    with pytest.raises(OddAnswerError, match=f"newest session of {KERNEL}, which is version 3"):
        client.session_status(first)
    only_newest.server.faults.set(FaultPlan(faults=(StaleVersion(where="api:GetKernel"),)))
    with pytest.raises(OddAnswerError, match="which is version 3"):
        client.session_status(first)
    assert client.session_status(second).state is SessionState.RUNNING


def test_the_end_of_the_session_before_is_not_taken_for_its_own(
    client: KaggleClient, only_newest: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after a push the kernel's newest session may still be the last one, which has ended."""
    run_to_end(client, "print()")
    second = client.push(small_push(HANG)).ref
    with altered(only_newest.url) as plan:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", plan.url)
        plan.changes["GetKernelSessionStatus"] = lambda _: b'{"status": "COMPLETE"}'
        late = connect()
        with pytest.raises(OddAnswerError, match="neither log nor outputs"):
            late.session_status(second)
        late.close()
