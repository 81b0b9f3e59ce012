"""One request's body, within its limits, and its response, as far as it has been sent."""

import asyncio
import base64
import json
from typing import Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Send

from kernel_template.text.pieces import Spoken
from orchestrator.serve.formats import MEDIA_TYPES
from orchestrator.serve.request import ApiError, SpeechRequest
from orchestrator.voice import Utterance

LEFT_OUT_HEADER = b"kgtts-left-out"
_BODY_TIMEOUT_S = 30.0
_DRAINED_BYTES = 8 << 20  # So much of a body that is too large is read, to be able to answer it.
_MOST_LEFT_OUT = 50


class ResponseProgress:
    """The response to one request, as far as it has been sent."""

    def __init__(self, send: Send, stall_s: float) -> None:
        self.status: int | None = None
        self.begun = False
        self._out = send
        self._stall_s = stall_s
        self._events = False
        self._kept: bytearray | None = None

    async def start(self, asked: SpeechRequest, prepared: Spoken) -> None:
        """Send the head of a response with sound."""
        self.status = 200
        self._events = asked.stream_format == "sse"
        kind = "text/event-stream" if self._events else MEDIA_TYPES[asked.response_format]
        self._headers = [(b"content-type", kind.encode())]
        if prepared.lost:
            letters = "".join(loss.character for loss in prepared.lost[:_MOST_LEFT_OUT])
            self._headers.append((LEFT_OUT_HEADER, quote(letters, safe="").encode()))
        if not asked.stream and not self._events:
            self._kept = bytearray()
            return
        await self._send_start()

    async def _send_start(self) -> None:
        await self._send({"type": "http.response.start", "status": self.status, "headers": self._headers})

    async def send(self, sound: bytes, said: Utterance | None = None) -> None:
        """Send sound; as an event it has the sentence with it."""
        if self._events:
            if sound or said is not None:
                more = {} if said is None else {"text": said.text, "seconds": said.seconds + said.pause_s}
                audio = base64.b64encode(sound).decode()
                await self._event({"type": "speech.audio.delta", "audio": audio, **more})
        elif self._kept is not None:
            self._kept += sound
        elif sound:
            await self._send({"type": "http.response.body", "body": sound, "more_body": True})

    async def end(self) -> None:
        """Send what is left, and the end."""
        if self._events:
            usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
            await self._event({"type": "speech.audio.done", "usage": usage})
        body = b""
        if self._kept is not None:
            body = bytes(self._kept)
            self._headers.append((b"content-length", str(len(body)).encode()))
            await self._send_start()
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def whole(self, response: JSONResponse) -> None:
        """Send a whole response."""
        self.status = response.status_code
        await self._send(
            {"type": "http.response.start", "status": self.status, "headers": response.raw_headers}
        )
        await self._send({"type": "http.response.body", "body": response.body})

    async def tell(self, error: ApiError) -> bool:
        """Tell a client that reads events why no more come; returns whether it does."""
        if self._events:
            await self._event({"type": "error", **error.body})
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        return self._events

    async def _event(self, content: dict[str, Any]) -> None:
        text = f"event: {content['type']}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    async def _send(self, message: Message) -> None:
        """Send a message.

        Raises:
            ClientDisconnect: the client takes nothing for too long.
        """
        self.begun = True
        try:
            async with asyncio.timeout(self._stall_s):
                await self._out(message)
        except TimeoutError:
            raise ClientDisconnect from None


async def read_body(request: Request, largest: int) -> bytes:
    """The body of a request.

    Raises:
        ApiError: 415, 413 or 408; it is no JSON, too large or too slow.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A form or plain text is what a page of another site can send unasked.
        raise ApiError(415, "Send JSON with `Content-Type: application/json`.", "not_json")
    body = bytearray()
    size = 0
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size <= largest:
                    body += part
                if size > _DRAINED_BYTES:
                    break
    except TimeoutError:
        raise ApiError(
            408, f"The request took longer than {_BODY_TIMEOUT_S:.0f} s to arrive.", "too_slow"
        ) from None
    if size > largest:
        raise ApiError(
            413,
            f"The request has more than {largest:,} bytes. Send the text in parts.",
            "text_too_long",
            param="input",
        )
    return bytes(body)


async def nothing() -> Message:
    """Receive nothing more."""
    return {"type": "http.disconnect"}


async def client_left(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
