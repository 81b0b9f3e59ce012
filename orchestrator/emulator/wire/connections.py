"""What the faults need of a connection that HTTP servers hide: to be reset in the middle of an answer."""

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import suppress

from uvicorn.protocols.http.h11_impl import H11Protocol

TRANSPORT = "transport"
_POLL_S = 0.001
_PATIENCE_S = 2.0


class OpenConnection(H11Protocol):
    """uvicorn's connection, which shows its transport to the application in `scope["state"]`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # As uvicorn has it.
        """Remember the transport for every request of the connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}


async def reset(transport: asyncio.Transport) -> None:
    """End a connection with RST, after what was written has reached the other side (or it will not read)."""
    await _delivered(transport)
    with suppress(OSError):
        handle: socket.socket = transport.get_extra_info("socket")
        # To close a socket that lingers for 0 seconds is what sends RST.
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _delivered(transport: asyncio.Transport) -> None:
    """Wait until nothing is under way: RST throws away what is."""
    until = asyncio.get_running_loop().time() + _PATIENCE_S
    while asyncio.get_running_loop().time() < until and not transport.is_closing():
        waiting = transport.get_write_buffer_size()
        if not waiting:
            answer = bytes(4)
            with suppress(OSError):
                handle: socket.socket = transport.get_extra_info("socket")
                answer = fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, answer)
            (waiting,) = struct.unpack("i", answer)
        if not waiting:
            return
        await asyncio.sleep(_POLL_S)
