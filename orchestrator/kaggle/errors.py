"""Calls to Kaggle: time-outs, retries, and what the official client raises, turned into our errors."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import stamina
import urllib3

from orchestrator import untrusted
from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    KgttsError,
    NotFoundError,
    RefusedError,
    ServiceError,
)
from orchestrator.kaggle.auth import URL_VARIABLE

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
_RETRY_FOR_S = 60.0
_ATTEMPTS = 8
_LONGEST_RETRY_AFTER_S = 45.0
_SEEING_HINT = "check owner and name; `kgtts doctor` checks the inputs, `kgtts list` shows your runs"
# An answer whose body breaks off shows as one of requests' own errors or, read piece by piece, of urllib3's.
_BODY_BROKEN = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.HTTPError,
)
_BROKEN = (requests.ConnectionError, requests.Timeout, *_BODY_BROKEN)

T = TypeVar("T")


class Calls:
    """Makes calls and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, doing: str, call: Callable[[], T], *, retry: bool = True) -> T:
        """Make one call and return its answer.

        Args:
            doing: completes "could not …".
            call: the call.
            retry: whether it is repeated after a failure that may pass; only right for reads.

        Raises:
            CredentialsError, NotFoundError, ForbiddenError, RefusedError, ServiceError: see `translated`.
        """
        with translated(doing):
            for attempt in stamina.retry_context(
                on=retry_delay,
                attempts=_ATTEMPTS if retry else 1,
                timeout=_RETRY_FOR_S,
                wait_initial=0.3,
                wait_max=15.0,
            ):
                with attempt:
                    self.count += 1
                    return call()
        raise AssertionError  # stamina raises the last failure itself.


def retry_delay(error: Exception) -> bool | float:
    """Return whether a read is worth another try, or the seconds to wait before it, if Kaggle names them."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        if status == requests.codes.too_many_requests or status >= requests.codes.internal_server_error:
            wanted = untrusted.retry_after(error.response.headers)
            return True if wanted is None else min(wanted, _LONGEST_RETRY_AFTER_S)
        return False
    return isinstance(error, _BROKEN)


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what the official client raises into our errors; `doing` completes "could not …".

    Raises:
        CredentialsError: Kaggle does not accept the credentials (401).
        ForbiddenError: 403. NotFoundError: 404. RefusedError: any other 4xx.
        ServiceError: 429, 5xx, no connection, no answer in time, or an answer that makes no sense.
    """
    try:
        yield
    except KgttsError:
        raise
    except requests.HTTPError as error:
        raise _http_error(doing, error) from error
    except requests.Timeout as error:
        raise ServiceError(f"Could not {doing}: Kaggle did not answer in time.", hint="try again") from error
    except requests.ConnectionError as error:
        host = (
            urlsplit(error.request.url).netloc
            if error.request is not None and error.request.url
            else "Kaggle"
        )
        raise ServiceError(
            f"Could not {doing}: no connection to {host}.", hint="check the network, then try again"
        ) from error
    except _BODY_BROKEN as error:
        raise ServiceError(f"Could not {doing}: the answer broke off.", hint="try again") from error
    # The SDK does not check an answer: one that is not Kaggle's shows as any of these.
    except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ServiceError(
            f"Could not {doing}: Kaggle's answer makes no sense ({type(error).__name__}: {error}).",
            hint=f"try again; check {URL_VARIABLE} if it is set",
        ) from error


def _http_error(doing: str, error: Any) -> KgttsError:
    status = error.response.status_code if error.response is not None else 0
    wait_s = untrusted.retry_after(error.response.headers) if error.response is not None else None
    words = _kaggles_words(error)
    said = f" Kaggle says: {words}" if words else ""
    match status:
        case 401:
            return CredentialsError(
                f"Could not {doing}: Kaggle does not accept the credentials (401).{said}",
                hint="make a new token at https://www.kaggle.com/settings/api; then `kgtts doctor`",
            )
        case 403:
            return ForbiddenError(
                f"Could not {doing}: it is not yours to see, or does not exist (403).{said}",
                hint=_SEEING_HINT,
            )
        case 404:
            return NotFoundError(f"Could not {doing}: it does not exist (404).{said}", hint=_SEEING_HINT)
        case 429:
            return ServiceError(
                f"Could not {doing}: Kaggle asks for fewer calls (429).{said}",
                hint=f"try again in {math.ceil(wait_s)} seconds" if wait_s else "try again in some minutes",
                retry_after_s=wait_s,
            )
        case _ if status >= 500:  # noqa: PLR2004  # The class of HTTP status codes that are the server's fault.
            return ServiceError(
                f"Could not {doing}: Kaggle failed ({status}).{said}",
                hint="try again later",
                retry_after_s=wait_s,
            )
        case _:
            return RefusedError(f"Could not {doing}: Kaggle refused ({status}).{said}")


def _kaggles_words(error: Any) -> str:
    """The `message` of an error's body, as one line."""
    answer = untrusted.json_object(error.response.text if error.response is not None else None) or {}
    return untrusted.text(answer.get("message"), 300) or ""


def refusal_hint(words: str) -> str:
    """Return the next step after a refusal, judged by Kaggle's own words."""
    lowered = words.lower()
    if "session count" in lowered:
        return "wait for a running session to end (`kgtts list`), or stop one with `kgtts stop`"
    if "quota" in lowered:
        return "see `kgtts quota` for what is left and when it refreshes"
    if "title" in lowered or "slug" in lowered:
        return "correct kernel.slug and kernel.title in kgtts.toml"
    return "correct kgtts.toml, then `kgtts push` again"


class _TimeLimitedAdapter(requests.adapters.HTTPAdapter):
    """An adapter with a time-out for calls that set none."""

    def __init__(self, read_s: float) -> None:
        super().__init__()
        self._timeout = (CONNECT_TIMEOUT_S, read_s)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeout
        sender: Any = super().send
        return sender(request, *args, **kwargs)


def limit_waiting(session: Any, *, read_s: float = READ_TIMEOUT_S) -> None:
    """Give every call of a session a time-out: `read_s` seconds without a byte, and fewer to connect."""
    session.mount("https://", _TimeLimitedAdapter(read_s))
    session.mount("http://", _TimeLimitedAdapter(read_s))
