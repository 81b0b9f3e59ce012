"""Speech for a bounded number of requests, sentence by sentence and in turns.

Each request has a place until it ends. Its next sentence is made only when its client has taken the one
before the last, so a slow client costs a place and a sentence of memory, but no work, and many long texts
advance together. First sentences go before others: the first sound of a new request waits for sentences that
are being made, not for whole texts. A client that leaves frees its place at once.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from kernel_template.text.pieces import Spoken, joined
from orchestrator.errors import KgttsError
from orchestrator.serve.connection import cut_off
from orchestrator.serve.formats import open_encoder
from orchestrator.serve.measures import ServerMetrics
from orchestrator.serve.request import ApiError, SpeechRequest, largest_body, parse_speech, parse_text
from orchestrator.serve.response import ResponseProgress, client_left, nothing, read_body
from orchestrator.serve.voices import ServedVoice, Voices
from orchestrator.voice import SynthesisOptions, Utterance, pcm16
from orchestrator.voice.speech import name_all

SPEECH_PATH = "/v1/audio/speech"
TEXT_PATH = "/v1/text"
_LONGEST_WAIT_S = 60
_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes at once.

    Attributes:
        text: characters of one request.
        places: requests in progress or waiting; one more is refused with 429.
        workers: sentences that are spoken at the same time.
        stall_s: how long a client may leave sound untaken, in seconds.
        grace_s: how long requests in flight may go on once the server is stopped, in seconds.
        head_s: how long a client may take for a request's head, in seconds.
        connections: open connections; more than a process may have open files would fail.
    """

    text: int = 10_000
    places: int = 32
    workers: int = 2
    stall_s: float = 60.0
    grace_s: float = 10.0
    head_s: float = 10.0
    connections: int = 256


class Studio:
    """The voices, the workers that speak with them, and the places of requests."""

    def __init__(self, voices: Voices, limits: Limits) -> None:
        self.voices = voices
        self.limits = limits
        self.measures = ServerMetrics(limits.places)
        self.stopping = asyncio.Event()
        self.busy = 0
        self._typical_s = 1.0
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="speaking")
        self._free = limits.workers
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._later: deque[asyncio.Future[None]] = deque()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            ApiError: 429, all are taken, with the seconds until one is probably free.
        """
        if self.busy >= self.limits.places:
            soon = min(max(1, round(self._typical_s / self.limits.places)), _LONGEST_WAIT_S)
            raise ApiError(
                429,
                f"All {self.limits.places} places are taken; try again in {soon} s.",
                "server_busy",
                retry_after_s=soon,
            )
        self.busy += 1
        self.measures.busy.set(self.busy)
        began = time.monotonic()
        try:
            yield
        finally:
            self.busy -= 1
            self.measures.busy.set(self.busy)
            self._typical_s += (time.monotonic() - began - self._typical_s) / 8

    async def work(self, call: Callable[..., T], *arguments: Any, urgent: bool = True) -> T:
        """Run a call on a worker; one that has not begun is dropped if its request ends.

        Urgent calls go before others: whoever has heard a sentence already can wait longer for the next one
        than somebody who has heard none.
        """
        loop = asyncio.get_running_loop()
        if self._free:
            self._free -= 1
        else:
            turn = loop.create_future()
            (self._urgent if urgent else self._later).append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    self._release()
                raise
        job = self._pool.submit(call, *arguments)

        def end(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # The server has ended.
                loop.call_soon_threadsafe(self._release)

        job.add_done_callback(end)
        return await asyncio.wrap_future(job)

    def _release(self) -> None:
        """Give a free worker to a waiting call."""
        for turns in (self._urgent, self._later):
            while turns:
                turn = turns.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1

    def close(self) -> None:
        """Begin nothing new."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Endpoint:
    """Serves a path: reads the body within its limits, holds a place, and ends when the client leaves."""

    path: str

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        progress = ResponseProgress(send, self._studio.limits.stall_s)
        try:
            body = await read_body(Request(scope, receive), largest_body(self._studio.limits.text))
            with self._studio.place():
                await self._unless_gone(self._answer(body, progress), receive)
        except ClientDisconnect:
            progress.status = 499  # As servers write it of a client that left.
            self._studio.measures.gone.inc()
            await cut_off(scope)
        except ApiError as error:
            await self._refuse(error, progress, scope, send)
        except Exception as error:  # noqa: BLE001 # Whatever it is, it ends one request, not the server.
            _log.error("%s failed: %s: %s", self.path, type(error).__name__, error)
            _log.debug("where it failed", exc_info=True)
            fault = ApiError(500, "kgtts itself failed; the server's terminal says why.", "internal_error")
            await self._refuse(fault, progress, scope, send)
        finally:
            self._studio.measures.requests.labels(self.path, str(progress.status)).inc()

    async def _refuse(self, error: ApiError, progress: ResponseProgress, scope: Scope, send: Send) -> None:
        """Answer with an error; amid speech it is an event, or the connection breaks off."""
        progress.status = error.status
        if not progress.begun:
            await error.response()(scope, nothing, send)
            return
        with contextlib.suppress(ClientDisconnect):
            if await progress.tell(error):
                return
        await cut_off(scope)

    async def _answer(self, body: bytes, progress: ResponseProgress, /) -> None:
        raise NotImplementedError

    async def _unless_gone(self, answer: Awaitable[None], receive: Receive) -> None:
        """Answer, unless the client leaves or the server ends before.

        Raises:
            ClientDisconnect: the client is gone.
            ApiError: 503, the server ends.
        """
        answering = asyncio.ensure_future(answer)
        leaving = asyncio.ensure_future(client_left(receive))
        ending = asyncio.ensure_future(self._studio.stopping.wait())
        waits = (answering, leaving, ending)
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
            elif leaving.done():
                raise ClientDisconnect
            else:
                raise ApiError(
                    503, "The server is being stopped; try again later.", "stopping", retry_after_s=30
                )
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


class SpeechEndpoint(Endpoint):
    """POST /v1/audio/speech."""

    path = SPEECH_PATH

    async def _answer(self, body: bytes, progress: ResponseProgress) -> None:
        began = time.monotonic()
        studio = self._studio
        asked = parse_speech(body, studio.limits.text)
        served, speaker = studio.voices.choose(asked.model, asked.voice_name)
        noise = studio.voices.noise if asked.noise is None else asked.noise
        synthesis = _Synthesis(served, asked, SynthesisOptions(asked.speed, noise, speaker))
        prepared, part = await studio.work(synthesis.begin)
        studio.measures.characters.labels(served.name).inc(len(asked.input))
        studio.measures.first_sound.observe(time.monotonic() - began)
        await progress.start(asked, prepared)
        while part.said is not None:
            part = await self._send(part.said, part.sound, synthesis, progress)
        await progress.send(part.sound)
        await progress.end()
        _log.info("%s: %s characters in %.2f s", served.name, len(asked.input), time.monotonic() - began)

    async def _send(
        self, said: Utterance, sound: bytes, synthesis: "_Synthesis", progress: ResponseProgress
    ) -> "_Part":
        """Send a sentence while the next one is being made; returns that."""
        coming = asyncio.ensure_future(self._studio.work(synthesis.go_on, urgent=False))
        try:
            name = synthesis.served.name
            self._studio.measures.speech.labels(name).inc(said.seconds + said.pause_s)
            self._studio.measures.work.labels(name).inc(said.took_s)
            await progress.send(sound, said)
            return await coming
        finally:
            coming.cancel()
            with contextlib.suppress(asyncio.CancelledError, ApiError):
                await coming


@dataclass(frozen=True, slots=True)
class _Part:
    """A sentence with its encoded sound; without a sentence, the end of the sound."""

    said: Utterance | None
    sound: bytes


class _Synthesis:
    """A text that is being spoken and encoded, sentence by sentence, by one worker at a time."""

    def __init__(self, served: ServedVoice, asked: SpeechRequest, options: SynthesisOptions) -> None:
        self.served = served
        self._text = asked.input
        self._rate = served.voice.card.audio.sample_rate
        self._encoder = open_encoder(asked.response_format, self._rate, whole=not asked.stream)
        self._sentences = served.voice.say(asked.input, options)

    def begin(self) -> tuple[Spoken, _Part]:
        """Read the whole text, and speak the first sentence that sounds.

        Raises:
            ApiError: 400, nothing of the text can be spoken; 500, the voice failed.
        """
        with _failures(self.served):
            prepared = self.served.voice.spoken(self._text)
        unknown = dict.fromkeys(loss.character for loss in prepared.lost)
        while (part := self.go_on()).said is not None:
            if part.said.seconds:
                return prepared, part
            unknown.update(dict.fromkeys(part.said.unknown))
        of = f": it cannot say {name_all(unknown)}" if unknown else ", as cleaning leaves nothing of it"
        told = (
            f"The voice {self.served.name} can say nothing of this text{of}. Write it in the voice's script."
        )
        raise ApiError(400, told, "nothing_to_say", param="input")

    def go_on(self) -> _Part:
        """Speak the next sentence.

        Raises:
            ApiError: 500, the voice failed.
        """
        with _failures(self.served):
            said = next(self._sentences, None)
        if said is None:
            return _Part(None, self._encoder.end())
        return _Part(said, self._encoder.add(pcm16(said.samples, said.pause_s, self._rate)))


class TextEndpoint(Endpoint):
    """POST /v1/text: what a text becomes when a voice speaks it."""

    path = TEXT_PATH

    async def _answer(self, body: bytes, progress: ResponseProgress) -> None:
        asked = parse_text(body, self._studio.limits.text)
        served, _ = self._studio.voices.choose(asked.model, asked.voice_name)
        told = await self._studio.work(_tell, served, asked.input)
        await progress.whole(JSONResponse(told))


@contextmanager
def _failures(served: ServedVoice) -> Iterator[None]:
    """Log what is wrong with a voice; a client is told no places of this machine.

    Raises:
        ApiError: 500, the voice failed.
    """
    try:
        yield
    except KgttsError as error:
        _log.error("%s: %s", served.name, error.message)  # The message is the whole story.
        told = f"The voice {served.name} failed at this text; the server's terminal says why."
        raise ApiError(500, told, "voice_failed") from error


def _tell(served: ServedVoice, text: str) -> dict[str, Any]:
    with _failures(served):
        parts = list(served.voice.read(text))
    said = joined([part.said for part in parts])
    return {
        "spoken": said.text,
        "sentences": [sentence.text for part in parts for sentence in part.sentences],
        "changes": [
            {"rule": piece.rule, "source": piece.source, "result": piece.result}
            for piece in said.pieces
            if piece.rule != "space"
        ],
        "left_out": [
            {
                "character": loss.character,
                "name": name_all([loss.character]),
                "count": loss.count,
                "harmful": loss.harmful,
            }
            for loss in said.lost
        ],
        "doubtful": list(said.doubtful),
        "remarks": list(said.remarks),
    }
