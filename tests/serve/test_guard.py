"""Who may ask: names, origins, the token, paths; and what protects the page."""

from pathlib import Path

import pytest
import requests

from orchestrator.errors import UsageError
from orchestrator.serve import Access, Server, read_token
from orchestrator.serve.guard import read_token_file
from tests.serve.making import TEXT, TOKEN, exchange, running, tiny_voices

SPEECH = {"input": TEXT, "response_format": "wav"}


def test_only_its_own_names_are_answered(server: Server) -> None:
    """A name that others can point here (DNS rebinding) is refused; addresses and localhost are not."""
    port = server.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "LocalHost", "[::1]", f"127.0.0.1:{port}", "192.168.1.9:80"):
        assert requests.get(f"{server.url}/health", headers={"Host": host}, timeout=9).status_code == 200, (
            host
        )
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[",
        "",
    ):
        answer = requests.get(f"{server.url}/", headers={"Host": host}, timeout=9)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed"), host


def test_pages_of_other_sites_may_not_ask(server: Server) -> None:
    """A request with another origin is refused whatever its type; the page's own is served."""
    url = f"{server.url}/v1/audio/speech"
    for origin in (
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://localhost",
        server.url + ".evil.example",
    ):
        answer = requests.post(url, json=SPEECH, headers={"Origin": origin}, timeout=9)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed"), origin
    assert requests.post(url, json=SPEECH, headers={"Origin": server.url}, timeout=9).ok
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = requests.post(url, data=b'{"input": "x"}', headers={"Content-Type": kind}, timeout=9)
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "not_json")
    options = requests.options(url, headers={"Origin": "https://evil.example"}, timeout=9)
    assert not [name for name in options.headers if name.lower().startswith("access-control")]


def test_every_response_protects_the_page(server: Server) -> None:
    """The policy allows nothing from elsewhere and no inline script, on errors as well."""
    for path in ("/", "/page.js", "/page.css", "/health", "/nothing"):
        headers = requests.get(server.url + path, timeout=9).headers
        policy = headers["content-security-policy"]
        assert policy.startswith(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
        )
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
    page = requests.get(server.url, timeout=9).text
    assert "http://" not in page
    assert "https://" not in page


def test_a_token_guards_all_but_the_page_and_health(tmp_path: Path) -> None:
    """Without the token, or with it in the address, there is a 401 that tells how to send it."""
    with running(tiny_voices(tmp_path), Access(token=TOKEN)) as server:
        for path in ("/", "/page.js", "/page.css", "/health"):
            assert requests.get(server.url + path, timeout=9).ok
        for path in ("/v1/models", "/v1/audio/voices", "/metrics", "/nothing", f"/v1/models?token={TOKEN}"):
            answer = requests.get(server.url + path, timeout=9)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        for value in (
            TOKEN,
            f"Basic {TOKEN}",
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN} x",
            "Bearer",
            b"Bearer \xff",
        ):
            answer = requests.get(f"{server.url}/metrics", headers={"Authorization": value}, timeout=9)
            assert answer.status_code == 401, value
        answer = requests.get(
            f"{server.url}/metrics", headers={"Authorization": f"bearer {TOKEN}"}, timeout=9
        )
        assert answer.ok
        assert TOKEN not in answer.text


def test_other_machines_need_a_token() -> None:
    """Only loopback is served without one."""
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        Access(host)
    for host in ("0.0.0.0", "::", "192.168.1.9", "laptop.local"):  # noqa: S104 - what is refused.
        with pytest.raises(UsageError, match="need a token"):
            Access(host)
        Access(host, token=TOKEN)


def test_a_named_host_is_answered(tmp_path: Path) -> None:
    """Behind a proxy the server answers to the proxy's name, and to pages of that name."""
    with running(tiny_voices(tmp_path), Access(names=("Voice.Example",))) as server:
        headers = {"Host": "voice.example", "Origin": "https://voice.example"}
        assert requests.post(f"{server.url}/v1/audio/speech", json=SPEECH, headers=headers, timeout=9).ok


def test_tokens_are_read_from_files_of_any_system(tmp_path: Path) -> None:
    """UTF-8 with or without a mark, and UTF-16 as PowerShell writes it; what is no secret is refused."""
    place = tmp_path / "token.txt"
    for data in (
        f"{TOKEN}\n".encode(),
        f"\ufeff{TOKEN}\r\n".encode(),
        f"\ufeff{TOKEN}\r\n".encode("utf-16-le"),
    ):
        place.write_bytes(data)
        assert read_token_file(place) == TOKEN
    for wrong in ("", "short", "two words are no token", "টোকেন-টোকেন-টোকেন-টোকেন", f"{TOKEN}\n{TOKEN}"):
        with pytest.raises(UsageError, match="at least 16 characters"):
            read_token(wrong, "X")
    place.write_bytes(b"\xff" * 20 + b"a")
    with pytest.raises(UsageError, match=r"not text|at least 16"):
        read_token_file(place)
    with pytest.raises(UsageError, match="cannot be read"):
        read_token_file(tmp_path)


@pytest.mark.parametrize(
    "target",
    [
        *("/../../etc/passwd", "/page.js/../../guard.py", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"),
        *("/page.js%00", "/..%5c..%5cserver.py", "/page/page.js", "/v1/models/..%2f..%2fetc%2fpasswd"),
        *("http://evil.example/page.js/x", "/v1/audio/speech/", "*"),
    ],
)
def test_no_path_leads_elsewhere(server: Server, target: str) -> None:
    """Only the known addresses are served; there is no folder behind them."""
    answer = exchange(
        server, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.split(b" ", 2)[1] in (b"404", b"400", b"405"), answer
    assert b"root:" not in answer
    assert b"import" not in answer
