"""A bad day at Kaggle: every failure is a message and the right kind of error."""

import socket
from collections.abc import Callable

import pytest

from orchestrator.emulator import Emulator
from orchestrator.emulator.faults.kinds import UnknownWord
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    KgttsError,
    NotFoundError,
    RefusedError,
    ServiceError,
)
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from tests.kaggle.helpers import KERNEL, answering, small_push
from tests.support import KEY, USER

CALLS: dict[str, tuple[str, Callable[[KaggleClient], object]]] = {
    "GetKernel": ("read the kernel", lambda kaggle: kaggle.kernel(KERNEL)),
    "GetKernelSessionStatus": ("read the status", lambda kaggle: kaggle.session_status(KERNEL)),
    "ListKernelSessionOutput": ("list the outputs", lambda kaggle: kaggle.outputs(KERNEL)),
    "GetKernelSessionLogsStream": ("read the log", lambda kaggle: list(kaggle.log_stream(KERNEL, idle_s=1))),
    "DeleteKernel": ("delete", lambda kaggle: kaggle.delete(KERNEL)),
    "ListKernels": ("list your kernels", lambda kaggle: kaggle.my_kernels()),
    "GetAcceleratorQuotaStatistics": ("read the quota", lambda kaggle: kaggle.quota()),
    "ListDatasetFiles": ("files of the dataset", lambda kaggle: list(kaggle.dataset_files("asha/data"))),
    "GetDatasetStatus": ("status of the dataset", lambda kaggle: kaggle.dataset_ready("asha/data")),
    "SaveKernel": ("push", lambda kaggle: kaggle.push(small_push())),
}
KINDS: list[tuple[int, type[KgttsError]]] = [
    (400, RefusedError),
    (401, CredentialsError),
    (403, ForbiddenError),
    (404, NotFoundError),
    (429, ServiceError),
    (500, ServiceError),
    (503, ServiceError),
]


@pytest.mark.parametrize("method", CALLS)
def test_every_failure_of_every_call_is_a_sentence(
    emulator: Emulator, kaggle: KaggleClient, method: str
) -> None:
    """The message says what failed, the status and Kaggle's words."""
    doing, call = CALLS[method]
    for status, error in KINDS:
        times = 8 if status in (429, 500, 503) and method not in ("SaveKernel", "DeleteKernel") else 1
        emulator.server.faults.fail_next(status, method=method, times=times)
        with pytest.raises(error) as caught:
            call(kaggle)
        assert type(caught.value) is error
        assert doing in caught.value.message
        assert f"({status})" in caught.value.message
        assert KEY not in repr(caught.value)


def test_a_read_survives_a_short_bad_spell(emulator: Emulator, kaggle: KaggleClient) -> None:
    """After 429 and 5xx the call is repeated."""
    for status in (429, 500, 502, 503):
        emulator.server.faults.fail_next(status, method="ListKernels")
    assert list(kaggle.my_kernels()) == []
    assert kaggle.calls == 5


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_asked_again(emulator: Emulator, kaggle: KaggleClient, status: int) -> None:
    """A refused call is not repeated."""
    emulator.server.faults.fail_next(status, method="ListKernels")
    with pytest.raises(KgttsError):
        kaggle.my_kernels()
    assert kaggle.calls == 1


@pytest.mark.parametrize("wait", [None, 0, 7])
def test_what_kaggle_asks_for_between_calls_is_heeded(
    emulator: Emulator, kaggle: KaggleClient, wait: float | None
) -> None:
    """After `Retry-After` of any form the call is repeated."""
    emulator.server.faults.fail_next(429, method="ListKernels", retry_after_s=wait)
    assert list(kaggle.my_kernels()) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_push_is_sent_once_whatever_happens(emulator: Emulator, kaggle: KaggleClient, status: int) -> None:
    """A repeated push could start a second session."""
    emulator.server.faults.fail_next(status, method="SaveKernel")
    with pytest.raises(ServiceError):
        kaggle.push(small_push())
    assert kaggle.calls == 1
    assert emulator.backend.kernels.all() == []


def test_a_server_that_is_down_is_named(workplace: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """After all retries the error names the host."""
    with socket.socket() as taken:  # Bound and not listening: nobody else answers there.
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("KGTTS_KAGGLE_URL", f"http://{host}")
        client = connect(login=(USER, KEY))
        with pytest.raises(ServiceError, match=f"no connection to {host}") as caught:
            client.my_kernels()
        assert "network" in (caught.value.hint or "")
        assert client.calls == 8
        client.close()


NOT_KAGGLES = [
    ("text/html", b"<html>hotel wifi</html>"),
    ("application/json", b"{torn"),
    ("application/json", b"null"),
    ("application/json", b'{"kernels": [{"ref": 3}], "status": "ON_FIRE", "versionNumber": "x"}'),
]


@pytest.mark.parametrize(("content_type", "body"), NOT_KAGGLES)
@pytest.mark.parametrize(
    "method", ["GetKernelSessionStatus", "ListKernels", "SaveKernel", "GetKernel", "GetDatasetStatus"]
)
def test_an_answer_that_is_not_kaggles_is_a_sentence(
    workplace: object, monkeypatch: pytest.MonkeyPatch, method: str, content_type: str, body: bytes
) -> None:
    """A login page, damaged JSON and other JSON are named, and are no fault of kgtts."""
    with answering(content_type, body) as url:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", url)
        client = connect(login=(USER, KEY))
        with pytest.raises(ServiceError, match=r"Kaggle's answer makes no sense"):
            CALLS[method][1](client)
        client.close()


def test_a_state_that_nobody_knows_is_no_state(emulator: Emulator, kaggle: KaggleClient) -> None:
    """A word that the official client does not know is not taken for another."""
    kaggle.push(small_push())
    emulator.server.faults.set(FaultPlan(faults=(UnknownWord(word="PAUSED"),)))
    with pytest.raises(ServiceError, match="makes no sense"):
        kaggle.session_status(KERNEL)


def test_a_datasets_state_that_nobody_knows_is_no_state(emulator: Emulator, kaggle: KaggleClient) -> None:
    """It counts as neither ready nor in preparation."""
    (emulator.backend.state.root / "datasets" / USER / "by-hand").mkdir(parents=True)
    faults = (UnknownWord(where="api:GetDatasetStatus", word="ALMOST"),)
    emulator.server.faults.set(FaultPlan(faults=faults))
    with pytest.raises(ServiceError, match="ALMOST"):
        kaggle.dataset_ready(f"{USER}/by-hand")
