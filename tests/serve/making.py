"""A server in this process, and voices for it: the graph that hums, or one that waits to be let go on."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kernel_template.text.pieces import Spoken
from kernel_template.text.sentences import Reading
from orchestrator.serve import Access, Limits, ServedVoice, Server, Voices, open_voices
from orchestrator.voice import SynthesisOptions, Utterance, Voice
from tests.support import Later
from tests.voice.making import graph, put_voice

if TYPE_CHECKING:
    import openai
else:
    openai = Later("openai")

TEXT = "আমি আমি। তুমি? বাব আমি! আমি"
PATIENCE_S = 30.0
_clients: dict[tuple[str, str], "openai.OpenAI"] = {}
TOKEN = "made-up-token-0123456789"


class HeldVoice:
    """A voice that gives its first sentence, and each further one when it is let go on."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self.card = voice.card
        self.place = voice.place
        self.speakers = voice.speakers
        self.more = threading.Semaphore(0)
        self.asked = 0

    def spoken(self, text: str) -> Spoken:
        """As the voice."""
        return self._voice.spoken(text)

    def read(self, text: str) -> Iterator[Reading]:
        """As the voice."""
        return self._voice.read(text)

    def say(self, text: str, options: SynthesisOptions | None = None) -> Iterator[Utterance]:
        """As the voice, but waiting before all sentences but the first."""
        for number, said in enumerate(self._voice.say(text, options)):
            self.asked += 1
            if number:
                assert self.more.acquire(timeout=PATIENCE_S)
            yield said


def tiny_voices(folder: Path, **card: Any) -> Voices:
    """One voice, called `asha`."""
    return open_voices([("asha", put_voice(folder, graph(), **card))])


def held_voices(folder: Path) -> tuple[Voices, HeldVoice]:
    """One voice that waits, called `asha`."""
    tiny = tiny_voices(folder).all[0]
    held = HeldVoice(tiny.voice)
    return Voices((ServedVoice("asha", cast("Voice", held), tiny.source),)), held


@contextmanager
def running(voices: Voices, access: Access | None = None, limits: Limits | None = None) -> Iterator[Server]:
    """Serve in a thread."""
    server = Server(voices, access or Access(), 0, limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        for key in [key for key in _clients if key[0] == server.url]:
            _clients.pop(key).close()
        server.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def client_of(server: Server, key: str = "any") -> "openai.OpenAI":
    """The real client, which is closed with the server."""
    known = (server.url, key)
    if known not in _clients:
        url = f"{server.url}/v1"
        _clients[known] = openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=PATIENCE_S)
    return _clients[known]


def plain(server: Server) -> socket.socket:
    """A bare connection to a server."""
    port = int(server.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def exchange(server: Server, request: bytes) -> bytes:
    """All that a server answers to some bytes, until it closes the connection."""
    with plain(server) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
        return answer


def eventually(condition: Any) -> None:
    """Wait until something is true."""
    until = threading.Event()
    for _ in range(int(PATIENCE_S * 200)):
        if condition():
            return
        until.wait(0.005)
    raise AssertionError("it did not become true")
