"""Faults of the API and the live log, and the address that sets them."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from kagglesdk.kernels.types import kernels_api_service as sdk
from requests import HTTPError
from requests.exceptions import ChunkedEncodingError

from orchestrator.emulator.faults.kinds import (
    HOSTILE_NAMES,
    Bandwidth,
    Error,
    HostileNames,
    Latency,
    LogDropped,
    Reset,
    SlowStatus,
    StaleVersion,
    Truncated,
)
from orchestrator.emulator.faults.plan import FaultCount, FaultPlan
from orchestrator.emulator.wire.control import FAULTS_PATH
from tests.emulator.support import HANG, TIMEOUT_S, USER, Account, error_of
from tests.fakes.clock import FakeClock

Strike = Callable[..., None]
SPEAK = "for i in range(5): print(i)\nprint('ready')\nwhile True: __import__('time').sleep(1000)\n"


@pytest.fixture
def strike(account: Account) -> Strike:
    """Sets faults."""
    return lambda *faults: account.emulator.server.faults.set(FaultPlan(faults=faults))


def kernel(account: Account, slug: str = "my-kernel") -> tuple[str, int]:
    """Return what GetKernel answers: the source and the version's number."""
    request = sdk.ApiGetKernelRequest()
    request.user_name, request.kernel_slug = USER, slug
    answer = account.kernels.get_kernel(request)
    return answer.blob.source, answer.metadata.current_version_number


def control(account: Account, method: str = "GET", **body: Any) -> requests.Response:
    """Send a request to the emulator's own address."""
    return requests.request(method, account.url + FAULTS_PATH, auth=account.auth, timeout=TIMEOUT_S, **body)


def test_errors_come_in_bursts(account: Account, strike: Strike) -> None:
    """The selected calls fail as Kaggle's do, and no others."""
    strike(Error(where="api:List*", status=429, retry_after_s=3, every=3, burst=2))
    answers = [account.post("ListKernels", {}) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429, 200, 429]
    assert answers[2].headers["Retry-After"] == "3"
    assert error_of(answers[2])["code"] == 429
    assert account.post("GetAcceleratorQuotaStatistics", {}).status_code == 200


def test_a_lost_answer_has_had_its_effect(account: Account, strike: Strike) -> None:
    """A push whose connection is reset has taken effect."""
    strike(Reset(where="api:SaveKernel", first=1))
    with pytest.raises(requests.ConnectionError):
        account.push("print('once')")
    account.wait()
    assert kernel(account) == ("print('once')", 1)


def test_a_slow_api(account: Account, strike: Strike) -> None:
    """Answers are delayed."""
    strike(Latency(where="api", seconds=0.05), Bandwidth(where="api", bytes_per_s="1MB"))
    began = time.monotonic()
    assert account.post("ListKernels", {}).status_code == 200
    assert time.monotonic() - began >= 0.05


def test_a_slow_status_is_that_of_some_time_ago(start: Callable[..., Account], clock: FakeClock) -> None:
    """A session's states arrive this many seconds late; its message comes with its end."""
    account = start(clock=clock, session_limit_s=100)
    account.emulator.server.faults.set(FaultPlan(faults=(SlowStatus(seconds=30),)))
    account.push(HANG)
    account.wait_for("ready")
    seen = [account.status().status.name]
    clock.advance(30)
    seen.append(account.status().status.name)
    clock.advance(70)
    assert account.wait()[-1:] in ([], ["END_OF_LOG"])
    late = account.status()
    assert not late.failure_message
    seen.append(late.status.name)
    clock.advance(30)
    ended = account.status()
    assert ended.failure_message
    assert [*seen, ended.status.name] == ["QUEUED", "RUNNING", "RUNNING", "CANCEL_ACKNOWLEDGED"]


def test_a_stale_version(account: Account, strike: Strike) -> None:
    """The latest version is the one before it, or none; a version named is not affected."""
    account.run("print('one')")
    strike(StaleVersion(first=1))
    with pytest.raises(HTTPError) as caught:
        kernel(account)
    assert caught.value.response.status_code == 403
    strike()
    account.run("print('two')")
    strike(StaleVersion())
    assert kernel(account) == ("print('one')", 1)
    assert kernel(account, "my-kernel/2") == ("print('two')", 2)
    strike()
    assert kernel(account) == ("print('two')", 2)


def test_hostile_names_are_added_once(account: Account, strike: Strike) -> None:
    """The first page lists them beside the real names, with URLs that work; the next page does not."""
    account.run("for i in range(3): open(f'{i}.txt', 'w').write('x')")
    strike(HostileNames())
    page = account.output(page_size=2)
    assert [file.file_name for file in page.files] == ["0.txt", "1.txt", *HOSTILE_NAMES]
    assert requests.get(page.files[-1].url, timeout=TIMEOUT_S).text.startswith("Whoever asked")
    (last,) = account.output(page_size=2, page_token=page.next_page_token).files
    assert last.file_name == "2.txt"
    strike(HostileNames(names=("../own.txt",)))
    assert "../own.txt" in account.files()


@pytest.mark.parametrize("lines", [0, 3])
@pytest.mark.parametrize("clean", [False, True])
def test_a_dropped_log_is_replayed(account: Account, strike: Strike, lines: int, *, clean: bool) -> None:
    """The stream ends after this many events without END_OF_LOG; the next one starts from the beginning."""
    account.push(SPEAK)
    account.wait_for("ready")
    log = account.stream()
    whole = [next(log) for _ in range(6)]
    strike(LogDropped(lines=lines, clean=clean, first=1))
    dropped = account.stream()
    assert [next(dropped) for _ in range(lines)] == whole[:lines]
    with pytest.raises(StopIteration if clean else ChunkedEncodingError):
        next(dropped)
    replayed = account.stream()
    assert [next(replayed) for _ in whole] == whole


def test_a_log_can_break_within_an_event(account: Account, strike: Strike) -> None:
    """Only part of a line arrives, without its end."""
    account.push(SPEAK)
    account.wait_for("ready")
    strike(Truncated(where="log", after=20, first=1), Reset(where="log", after=30, first=1))
    address = f"{account.url}/v1/kernels/logs/stream/{USER}/my-kernel"
    with requests.get(address, auth=account.auth, stream=True, timeout=TIMEOUT_S) as response:
        assert response.raw.read1(1000).startswith(b'data: {"stream_name"'[:20])
        with pytest.raises(ChunkedEncodingError):
            list(response.iter_content(1))
    replayed = account.stream()
    assert len([next(replayed) for _ in range(6)]) == 6


def test_an_idle_log_is_dropped(start: Callable[..., Account]) -> None:
    """Kaggle drops a log without output for a while; one with output continues."""
    account = start(keepalive_s=0.05)
    account.push(SPEAK)
    account.wait_for("ready")
    account.emulator.server.faults.set(FaultPlan(faults=(LogDropped(idle_s=0.1, clean=True),)))
    for _ in range(2):
        seen = list(account.stream())
        assert "END_OF_LOG" not in seen
        assert any("ready" in event for event in seen)
        assert seen[-1] == ": keep-alive"


def test_a_log_can_fail_to_open(account: Account, strike: Strike) -> None:
    """The live log is a place of its own, selected by the kernel's name."""
    account.run("print('hello')")
    strike(Error(where="log:alice/my-*", status=503), Error(where="log:alice/other", status=500))
    with pytest.raises(HTTPError) as caught:
        list(account.stream())
    assert caught.value.response.status_code == 503
    assert account.emulator.server.faults.counts() == [FaultCount(1, 1), FaultCount(0, 0)]


def test_the_control_address(account: Account) -> None:
    """A plan can be set, shown with its counts and deleted; a wrong plan changes nothing."""
    plan = {"faults": [{"what": "error", "where": "api:ListKernels", "status": 503, "first": 1}]}
    assert control(account, "PUT", json=plan).status_code == 200
    assert [account.post("ListKernels", {}).status_code for _ in range(2)] == [503, 200]
    shown = control(account).json()
    assert shown["counts"] == [{"asked": 2, "struck": 1}]
    assert control(account, "PUT", json=shown["plan"]).json()["counts"] == [{"asked": 0, "struck": 0}]
    wrong = control(account, "PUT", json={"faults": [{"what": "eror"}]})
    assert (wrong.status_code, "`what` must be one of" in wrong.json()["message"]) == (400, True)
    assert control(account, "PUT", data="{").status_code == 400
    assert control(account, "PUT", data=b" " * (1 << 20) + b"{}").status_code == 413
    assert control(account).json()["plan"] == shown["plan"]
    assert control(account, "DELETE").json() == {"plan": {"faults": [], "seed": 0}, "counts": []}
    assert account.emulator.server.faults.plan == FaultPlan()


@pytest.mark.parametrize("auth", [None, ("alice", "wrong"), ("mallory", "not-a-real-key")])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_the_control_address_wants_credentials(account: Account, method: str, auth: Any) -> None:
    """Without credentials nobody reads or changes the plan, and no web page reaches it."""
    url = account.url + FAULTS_PATH
    answer = requests.request(method, url, auth=auth, json={"faults": []}, timeout=TIMEOUT_S)
    assert answer.status_code == 401
    evil = requests.request(
        method, url, auth=account.auth, headers={"Host": "evil.example"}, timeout=TIMEOUT_S
    )
    assert evil.status_code == 400


def test_faults_leave_the_control_address_alone(account: Account, strike: Strike) -> None:
    """Whatever the plan, it can be deleted."""
    strike(*(Error(where=place, status=500) for place in ("api", "log", "storage", "upload")))
    assert account.post("ListKernels", {}).status_code == 500
    assert json.loads(control(account, "DELETE").text)["counts"] == []
    assert account.post("ListKernels", {}).status_code == 200
