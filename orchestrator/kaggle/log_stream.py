"""The live log of a session over HTTP."""

import time
from collections.abc import Iterator
from typing import Any

import requests
import urllib3

from orchestrator.errors import ServiceError, SilentLogError
from orchestrator.kaggle.logs import EndOfLogError, parse_sse, parse_stored_log
from orchestrator.models import KernelRef, LogEvent

_BLOCK = 1 << 16


def open_stream(session: requests.Session, url: str) -> requests.Response:
    """Ask for a log; the answer's body is read by `read_stream`.

    Raises:
        requests.RequestException: it cannot be had.
    """
    headers = {"Accept": "text/event-stream, */*", "Content-Type": None}
    response = session.get(url, stream=True, headers=headers)
    if not response.ok:
        _ = response.content  # Read whole, so that the connection is free and the words are there.
        response.raise_for_status()
    return response


def read_stream(response: requests.Response, ref: KernelRef, *, idle_s: float) -> Iterator[LogEvent]:
    """The events of a live log, or of a stored one where the session is over; ends where the log does.

    Raises:
        SilentLogError: nothing was said for `idle_s` seconds.
        ServiceError: the connection dropped before the log was complete.
    """
    silence = SilentLogError(
        f"The live log of {ref} has said nothing for {idle_s:g} s.", hint=f"kgtts status {ref}"
    )
    try:
        if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            yield from parse_stored_log(response.text)
            return
        yield from parse_sse(_lines(response, idle_s))
    except EndOfLogError:
        return
    except _IdleError:
        raise silence from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        if "Read timed out" in str(error):
            raise silence from error
        raise ServiceError(
            f"The live log of {ref} was cut off: {error}.", hint=f"kgtts logs {ref}"
        ) from error
    raise ServiceError(f"The live log of {ref} was cut off.", hint=f"kgtts logs {ref} --follow")


class _IdleError(Exception):
    """A live log has been silent for as long as its reader wanted to wait."""


def _lines(response: Any, idle_s: float) -> Iterator[str]:
    """The lines of a live log until it says nothing for `idle_s`; comments that keep it open are nothing.

    They come as soon as they are sent, and are cut at line feeds alone: requests' `iter_lines` waits for a
    full block or reads byte by byte, and cuts text at U+2028 and its like too, which may stand in JSON.
    """
    # Only now: the answer itself may take longer to come than the pause that ends a replay.
    _limit_silence(response, idle_s)
    heard, rest = time.monotonic(), b""
    while chunk := response.raw.read1(_BLOCK, decode_content=True):
        *lines, rest = (rest + chunk).split(b"\n")
        now = time.monotonic()
        if any(line.startswith(b"data:") for line in lines):
            heard = now
        elif now - heard > idle_s:
            raise _IdleError
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")


def _limit_silence(response: Any, idle_s: float) -> None:
    """Let reading the answer's body end after `idle_s` without a byte."""
    connection = response.raw.connection
    sock = connection.sock if connection is not None else None
    if sock is None:
        # A connection that is closed after this answer has given its socket away to the answer's reader.
        reader = getattr(getattr(response.raw, "_fp", None), "fp", None)
        sock = getattr(getattr(reader, "raw", None), "_sock", None)
    if sock is not None:
        sock.settimeout(idle_s)
