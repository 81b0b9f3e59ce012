"""Faults of the storage, seen by a plain HTTP client."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.emulator.faults.kinds import (
    Bandwidth,
    Corrupted,
    Error,
    Expired,
    Latency,
    RangeIgnored,
    Reset,
    Stalled,
    Truncated,
)
from orchestrator.emulator.faults.plan import FaultCount, FaultPlan
from tests.emulator.support import KEY, TIMEOUT_S, USER, Account

CONTENT = bytes(range(256)) * 8192  # 2 MiB
WRITE = "open('data.bin', 'wb').write(bytes(range(256)) * 8192); open('small', 'w').write('small')"
Strike = Callable[..., None]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An emulator with one run, whose outputs all tests here download."""
    root = tmp_path_factory.mktemp("faults") / "root"
    options = EmulatorOptions(sandbox="relocate", standins=False)
    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator(root, options=options, credentials=(USER, KEY)))
        account = stack.enter_context(Account(emulator))
        assert account.run(WRITE) == "COMPLETE"
        yield account


@pytest.fixture
def strike(served: Account) -> Iterator[Strike]:
    """Sets faults, which end with the test."""
    yield lambda *faults: served.emulator.server.faults.set(FaultPlan(faults=faults))
    served.emulator.server.faults.clear()


def get(account: Account, name: str = "data.bin", **headers: str) -> requests.Response:
    """Download an output."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return requests.get(account.files()[name], headers=named, timeout=TIMEOUT_S)


def received(url: str) -> tuple[bytes, str]:
    """Return what arrives of a body, and how it ends: whole, short or reset."""
    address = urlsplit(url)
    line = HTTPConnection(str(address.hostname), address.port, timeout=TIMEOUT_S)
    body = b""
    with closing(line):
        line.request("GET", f"{address.path}?{address.query}")
        response = line.getresponse()
        try:
            while piece := response.read1(1 << 16):
                body += piece
        except ConnectionResetError:
            return body, "reset"
    return body, "whole" if len(body) == int(response.headers["Content-Length"]) else "short"


def test_latency_and_bandwidth(served: Account, strike: Strike) -> None:
    """An answer takes at least its latency and its bytes' time; other files are not slowed."""
    strike(
        Latency(where="storage:data.bin", seconds=0.03),
        Latency(where="storage:data.bin", seconds=0.02),
        Bandwidth(where="storage:data.bin", bytes_per_s="90MB"),
        Bandwidth(where="storage:data.bin", bytes_per_s="20MB"),
    )
    url = served.files()["data.bin"]
    began = time.monotonic()
    assert requests.get(url, timeout=TIMEOUT_S).content == CONTENT
    assert time.monotonic() - began >= 0.05 + len(CONTENT) / 20e6
    assert served.emulator.server.faults.counts() == [FaultCount(1, 1)] * 4
    assert get(served, "small").content == b"small"
    assert served.emulator.server.faults.counts() == [FaultCount(1, 1)] * 4


def test_bandwidth_is_that_of_each_connection(served: Account, strike: Strike) -> None:
    """Eight connections together take as long as one, not eight times as long."""
    strike(Bandwidth(where="storage", bytes_per_s="5MB"))
    url = served.files()["data.bin"]
    bodies: list[bytes] = []

    def fetch() -> None:
        bodies.append(requests.get(url, headers={"Range": "bytes=0-999999"}, timeout=TIMEOUT_S).content)

    began = time.monotonic()
    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [CONTENT[:1_000_000]] * 8
    assert 0.2 <= time.monotonic() - began < 1.5  # One after another would take 1.6 s.


@pytest.mark.parametrize("after", [1, 1_000_000])
def test_a_reset_comes_after_exactly_so_many_bytes(served: Account, strike: Strike, after: int) -> None:
    """The bytes before it arrive, then the connection is reset (RST)."""
    strike(Reset(where="storage:data.bin", after=after, first=1))
    url = served.files()["data.bin"]
    assert received(url) == (CONTENT[:after], "reset")
    assert received(url) == (CONTENT, "whole")


def test_a_reset_before_the_answer(served: Account, strike: Strike) -> None:
    """With 0 bytes not even a status arrives."""
    strike(Reset(where="storage", first=1))
    with pytest.raises(requests.ConnectionError):
        get(served)
    assert get(served).content == CONTENT


def test_a_shorter_body_comes_whole(served: Account, strike: Strike) -> None:
    """Faults after more bytes than the body has do nothing."""
    strike(Reset(where="storage", after=len(CONTENT)), Truncated(after="1GB"))
    assert get(served).content == CONTENT


def test_a_truncated_body(served: Account, strike: Strike) -> None:
    """It ends early, with the full or the short Content-Length."""
    strike(Truncated(after=1000, first=1))
    assert received(served.files()["data.bin"]) == (CONTENT[:1000], "short")
    strike(Truncated(after=1000, declared=True, first=1))
    response = get(served, Range="bytes=100-4999")
    assert response.content == CONTENT[100:1100]
    assert (response.status_code, response.headers["Content-Length"]) == (206, "1000")
    assert response.headers["Content-Range"] == f"bytes 100-4999/{len(CONTENT)}"


@pytest.mark.parametrize(("at", "wrong"), [(None, 1 << 20), (0, 0), (77, 77), (1 << 40, len(CONTENT) - 1)])
def test_a_corrupted_body_has_one_wrong_byte(
    served: Account, strike: Strike, at: int | None, wrong: int
) -> None:
    """Content-Length and hashes are right; one byte of the body is wrong."""
    strike(Corrupted(at=at, first=1))
    response = get(served)
    body = response.content
    assert (len(body), response.status_code) == (len(CONTENT), 200)
    assert body[wrong] != CONTENT[wrong]
    assert body[:wrong] + CONTENT[wrong : wrong + 1] + body[wrong + 1 :] == CONTENT
    assert get(served).content == CONTENT


def test_a_part_asked_for_and_all_given(served: Account, strike: Strike) -> None:
    """An ignored range gives 200, the whole file, and no Content-Range."""
    strike(RangeIgnored(first=1))
    response = get(served, Range="bytes=10-19")
    assert (response.status_code, response.content) == (200, CONTENT)
    assert "Content-Range" not in response.headers
    assert get(served, Range="bytes=10-19").status_code == 206


@pytest.mark.parametrize("status", [400, 401, 403])
def test_an_expired_url_stays_expired(served: Account, strike: Strike, status: Any) -> None:
    """The URL stays expired even after the plan is deleted; another one works."""
    strike(Expired(status=status, first=1))
    old, new = served.files()["data.bin"], served.files()["data.bin"]
    assert old != new
    for _ in range(2):
        response = requests.get(old, timeout=TIMEOUT_S)
        assert (response.status_code, "ExpiredToken" in response.text) == (status, True)
        strike()
    assert requests.get(new, timeout=TIMEOUT_S).content == CONTENT


def test_errors_of_the_storage(served: Account, strike: Strike) -> None:
    """They are Google's XML, with Retry-After if the plan sets it."""
    strike(
        Error(where="storage", status=429, retry_after_s=7, first=1),
        Error(where="storage", status=503, first=2),
    )
    first, second, third = (get(served) for _ in range(3))
    assert (first.status_code, first.headers["Retry-After"]) == (429, "7")
    assert first.text.startswith("<?xml")
    assert (second.status_code, "Retry-After" in second.headers) == (503, False)
    assert third.content == CONTENT


def test_a_stalled_body_goes_on(served: Account, strike: Strike) -> None:
    """The body pauses for the given time, then continues."""
    strike(Stalled(where="storage", after=1000, seconds=0.1))
    url = served.files()["data.bin"]
    began = time.monotonic()
    assert requests.get(url, timeout=TIMEOUT_S).content == CONTENT
    assert time.monotonic() - began >= 0.1
    strike(Stalled(where="storage", seconds=3000))
    with pytest.raises(requests.ConnectionError, match="Read timed out"):
        requests.get(url, timeout=(TIMEOUT_S, 0.05))


def test_several_faults_in_one_answer(served: Account, strike: Strike) -> None:
    """They take effect in the order of their bytes: a wrong byte, a pause, the end."""
    strike(
        Bandwidth(where="storage", bytes_per_s="100MB"),
        Truncated(after=5000),
        Stalled(where="storage", after=2000, seconds=0.05),
        Corrupted(at=100),
    )
    body, end = received(served.files()["data.bin"])
    assert (len(body), end) == (5000, "short")
    assert [at for at in range(5000) if body[at] != CONTENT[at]] == [100]


def test_the_server_stops_without_waiting_for_its_faults(start: Callable[..., Account]) -> None:
    """Delayed answers are cut off when the emulator ends."""
    account = start()
    account.run("open('x', 'w').write('x' * 1000)")
    account.emulator.server.faults.set(FaultPlan(faults=(Stalled(where="storage", after=10, seconds=3000),)))
    address = urlsplit(account.files()["x"])
    with socket.create_connection((str(address.hostname), address.port or 0), TIMEOUT_S) as line:
        line.sendall(f"GET {address.path}?{address.query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        said = b""
        while not said.endswith(b"x" * 10):
            said += line.recv(65536)
        began = time.monotonic()
        account.emulator.stop()
        assert time.monotonic() - began < 2
