"""Faults of a response's bytes: slower, fewer, different, or cut off, down to the connection itself."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.emulator.faults import kinds
from orchestrator.emulator.faults.plan import RequestFaults

TRANSPORT = "transport"
_TICK_S = 0.01  # A slowed connection gets a piece this often: smooth enough, and little work.
_CATCH_UP_S = 0.05  # How much a late piece may catch up; more would be a burst.
_SMALLEST_PIECE, _LARGEST_PIECE = 512, 1 << 18
_CHECK_EVERY_S = 0.05
_POLL_S = 0.001
_DELIVERY_TIMEOUT_S = 2.0
_EVENT = b"data:"
_STOPS = (kinds.Reset, kinds.Truncated, kinds.Stalled)


class CutOffError(Exception):
    """The response ends here; the connection is closed already."""


class ResettableConnection(H11Protocol):
    """uvicorn's connection, which shows its transport to the application in `scope["state"]`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # As uvicorn has it.
        """Remember the transport for every request of the connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}


async def pause(seconds: float, abandoned: Callable[[], bool]) -> None:
    """Sleep, but only as long as somebody waits for the response.

    Raises:
        CutOffError: nobody waits for it any more.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        await asyncio.sleep(min(left, _CHECK_EVERY_S))
        if abandoned():
            raise CutOffError


class FaultyBody:
    """Sends a response as the faults that hit it demand.

    Args:
        active: those faults.
        send: sends a message to the client.
        transport: the connection.
        stopping: whether the server is being stopped.
    """

    def __init__(
        self, active: RequestFaults, send: Send, transport: asyncio.Transport, stopping: Callable[[], bool]
    ) -> None:
        self._active = active
        self._out = send
        self._transport = transport
        self._stopping = stopping
        self._rate = min((fault.bytes_per_s for fault in active.all(kinds.Bandwidth)), default=None)
        self._piece = min(max(int((self._rate or 0) * _TICK_S), _SMALLEST_PIECE), _LARGEST_PIECE)
        self._stops = sorted(
            (fault for fault in active.faults if isinstance(fault, _STOPS)), key=lambda fault: fault.after
        )
        self._drop: kinds.LogDropped | None = None
        self._wrong: set[int] = set()
        self._events = 0
        self._last_event = 0.0
        self._sent = 0
        self._due = 0.0
        self._over = False

    async def send(self, message: Message) -> None:
        """Pass on one message of the application, or what the faults leave of it.

        Raises:
            CutOffError: the response ends here.
        """
        if self._over or self._abandoned():
            raise CutOffError
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message["type"] == "http.response.body":
            await self._send_body(message)
        else:
            await self._out(message)

    async def _begin(self, message: Message) -> None:
        if self._stops and isinstance(self._stops[0], kinds.Reset) and not self._stops[0].after:
            await self._cut(_reset(self._transport))
        headers = MutableHeaders(raw=list(message["headers"]))
        length = int(headers.get("content-length", 0))
        for fault in self._active.all(kinds.Corrupted):
            self._wrong.add(length // 2 if fault.at is None else min(fault.at, length - 1))
        for short in self._active.all(kinds.Truncated):
            if short.declared and short.after < length:
                headers["content-length"] = str(int(short.after))
        if headers.get("content-type", "").startswith("text/event-stream"):
            self._drop = self._active.first(kinds.LogDropped)
        self._due = self._last_event = asyncio.get_running_loop().time()
        await self._out({**message, "headers": headers.raw})
        await self._drop_log()

    async def _send_body(self, message: Message) -> None:
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
                {**message, "body": self._corrupt(piece), "more_body": more or at < len(data)},
            )
            self._sent += size
        if not data:
            await self._out(message)
        if data.startswith(_EVENT):
            self._events += 1
            self._last_event = asyncio.get_running_loop().time()
        await self._drop_log()

    async def _pace(self, size: int) -> None:
        """Wait until the connection could have carried the whole piece."""
        assert self._rate is not None
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - _CATCH_UP_S) + size / self._rate
        if self._due > now:
            await pause(self._due - now, self._abandoned)

    def _until_stop(self) -> int:
        return self._stops[0].after - self._sent if self._stops else _LARGEST_PIECE << 4

    async def _stop(self) -> None:
        """Apply the faults that are due at this byte; at least one more byte follows."""
        while self._stops and self._stops[0].after <= self._sent:
            fault = self._stops.pop(0)
            if isinstance(fault, kinds.Stalled):
                await pause(fault.seconds, self._abandoned)
                self._due = asyncio.get_running_loop().time()
            elif isinstance(fault, kinds.Reset):
                await self._cut(_reset(self._transport))
            elif fault.declared:
                await self._cut(self._out({"type": "http.response.body", "body": b"", "more_body": False}))
            else:
                await self._cut(self._close())

    def _corrupt(self, piece: bytes) -> bytes:
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
        enough_lines = drop.lines is not None and self._events >= drop.lines
        if enough_lines or (drop.idle_s is not None and self._sent and idle_s >= drop.idle_s):
            if drop.clean:
                await self._cut(self._out({"type": "http.response.body", "body": b"", "more_body": False}))
            await self._cut(self._close())

    async def _close(self) -> None:
        self._transport.close()

    async def _cut(self, end: Awaitable[None]) -> NoReturn:
        self._over = True
        await end
        raise CutOffError

    def _abandoned(self) -> bool:
        return self._transport.is_closing() or self._stopping()


async def _reset(transport: asyncio.Transport) -> None:
    """End a connection with RST, once everything written has reached the client (RST would discard it)."""
    await _wait_for_delivery(transport)
    with suppress(OSError):
        connection: socket.socket = transport.get_extra_info("socket")
        # Closing a socket that lingers for 0 seconds sends RST.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _wait_for_delivery(transport: asyncio.Transport) -> None:
    """Wait until the client's system has acknowledged everything, for two seconds at most."""
    until = asyncio.get_running_loop().time() + _DELIVERY_TIMEOUT_S
    while asyncio.get_running_loop().time() < until and not transport.is_closing():
        waiting = transport.get_write_buffer_size()
        if not waiting:
            answer = bytes(4)
            with suppress(OSError):
                connection: socket.socket = transport.get_extra_info("socket")
                answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, answer)
            (waiting,) = struct.unpack("i", answer)
        if not waiting:
            return
        await asyncio.sleep(_POLL_S)
