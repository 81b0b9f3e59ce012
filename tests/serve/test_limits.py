"""Hostile and unlucky clients: large, slow, broken, many, gone."""

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.errors import UsageError
from orchestrator.serve import Limits, ServedVoice, Server, Voices
from orchestrator.voice import SynthesisOptions, Utterance, Voice
from tests.serve.making import (
    TEXT,
    HeldVoice,
    client_of,
    eventually,
    exchange,
    held_voices,
    plain,
    running,
    tiny_voices,
)

HEAD = b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ASK = json.dumps({"input": TEXT, "response_format": "wav"}).encode()


def request(body: bytes = ASK, more: bytes = b"Connection: close\r\n") -> bytes:
    """A whole request for speech."""
    return HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def sent_before_the_cut(connection: socket.socket, part: bytes, most: int, wait_s: float = 0.0) -> int:
    """Send a part again and again until the server closes the connection; returns the bytes that went."""
    sent = 0
    try:
        while sent < most:
            connection.sendall(part)
            sent += len(part)
            time.sleep(wait_s)  # Where it is the client's slowness that is tested.
    except OSError:
        pass
    return sent


def is_closed(connection: socket.socket) -> bool:
    """Whether the server closes a connection without another byte."""
    try:
        return connection.recv(4_096) == b""
    except ConnectionError:
        return True


def code(answer: bytes) -> tuple[int, str | None]:
    """The status and the error's code."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    return status, json.loads(body)["error"]["code"] if body.startswith(b'{"error') else None


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"null",
            b"[]",
            b'"x"',
            b"\xff\xfe",
            b'{"input": 5}',
            b'{"input": "\\ud800"}',
            b'{"input": "\xff"}',
        ),
        *(
            b"[" * 100_000,
            b'{"input": "x", "speed": NaN}',
            b'{"input": "x", "speed": true}',
            b'{"input": "x", "a": {}}',
        ),
        *(b'{"input": "x", "voice": ["asha"]}', b'{"input": null}', b'{"input": "x", "speed": 1e999}'),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_broken_json_is_a_sentence(server: Server, body: bytes) -> None:
    """Whatever the body is, the answer is an error in JSON, and the server goes on."""
    status, found = code(exchange(server, request(body)))
    assert (status, found) in (
        (400, "invalid_json"),
        (400, "invalid_value"),
        (400, "unknown_field"),
        (413, "text_too_long"),
    )
    assert code(exchange(server, request()))[0] == 200


@pytest.mark.parametrize("size", [20_000, 1_000_000, 5_000_000])
def test_a_text_of_a_megabyte_is_refused(server: Server, size: int) -> None:
    """A large body is read to its end, so that its client can read why it is refused."""
    answer = requests.post(f"{server.url}/v1/audio/speech", json={"input": "আ" * (size // 3)}, timeout=30)
    assert answer.status_code in (400, 413)
    assert answer.json()["error"]["code"] == "text_too_long"


def test_a_body_without_end_is_cut_off(server: Server) -> None:
    """A chunked body is counted as it comes; beyond 8 MB nobody listens."""
    with plain(server) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        assert sent_before_the_cut(connection, chunk, 1 << 28) < 16 << 20


def test_a_chunked_body_is_a_body(server: Server) -> None:
    """Chunks of one byte make the same request."""
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in ASK)
    answer = exchange(
        server, HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    )
    assert code(answer)[0] == 200


@pytest.mark.parametrize(
    "head",
    [
        *(
            b"\0\0\0",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
        ),
        *(
            b"GET /a\rb HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\nY b\r\n\r\n",
        ),
        *(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",),
        *(
            HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            HEAD + b"Content-Length: -1\r\n\r\n",
        ),
        *(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000,),
    ],
    ids=lambda head: repr(head[:40]),
)
def test_what_is_no_http_is_refused(server: Server, head: bytes) -> None:
    """A head that is none is answered with 400, and nothing of it comes back as a header."""
    with plain(server) as connection:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65_536)
    assert not answer or answer.startswith(b"HTTP/1.1 40"), answer
    assert code(exchange(server, request()))[0] == 200


def test_nothing_of_a_text_becomes_a_header(server: Server) -> None:
    """Line ends and colons in text and names stay in the body."""
    body = json.dumps({"input": "আ\r\nSet-Cookie: a=b\r\n\r\n☺", "response_format": "wav"}).encode()
    head = exchange(server, request(body)).partition(b"\r\n\r\n")[0]
    assert b"set-cookie" not in head.lower()
    assert b"kgtts-left-out" in head
    body = json.dumps({"input": "আ", "voice": "x\r\nSet-Cookie: a=b"}).encode()
    head = exchange(server, request(body)).partition(b"\r\n\r\n")[0]
    assert b"set-cookie" not in head.lower()


@pytest.mark.parametrize(
    "text",
    [
        "আমি 👨‍👩‍👧‍👦🏳️‍🌈 তুমি",
        "\u202eআমি\u202c \u2066x\u2069",
        "<script>alert(1)</script> আমি",
        "আ\0\x1b[31mমি",
        "ক্" * 300,
        "\u200d" * 900 + "আ",
        "আ" + "\u0981" * 900,
        "।" * 900 + "আ",
        "9" * 900,
        "- . , " * 100 + "আ",
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_odd_texts_are_spoken_or_refused(server: Server, text: str) -> None:
    """Emoji, marks of direction, HTML, control characters and endless clusters do no harm."""
    for path in ("audio/speech", "text"):
        fields = {"response_format": "wav"} if path == "audio/speech" else {}
        answer = requests.post(f"{server.url}/v1/{path}", json={"input": text, **fields}, timeout=30)
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400:
            assert answer.json()["error"]["code"] == "nothing_to_say"


def test_a_slow_head_is_cut_off(tmp_path: Path) -> None:
    """A client that sends its head byte by byte (slow loris) loses its connection; a quick one is served."""
    with running(tiny_voices(tmp_path), limits=Limits(head_s=0.15)) as server, plain(server) as slow:
        slow.sendall(HEAD)
        assert sent_before_the_cut(slow, b"X", 1_000, 0.01) < 100
        assert code(exchange(server, request()))[0] == 200
        with plain(server) as kept:  # So is one on a connection that has been served before.
            kept.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += kept.recv(4_096)
            kept.sendall(b"GET /he")
            assert is_closed(kept)


def test_a_thousand_connections_shut_nobody_out(tmp_path: Path) -> None:
    """The oldest idle connection makes room; a request that is being answered stays."""
    voices, held = held_voices(tmp_path)
    with running(voices, limits=Limits(connections=20)) as server, plain(server) as busy:
        busy.sendall(request())
        assert busy.recv(65_536).startswith(b"HTTP/1.1 200")
        crowd = [plain(server) for _ in range(1_000)]
        try:
            eventually(lambda: len(server.connections) <= 20)
            assert requests.get(f"{server.url}/health", timeout=9).json()["places_in_use"] == 1
            held.more.release(9)
            while part := busy.recv(65_536):
                last = part
            assert last.endswith(b"0\r\n\r\n")
        finally:
            for one in crowd:
                one.close()


def test_a_client_that_goes_away_frees_its_place(tmp_path: Path) -> None:
    """Its place is free at once, and no sentence is made for it any more."""
    voices, held = held_voices(tmp_path)
    with running(voices, limits=Limits(places=1)) as server:
        with plain(server) as connection:
            connection.sendall(request())
            assert connection.recv(65_536)
            eventually(lambda: held.asked == 2)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        eventually(lambda: server.studio.busy == 0)
        held.more.release(1)
        assert client_of(server).audio.speech.create(model="tts-1", voice="asha", input="আ").content
        assert held.asked == 3
        assert metric(server, "kgtts_clients_gone_total") == 1


def test_one_that_leaves_while_it_waits_frees_its_place(tmp_path: Path) -> None:
    """A request whose first sentence waits for a worker ends with its client, too."""
    voices, held = held_voices(tmp_path)
    with running(voices, limits=Limits(workers=1)) as server, plain(server) as first:
        first.sendall(request())
        assert first.recv(65_536)
        with plain(server) as second:
            second.sendall(request())
            eventually(lambda: server.studio.busy == 2)
        eventually(lambda: server.studio.busy == 1)
        held.more.release(9)
        while first.recv(65_536):
            pass


def test_a_client_that_takes_nothing_frees_its_place(tmp_path: Path) -> None:
    """Sound that nobody takes is dropped after a while, with its connection."""
    long = json.dumps(
        {"input": "আমি আমি আমি আমি আমি। " * 400, "response_format": "wav", "speed": 0.25}
    ).encode()
    with running(tiny_voices(tmp_path), limits=Limits(stall_s=0.2)) as server, socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stalled.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        stalled.sendall(request(long))
        eventually(lambda: server.studio.busy == 1)
        eventually(lambda: server.studio.busy == 0)
        assert metric(server, "kgtts_clients_gone_total") == 1


def test_the_end_tells_those_who_are_left(tmp_path: Path) -> None:
    """After the grace a waiting request gets 503, and one that is read breaks off before its end."""
    voices, held = held_voices(tmp_path)
    with running(voices, limits=Limits(workers=1, grace_s=0.1)) as server, plain(server) as first:
        first.sendall(request())
        assert first.recv(65_536)
        with plain(server) as second:
            second.sendall(request())
            eventually(lambda: server.studio.busy == 2)
            server.stop()
            answer = b""
            while part := second.recv(65_536):
                answer += part
            assert code(answer) == (503, "stopping")
            assert b"retry-after: 30" in answer.lower()
        rest = b""
        with contextlib.suppress(ConnectionError):
            while part := first.recv(65_536):
                rest += part
        assert not rest.endswith(b"0\r\n\r\n")
        held.more.release(9)


def test_a_request_in_flight_is_finished(tmp_path: Path) -> None:
    """A stop lets a request end that can; meanwhile nobody new is let in."""
    voices, held = held_voices(tmp_path)
    with running(voices) as server, plain(server) as first:
        first.sendall(request())
        answer = first.recv(65_536)
        server.stop()
        held.more.release(9)
        while part := first.recv(65_536):
            answer += part
        assert answer.endswith(b"0\r\n\r\n")


def test_a_voice_that_fails_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A stream breaks off, a whole file is an error; the reason is only in the log."""
    tiny = tiny_voices(tmp_path).all[0]

    class Failing(HeldVoice):
        def say(self, text: str, options: SynthesisOptions | None = None) -> Iterator[Utterance]:
            yield next(self._voice.say(text, options))
            raise UsageError("The voice at /home/asha cannot be used: it hums.")

    voices = Voices((ServedVoice("asha", cast("Voice", Failing(tiny.voice)), tiny.source),))
    with running(voices) as server:
        answer = exchange(server, request())
        assert answer.startswith(b"HTTP/1.1 200")
        assert not answer.endswith(b"0\r\n\r\n")
        for more in ({"stream": False}, {"stream_format": "sse"}):
            body = json.dumps({"input": TEXT, "response_format": "wav", **more}).encode()
            answer = exchange(server, request(body))
            assert b"voice_failed" in answer
            assert b"/home/asha" not in answer
            assert answer.startswith(b"HTTP/1.1 500") is ("stream" in more)
    assert "it hums" in caplog.text


def metric(server: Server, name: str) -> float:
    """The sum of a metric's values, as Prometheus reads them."""
    text = requests.get(f"{server.url}/metrics", timeout=9).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )


def test_metrics_and_health_tell_what_happened(tmp_path: Path) -> None:
    """Requests, speech, work and places are counted."""
    with running(tiny_voices(tmp_path), limits=Limits(places=7)) as server:
        assert code(exchange(server, request()))[0] == 200
        assert code(exchange(server, request(b"{")))[0] == 400
        assert metric(server, "kgtts_requests_total") == 2
        assert metric(server, "kgtts_characters_total") == len(TEXT)
        assert metric(server, "kgtts_speech_seconds_total") > 1
        assert metric(server, "kgtts_synthesis_seconds_total") > 0
        assert metric(server, "kgtts_first_sound_seconds_count") == 1
        assert metric(server, "kgtts_places") == 7
        assert requests.get(f"{server.url}/health", timeout=9).json() == {
            "status": "ok",
            "voices": 1,
            "places": 7,
            "places_in_use": 0,
        }
