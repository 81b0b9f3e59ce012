"""Connections send credentials, bodies and URLs only to their own host."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import urllib3

from orchestrator.connections import HttpSession, RedirectError, time_limit
from orchestrator.errors import OddAnswerError, ServiceError
from orchestrator.kaggle import connect
from orchestrator.kaggle.errors import retry_delay
from orchestrator.untrusted import is_loopback
from tests.kaggle.helpers import KERNEL
from tests.support import KEY, USER

Seen = list[tuple[str, dict[str, str], bytes]]


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, Seen]]:
    """A server that answers every request with `answer`; returns its address, and what arrived."""
    seen: Seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            answer(self)

        do_GET = do_PUT = do_CONNECT = do_POST  # noqa: N815 - the base class calls them

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}", seen
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def empty(handler: BaseHTTPRequestHandler) -> None:
    """Return `{}` as JSON."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"{}")


def redirecting(status: int, location: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return an answer with a redirect."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_neither_body_nor_credentials_to_another_host(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A 307 or 308 would forward the token in the body, so it is refused."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", KEY)
    with server(empty) as (other, seen):
        target = other.replace("127.0.0.1", "localhost") + "/v1/x"
        with server(redirecting(status, target)) as (url, asked):
            monkeypatch.setenv("KGTTS_KAGGLE_URL", url)
            client = connect()
            with pytest.raises(Exception) as caught:  # noqa: PT011 - which one depends on the status
                _ = client.username
            if status in (307, 308):
                assert isinstance(caught.value, OddAnswerError)
                assert "redirect" in caught.value.message
                assert seen == []
            client.close()
        assert asked
        for _, headers, body in seen:
            assert "authorization" not in headers
            assert KEY.encode() not in body


@pytest.mark.parametrize(
    "location",
    ["http://[", "http://[::1", "//", "http://\udc80/", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://:x/",
     "http://a:99999/", "http://" + "a" * 300 + "/"],
)  # fmt: skip
def test_an_invalid_redirect_is_a_sentence(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    """It is an error without the address, which may be signed."""
    marked = location.encode("latin-1", "replace").decode("latin-1") + "?X-Goog-Signature=5ec4e7"
    with server(redirecting(302, marked)) as (url, _):
        monkeypatch.setenv("KGTTS_KAGGLE_URL", url)
        client = connect(login=(USER, KEY))
        with pytest.raises(ServiceError) as caught:
            client.my_kernels()
        assert "5ec4e7" not in repr(caught.value)
        client.close()


def test_no_redirect_leads_away_from_encryption() -> None:
    """A redirect from https to http is refused."""
    answer = requests.Response()
    answer.status_code, answer.url = 302, "https://kaggle.example/v1/x"
    answer.raw = urllib3.HTTPResponse(b"")
    answer.headers["location"] = "http://kaggle.example/v1/x"
    with HttpSession() as session, pytest.raises(RedirectError, match="without encryption"):
        session.get_redirect_target(answer)


@pytest.mark.parametrize("redirected", [False, True])
def test_a_netrc_file_is_not_sent_to_storage(workplace: Path, *, redirected: bool) -> None:
    """Neither the host nor a redirect's target gets the password of ~/.netrc."""
    (Path.home() / ".netrc").write_text("default login asha password from-netrc\n")
    (Path.home() / ".netrc").chmod(0o600)
    with server(empty) as (storage, seen):
        target = storage.replace("127.0.0.1", "localhost")
        with server(redirecting(302, target)) as (url, first), HttpSession() as session:
            session.get(url if redirected else storage)
        assert seen
        assert all("authorization" not in headers for _, headers, _ in seen + first)


@pytest.mark.parametrize("redirected", [False, True])
def test_loopback_addresses_never_go_through_a_proxy(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, *, redirected: bool
) -> None:
    """The emulator and its storage are reached directly, even behind a company's proxy."""
    with server(empty) as (proxy, caught), server(empty) as (storage, seen):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        for host in ("127.0.0.1", "localhost"):
            target = storage.replace("127.0.0.1", host)
            with server(redirecting(302, target)) as (url, _), HttpSession() as session:
                assert session.get(url if redirected else target).json() == {}
        assert len(seen) == 2
        assert caught == []


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("a.localhost", True),
        ("::1", True),
        ("localhost.example", False),
        ("10.0.0.1", False),
        ("", False),
        (None, False),
    ],
)
def test_which_hosts_are_this_machine(host: str | None, *, here: bool) -> None:
    """Loopback names and addresses are this machine; others are not."""
    assert is_loopback(host) is here


def refusing(status: int) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return a proxy that answers everything with this status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def test_a_refusal_of_the_proxy_is_named(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the proxy without its password, and the call is not retried."""
    with server(refusing(407)) as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", proxy.replace("://", "://asha:secret-of-proxy@"))
        monkeypatch.setenv("KGTTS_KAGGLE_URL", "https://kaggle.example")
        client = connect(login=(USER, KEY))
        with pytest.raises(
            ServiceError, match=r"the proxy refused the connection to kaggle\.example"
        ) as caught:
            client.my_kernels()
        assert "407" in caught.value.message
        assert "HTTPS_PROXY" in (caught.value.hint or "")
        assert "secret-of-proxy" not in repr(caught.value)
        assert len(asked) == 1
        client.close()


def test_another_proxy_is_taken_after_a_failure(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxies are remembered for a host, but read again once a request has failed."""
    url = "http://kaggle.example/"
    ok = refusing(200)
    with server(ok) as (first, _), server(ok) as (second, reached), HttpSession() as session:
        monkeypatch.setenv("HTTP_PROXY", first)
        assert session.get(url).ok
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{taken.getsockname()[1]}")
            assert session.get(url).ok
            with pytest.raises(requests.ConnectionError):
                session.get("http://other.example/")
        monkeypatch.setenv("HTTP_PROXY", second)
        assert session.get(url).ok
    assert [path for path, _, _ in reached] == [url]


def test_a_proxy_that_is_away_is_named(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreachable proxy is not reported as an unreachable Kaggle."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("KGTTS_KAGGLE_URL", "https://kaggle.example")
        client = connect(login=(USER, KEY))
        with pytest.raises(ServiceError, match="the proxy cannot be reached"):
            client.delete(KERNEL)
        client.close()


def test_a_name_that_does_not_resolve_is_named(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the name."""
    monkeypatch.setenv("KGTTS_KAGGLE_URL", "https://kaggle.invalid")
    client = connect(login=(USER, KEY))
    with pytest.raises(ServiceError, match=r"the name kaggle\.invalid cannot be resolved") as caught:
        client.delete(KERNEL)
    assert "DNS" in (caught.value.hint or "")
    client.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, with its key."""
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
            "-days", "2", "-addext", "subjectAltName=DNS:localhost",
            "-keyout", str(path), "-out", f"{path}.crt"]  # fmt: skip
    try:
        subprocess.run(make, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl cannot make a certificate: {error}")
    with path.open("a") as both:
        both.write(Path(f"{path}.crt").read_text())
    return path


@pytest.mark.parametrize("trusted", [False, True])
def test_a_failed_certificate_is_named(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, certificate: Path, *, trusted: bool
) -> None:
    """The error is not "no connection" and is not retried; with its CA file the server is trusted."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            empty(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    running.socket = context.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", f"https://localhost:{running.server_address[1]}")
        if trusted:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
        client = connect(login=(USER, KEY))
        if trusted:
            assert list(client.my_kernels()) == []
        else:
            with pytest.raises(
                ServiceError, match=r"the certificate of localhost:.* cannot be trusted"
            ) as caught:
                client.my_kernels()
            assert "self-signed" in caught.value.message.replace("self signed", "self-signed")
            assert "REQUESTS_CA_BUNDLE" in (caught.value.hint or "")
            assert client.calls == 1
        client.close()
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def dripping(part: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return an answer that arrives byte by byte, which no read time-out ends."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
        whole = head + b" " * 100000
        if part == "body":
            handler.wfile.write(head)
            whole = whole[len(head) :]
        elif part == "redirect":
            handler.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 100000\r\n\r\n")
        try:
            for byte in whole:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            pass

    return answer


@pytest.mark.parametrize("part", ["head", "body", "redirect"])
def test_an_answer_that_trickles_in_is_given_up(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """A call has a time limit for its whole answer, whichever part is slow."""
    with server(dripping(part)) as (url, seen):
        monkeypatch.setenv("KGTTS_KAGGLE_URL", url)
        client = connect(login=(USER, KEY))
        client._call.longest_s = 0.3
        begun = time.monotonic()
        with pytest.raises(ServiceError, match="did not answer in time"):
            client.delete(KERNEL)
        assert time.monotonic() - begun < 5
        assert len(seen) == 1
        client.close()


def test_a_limit_ends_with_its_block() -> None:
    """What is read later, such as a live log, has no limit; the time starts with the first wait."""
    with server(empty) as (url, _), HttpSession() as session:
        with time_limit(0.2):
            answer = session.get(url, stream=True)
        time.sleep(0.3)
        assert answer.json() == {}


def test_what_would_fail_again_is_not_tried_again() -> None:
    """Certificate errors and a proxy's refusal are final; a broken connection is retried."""
    refused = requests.exceptions.SSLError(ssl.SSLCertVerificationError("no"))
    proxy = requests.exceptions.ProxyError("Tunnel connection failed: 403 Forbidden")
    assert not retry_delay(refused)
    assert not retry_delay(proxy)
    assert retry_delay(requests.ConnectionError("reset"))


def test_a_short_limit_ends_in_time_beside_a_long_one() -> None:
    """One thread ends all limits: it is woken for an earlier one, and leaves the later one alone."""
    asked, free, results = threading.Event(), threading.Event(), list[int]()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/long":
            asked.set()
            free.wait(20)
            empty(handler)
        else:
            dripping("head")(handler)

    def ask_for_long() -> None:
        with HttpSession() as session, time_limit(30):
            results.append(session.get(f"{url}/long").status_code)

    with server(answer) as (url, _):
        thread = threading.Thread(target=ask_for_long)
        thread.start()
        assert asked.wait(10)
        begun = time.monotonic()
        with HttpSession() as session, pytest.raises(requests.Timeout), time_limit(0.1):
            session.get(f"{url}/short")
        assert time.monotonic() - begun < 10
        free.set()
        thread.join(10)
    assert results == [200]
