"""`kgtts serve` as a process: which voices, what is printed, how it ends."""

import json
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from orchestrator.errors import UsageError
from orchestrator.serve import open_voices
from orchestrator.voice.package import write_package
from tests.serve.making import TEXT, TOKEN
from tests.support import Cli, Process
from tests.voice.making import graph, put_session, put_voice


@pytest.fixture
def runs(workplace: Path) -> Path:
    """A run with a base voice and a trained one, and a second run."""
    runs = workplace / "runs"
    folder = put_session(runs / "bangla-tts", 1) / "voice"
    put_voice(folder, graph())
    put_voice(folder, graph(factor=0.02), "base")
    put_voice(
        put_session(runs / "second", 1, "81d2c0") / "voice", graph(), run={"id": "81d2c0", "session": 1}
    )
    return runs


def started(process: Process) -> str:
    """The address that a server prints."""
    return process.wait_for("Open http").split()[1]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.posix  # Windows has no signals that another process can send.
def test_it_ends_cleanly(runs: Path, spawn: Callable[..., Process], how: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it with 0 and a word; nobody listens any more."""
    base = "runs/bangla-tts/session-01/voice/base.json"
    process = spawn("serve", "--port", "0", "bangla-tts", "alloy=81d2", base)
    url = started(process)
    listed = requests.get(f"{url}/v1/audio/voices", timeout=9).json()["voices"]
    assert [voice["id"] for voice in listed] == ["bangla-tts", "alloy", "bangla-tts-base"]
    answer = requests.post(f"{url}/v1/audio/speech", json={"input": TEXT, "voice": "alloy"}, timeout=9)
    assert answer.headers["content-type"] == "audio/mpeg"
    ended = process.interrupt(how)
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "Stopped.")
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=9)


def test_a_token_is_in_no_output(runs: Path, spawn: Callable[..., Process]) -> None:
    """The token comes from a variable and is not printed, whatever is asked and however."""
    process = spawn("-v", "serve", "--port", "0", "--host", "0.0.0.0", KGTTS_SERVE_TOKEN=TOKEN)  # noqa: S104 - meant.
    url = started(process)
    assert url.startswith("http://127.0.0.1:")
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": f"Bearer x{TOKEN}"}):
        requests.get(f"{url}/v1/models?token={TOKEN}", headers=headers, timeout=9)
        requests.post(f"{url}/v1/audio/speech", json={"input": TEXT}, headers=headers, timeout=9)
    said = process.interrupt(signal.SIGTERM).out
    assert "characters in" in said  # The log of -v.
    assert TOKEN not in said


@pytest.mark.posix  # Elsewhere a process cannot be told to end.
def test_json_is_one_document(runs: Path, spawn: Callable[..., Process]) -> None:
    """`--json` prints the address and the voices, and nothing else until the end."""
    process = spawn("serve", "--port", "0", "--json", "second")
    url = process.wait_for('"url"').split('"')[3]
    assert requests.get(f"{url}/health", timeout=9).ok
    told = json.loads(process.interrupt().out)
    assert told["url"] == url
    assert (told["token"], [voice["id"] for voice in told["voices"]]) == (False, ["second"])


def test_a_package_is_served(runs: Path) -> None:
    """A package is verified and has its run's name; no copy of it is left."""
    out = runs.parent / "mine.zip"
    source = runs / "second" / "session-01" / "voice"
    write_package(out, {name: (source / name).read_bytes() for name in ("voice.json", "voice.onnx")})
    (item,) = open_voices([(None, out)])
    assert (item.name, item.source, item.voice.place.exists()) == ("mine", out, False)
    assert next(item.voice.say("আমি")).seconds > 0
    out.write_bytes(out.read_bytes()[:-100])
    with pytest.raises(UsageError, match="ZIP"):
        open_voices([(None, out)])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing"], 2, "Nothing of nothing has been downloaded"),
        (["--host", "0.0.0.0"], 2, "--token-file token.txt"),  # noqa: S104 - what is refused.
        (["--host", "192.0.2.1", "--token-file", "token.txt"], 8, "kgtts cannot listen on 192.0.2.1"),
        (["--token-file", "short.txt"], 2, "at least 16 characters"),
        (["a b=bangla-tts"], 2, "cannot be a voice's name"),
        (["--noise", "9"], 2, "0.0<=x<=3.0"),
        (["--port", "99999"], 2, "0<=x<=65535"),
        (["damaged"], 2, "cannot be used"),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_a_sentence(
    cli: Cli, runs: Path, arguments: list[str], code: int, words: str
) -> None:
    """An error names what failed and what to type next; nothing is served."""
    Path("token.txt").write_text(TOKEN, encoding="utf-8")
    Path("short.txt").write_text("short", encoding="utf-8")
    put_voice(Path("damaged"), graph()).with_suffix(".onnx").write_bytes(b"x")
    result = cli("serve", *arguments)
    assert (result.code, result.out) == (code, "")
    assert words in result.err


def test_a_port_in_use_is_told(cli: Cli, runs: Path) -> None:
    """The error says to give another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = cli("serve", "--port", str(taken.getsockname()[1]))
    assert (result.code, "give another --port" in result.err) == (8, True)


def test_without_the_extra_it_says_what_to_install(
    cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is 8."""
    for name in [name for name in sys.modules if name.startswith("orchestrator.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette.requests", None)
    result = cli("serve")
    assert result.code == 8
    assert 'pip install "kgtts[serve]"' in result.err
