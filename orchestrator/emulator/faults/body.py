"""What befalls the bytes of an answer on their way: slower, fewer, others, or none any more."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from orchestrator.emulator.faults import plan as faults
from orchestrator.emulator.faults.switch import Struck
from orchestrator.emulator.wire.connections import reset

_TICK_S = 0.01  # A shaped connection gets a piece this often: smooth enough, and little work.
_CATCH_UP_S = 0.05  # What a late piece may make up for; more would be a burst.
_LEAST_PIECE, _MOST_PIECE = 512, 1 << 18
_GLANCE_S = 0.05
_EVENT = b"data:"
_STOPS = (faults.Reset, faults.Truncated, faults.Stalled)


class CutOffError(Exception):
    """The answer ends here; the connection is closed already."""


async def pause(seconds: float, given_up: Callable[[], bool]) -> None:
    """Sleep, but not longer than somebody waits for it.

    Raises:
        CutOffError: nobody does.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        await asyncio.sleep(min(left, _GLANCE_S))
        if given_up():
            raise CutOffError


class FaultyBody:
    """Sends an answer as the faults that struck it want.

    Args:
        struck: those faults.
        send: the way out.
        transport: the connection.
        stopping: whether the server is about to end.
    """

    def __init__(
        self, struck: Struck, send: Send, transport: asyncio.Transport, stopping: Callable[[], bool]
    ) -> None:
        self._struck = struck
        self._out = send
        self._transport = transport
        self._stopping = stopping
        self._rate = min((fault.bytes_per_s for fault in struck.all(faults.Bandwidth)), default=None)
        self._piece = min(max(int((self._rate or 0) * _TICK_S), _LEAST_PIECE), _MOST_PIECE)
        self._stops = sorted(
            (fault for fault in struck.faults if isinstance(fault, _STOPS)), key=lambda fault: fault.after
        )
        self._drop: faults.LogDropped | None = None
        self._wrong: set[int] = set()
        self._events = 0
        self._last_event = 0.0
        self._sent = 0
        self._due = 0.0
        self._over = False

    async def send(self, message: Message) -> None:
        """Pass on one message of the application, or what is left of it.

        Raises:
            CutOffError: the answer ends here.
        """
        if self._over or self._given_up():
            raise CutOffError
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message["type"] == "http.response.body":
            await self._carry(message)
        else:
            await self._out(message)

    async def _begin(self, message: Message) -> None:
        if self._stops and isinstance(self._stops[0], faults.Reset) and not self._stops[0].after:
            await self._cut(reset(self._transport))
        headers = MutableHeaders(raw=list(message["headers"]))
        length = int(headers.get("content-length", 0))
        for fault in self._struck.all(faults.Corrupted):
            self._wrong.add(length // 2 if fault.at is None else min(fault.at, length - 1))
        for short in self._struck.all(faults.Truncated):
            if short.declared and short.after < length:
                headers["content-length"] = str(int(short.after))
        if headers.get("content-type", "").startswith("text/event-stream"):
            self._drop = self._struck.one(faults.LogDropped)
        self._due = self._last_event = asyncio.get_running_loop().time()
        await self._out({**message, "headers": headers.raw})
        await self._drop_log()

    async def _carry(self, message: Message) -> None:
        data, more = message.get("body", b""), message.get("more_body", False)
        at = 0
        while at < len(data):
            await self._stop()
            size = min(len(data) - at, self._until_stop())
            if self._rate is not None:
                size = min(size, self._piece)
                await self._pace(size)
            piece = data if size == len(data) else data[at : at + size]
            at += size
            await self._out(
                {**message, "body": self._spoilt(piece), "more_body": more or at < len(data)},
            )
            self._sent += size
        if not data:
            await self._out(message)
        if data.startswith(_EVENT):
            self._events += 1
            self._last_event = asyncio.get_running_loop().time()
        await self._drop_log()

    async def _pace(self, size: int) -> None:
        """Wait until the connection could have carried the piece to its end."""
        assert self._rate is not None
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - _CATCH_UP_S) + size / self._rate
        if self._due > now:
            await pause(self._due - now, self._given_up)

    def _until_stop(self) -> int:
        return self._stops[0].after - self._sent if self._stops else _MOST_PIECE << 4

    async def _stop(self) -> None:
        """Do what is due at this byte; there is at least one more to come."""
        while self._stops and self._stops[0].after <= self._sent:
            fault = self._stops.pop(0)
            if isinstance(fault, faults.Stalled):
                await pause(fault.seconds, self._given_up)
                self._due = asyncio.get_running_loop().time()
            elif isinstance(fault, faults.Reset):
                await self._cut(reset(self._transport))
            elif fault.declared:
                await self._cut(self._out({"type": "http.response.body", "body": b"", "more_body": False}))
            else:
                await self._cut(self._close())

    def _spoilt(self, piece: bytes) -> bytes:
        for at in self._wrong:
            if self._sent <= at < self._sent + len(piece):
                changed = bytearray(piece)
                changed[at - self._sent] ^= 0x55
                piece = bytes(changed)
        return piece

    async def _drop_log(self) -> None:
        drop = self._drop
        if drop is None:
            return
        idle_s = asyncio.get_running_loop().time() - self._last_event
        said_enough = drop.lines is not None and self._events >= drop.lines
        if said_enough or (drop.idle_s is not None and self._sent and idle_s >= drop.idle_s):
            if drop.clean:
                await self._cut(self._out({"type": "http.response.body", "body": b"", "more_body": False}))
            await self._cut(self._close())

    async def _close(self) -> None:
        self._transport.close()

    async def _cut(self, end: Awaitable[None]) -> NoReturn:
        self._over = True
        await end
        raise CutOffError

    def _given_up(self) -> bool:
        return self._transport.is_closing() or self._stopping()
