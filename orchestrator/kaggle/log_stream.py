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
    """Request a log; `read_stream` reads the body of the answer.

    Raises:
        requests.RequestException: there is no answer, or a failure.
    """
    headers = {"Accept": "text/event-stream, */*", "Content-Type": None}
    response = session.get(url, stream=True, headers=headers)
    response.raise_for_status()
    return response


def read_stream(response: requests.Response, ref: KernelRef, *, idle_s: float) -> Iterator[LogEvent]:
    """Yield the events of a live log, or of a stored one if the session has ended, until the log ends.

    Raises:
        SilentLogError: nothing came for `idle_s` seconds.
        ServiceError: the connection broke before the log was complete.
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
            f"The live log of {ref} was cut off ({type(error).__name__}).", hint=f"kgtts logs {ref}"
        ) from error
    raise ServiceError(f"The live log of {ref} was cut off.", hint=f"kgtts logs {ref} --follow")


class _IdleError(Exception):
    """A live log has been silent for as long as its reader wants to wait."""


def _lines(response: Any, idle_s: float) -> Iterator[str]:
    """Yield the lines of a live log until no data comes for `idle_s` seconds; comments are not data.

    Lines come as soon as they are sent, and end at line feeds only. requests' `iter_lines` waits for a full
    block or reads byte by byte, and also splits at U+2028 and the like, which JSON may contain.
    """
    # Only now: the answer itself may take longer than the silence that ends a replay.
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
    """Set the time-out for reading the body to `idle_s` seconds without a byte."""
    connection = response.raw.connection
    sock = connection.sock if connection is not None else None
    if sock is None:
        # A connection that closes after this answer has handed its socket to the answer's reader.
        reader = getattr(getattr(response.raw, "_fp", None), "fp", None)
        sock = getattr(getattr(reader, "raw", None), "_sock", None)
    if sock is not None:
        sock.settimeout(idle_s)
