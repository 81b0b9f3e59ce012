"""Connections that are too slow or too many: they are closed, so that others are served."""

import asyncio
from typing import cast

import h11
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

TRANSPORT = "transport"


class GuardedConnection(H11Protocol):
    """uvicorn's connection, with a time limit for each request's head and a limit on their number.

    Attributes:
        opened: when it was made, in seconds of the loop's clock.
        head_s: the time limit for a head, in seconds.
        most: how many connections may be open.

    uvicorn waits for a head as long as its client likes. Beyond the limit the oldest connection closes on
    which nothing is being answered, so somebody who holds many of them open shuts nobody out.
    """

    head_s: float
    most: int

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # As uvicorn has it.
        """Begin to wait for a request; make room if there are too many."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
        self.opened = self.loop.time()
        self._waiting: asyncio.TimerHandle | None = None
        self._wait()
        if len(self.connections) > self.most:
            idle = [one for one in self.connections if isinstance(one, GuardedConnection) and one.is_idle]
            if oldest := min(idle, key=lambda one: one.opened, default=None):
                oldest.transport.abort()
                self.connections.discard(oldest)  # The next one is another, even before this one has closed.

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Take bytes; the time limit ends with a request's head and begins with the next one's first byte."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        elif self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        if self._waiting is not None:
            self._waiting.cancel()

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(self.head_s, self._too_slow)

    def _too_slow(self) -> None:
        self._waiting = None
        if self.is_idle:
            self.transport.abort()


async def cut_off(scope: Scope) -> None:
    """Close a request's connection amid its response, which tells the client that more should come."""
    scope["state"][TRANSPORT].abort()
    await asyncio.sleep(0)  # uvicorn learns of it before the application returns.
