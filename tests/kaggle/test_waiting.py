"""How long the client waits: as long as Kaggle asks for, and never for ever."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from orchestrator import untrusted
from orchestrator.connections import HttpSession
from orchestrator.emulator import Emulator
from orchestrator.emulator.faults.kinds import Error, Reset, Truncated
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.errors import ServiceError, SilentLogError
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from orchestrator.kaggle.errors import retry_delay, translated
from orchestrator.kaggle.log_stream import open_stream, read_stream
from tests.kaggle.helpers import KERNEL, run_to_end, small_push
from tests.support import KEY, USER

NOW = "Wed, 18 Nov 2026 12:00:00 GMT"


def failed(status: int, **headers: str) -> requests.HTTPError:
    """Return what requests raises for such an answer."""
    response = requests.Response()
    response.status_code = status
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return requests.HTTPError(response=response)


@pytest.mark.parametrize(
    ("wanted", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("3600", 3600),
        ("-5", 0),
        ("Wed, 18 Nov 2026 12:00:30 GMT", 30),
        ("Wednesday, 18-Nov-26 12:00:30 GMT", 30),
        ("Wed, 18 Nov 2026 13:00:00 +0100", 0),
        ("Wed, 18 Nov 2026 11:00:00 GMT", 0),
        ("Wed, 18 Nov 2026 12:00:30 -0000", None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("Wed, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_what_kaggle_asks_for_is_read(wanted: str, seconds: float | None) -> None:
    """Seconds and dates of any form count, dates by the answer's own; nonsense is ignored."""
    error = failed(429, Retry_After=wanted, Date=NOW)
    assert untrusted.retry_after(error.response.headers) == seconds


@pytest.mark.parametrize("date", ["", "today"])
def test_a_date_without_the_answers_own_is_taken_against_ours(date: str) -> None:
    """A past date means no wait, and a far one is bounded."""
    past = failed(429, Retry_After="Wed, 18 Nov 2020 12:00:00 GMT", Date=date)
    future = failed(503, Retry_After="Wed, 18 Nov 2099 12:00:00 GMT", Date=date)
    assert retry_delay(past) == 0
    assert retry_delay(future) == 45


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_the_wait_is_what_was_asked_for_and_bounded(status: int) -> None:
    """For 429 and 5xx alike; without Retry-After the delays grow."""
    assert retry_delay(failed(status, Retry_After="7")) == 7
    assert retry_delay(failed(status, Retry_After="3600")) == 45
    assert retry_delay(failed(status)) is True
    with pytest.raises(ServiceError) as caught, translated("ask"):
        raise failed(status, Retry_After="3600")
    assert caught.value.retry_after_s == 3600


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (failed(404, Retry_After="7"), False),
        (ValueError("not JSON"), False),
        (requests.ConnectionError(), True),
        (requests.ReadTimeout(), True),
        (requests.exceptions.ChunkedEncodingError(), True),
        (urllib3.exceptions.ProtocolError("broken"), True),
    ],
)
def test_what_is_worth_another_try(error: Exception, *, again: bool) -> None:
    """A broken connection is retried, and a refusal is not."""
    assert retry_delay(error) is again


def test_the_hint_says_when_to_come_back(emulator: Emulator, kaggle: KaggleClient) -> None:
    """A call without retries, and its reader, get the seconds."""
    emulator.server.faults.set(FaultPlan(faults=(Error(where="api", status=429, retry_after_s=90),)))
    with pytest.raises(ServiceError) as caught:
        kaggle.session_status(KERNEL, retry=False)
    assert caught.value.hint == "try again in 90 seconds"
    assert caught.value.retry_after_s == 90
    assert kaggle.calls == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda kaggle: kaggle.session_status(KERNEL, retry=False),
        lambda kaggle: list(kaggle.log_stream(KERNEL, idle_s=1, retry=False)),
    ],
)
def test_who_comes_back_by_himself_is_answered_once(
    emulator: Emulator, kaggle: KaggleClient, ask: Callable[[KaggleClient], object]
) -> None:
    """Without retries a failure is one call."""
    emulator.server.faults.set(
        FaultPlan(faults=(Error(where="api", status=503), Error(where="log", status=503)))
    )
    with pytest.raises(ServiceError):
        ask(kaggle)
    assert kaggle.calls == 1


@pytest.mark.parametrize("fault", [Reset(where="api", after=10), Truncated(where="api", after=10)])
def test_an_answer_that_breaks_off_is_asked_for_again(
    emulator: Emulator, kaggle: KaggleClient, fault: Reset | Truncated
) -> None:
    """It is retried, whether its head or its body broke off."""
    kaggle.push(small_push("print(1)"))
    emulator.server.faults.set(FaultPlan(faults=(fault.model_copy(update={"first": 2}),)))
    assert kaggle.kernel(KERNEL).latest_version == 1
    assert kaggle.calls == 4


def test_a_small_output_that_breaks_off_is_asked_for_again(emulator: Emulator, kaggle: KaggleClient) -> None:
    """Its bytes are retried too; one that always breaks off is an error."""
    ref = run_to_end(kaggle, "open('state.json', 'w').write('x' * 5000)")
    emulator.server.faults.set(FaultPlan(faults=(Truncated(where="storage", after=1000, first=2),)))
    assert kaggle.output_file(ref, "state.json") == b"x" * 5000
    emulator.server.faults.set(FaultPlan(faults=(Truncated(where="storage", after=1000),)))
    with pytest.raises(ServiceError, match=r"Could not read state\.json of .*: the answer broke off"):
        kaggle.output_file(ref, "state.json")


@contextmanager
def silent_server(said: bytes = b"") -> Iterator[str]:
    """Run a server that accepts connections, sends `said` and then nothing. Returns its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                held.append(connection)
                connection.sendall(said)

        thread = Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with suppress(
            OSError
        ):  # Only Linux lets a socket that listens be shut down; elsewhere closing it is enough.
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in held:
            connection.close()


def test_no_call_waits_for_ever() -> None:
    """A session with time limits gives up on a silent server."""
    with (
        silent_server() as url,
        HttpSession(read_s=0.1) as session,
        pytest.raises(ServiceError, match="did not answer in time"),
        translated("ask"),
    ):
        session.get(url)


def test_every_address_of_the_client_has_time_outs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every login has them before its first call."""
    monkeypatch.setenv("KGTTS_KAGGLE_URL", "http://127.0.0.1:9")
    client = connect(login=(USER, KEY))
    adapters = client._http._session.adapters.values()
    assert adapters
    assert all(type(adapter) is not HTTPAdapter for adapter in adapters)
    client.close()


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"])
def test_silence_is_heard_on_a_connection_that_ends_with_its_answer(head: bytes) -> None:
    """A proxy that closes connections changes nothing."""
    said = head + b'Content-Type: text/event-stream\r\n\r\ndata: {"data": "one"}\n\n'
    with silent_server(said) as url, HttpSession() as session:
        response = open_stream(session, url)
        events = read_stream(response, KERNEL, idle_s=0.1)
        assert next(events).text == "one"
        with pytest.raises(SilentLogError):
            next(events)
        response.close()


def test_calls_share_a_connection(emulator: Emulator, kaggle: KaggleClient) -> None:
    """Ten calls open one."""
    for _ in range(10):
        kaggle.my_kernels()
    pools = kaggle._http._session.get_adapter(emulator.url).poolmanager.pools
    assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118  # It is no mapping.
