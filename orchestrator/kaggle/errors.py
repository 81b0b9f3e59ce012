"""Calls to Kaggle: time limits, retries, and what the official client raises, turned into our errors."""

import contextlib
import math
import ssl
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import stamina
import urllib3

from orchestrator import untrusted
from orchestrator.connections import RedirectError, time_limit
from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    KgttsError,
    NotFoundError,
    OddAnswerError,
    RefusedError,
    ServiceError,
)
from orchestrator.kaggle.answers import AnswerError, NoStateError, failure_of, next_token
from orchestrator.kaggle.auth import URL_VARIABLE
from orchestrator.scrubbing import scrub
from orchestrator.settings.accelerators import DEFAULT

LONGEST_ANSWER_S = 180.0  # From the first wait for an answer to its last byte.
_RETRY_FOR_S = 60.0
_ATTEMPTS = 8
_LONGEST_RETRY_AFTER_S = 45.0
_SEEING_HINT = "check owner and name; `kgtts doctor` checks the inputs, `kgtts list` shows your runs"
_PHONE_HINT = (
    "verify the phone number of your account at https://www.kaggle.com/settings, which Kaggle asks for "
    "before it gives internet or a GPU; or set kernel.internet = false"
)
_OWNER_HINT = (
    "it is the owner in kgtts.toml who is refused, kernel.owner or the first part of an input: "
    "`kgtts doctor` shows who is logged in"
)
CORRECT_HINT = "correct kgtts.toml, then `kgtts push` again"
# Reported of first pushes that a limit refused, and of deleted kernels. In the first case a deletion helps.
_NAME_HINT = (
    "Kaggle has half a kernel of this name, of a first push that it refused or of a deletion: `kgtts delete "
    "{kernel}`, then the same command again; if it still refuses, set another kernel.slug in kgtts.toml, and "
    "go on from what the run has learned with `kgtts push --new --from RUN`"
)
# An answer whose body breaks off shows as one of requests' own errors or, read piece by piece, of urllib3's.
_BODY_BROKEN = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.HTTPError,
)
_BROKEN = (requests.ConnectionError, requests.Timeout, *_BODY_BROKEN)

T = TypeVar("T")


class Calls:
    """Makes calls and counts them.

    Args:
        renew: gets a new access token if it can, and says whether it did; asked once when Kaggle does not
            accept the credentials (401).
        longest_s: how long an answer may take.
    """

    def __init__(
        self, renew: Callable[[], bool] | None = None, *, longest_s: float = LONGEST_ANSWER_S
    ) -> None:
        self.count = 0
        self.longest_s = longest_s
        self._renew = renew

    def __call__(self, doing: str, call: Callable[[], T], *, retry: bool = True, pushing: str = "") -> T:
        """Make one call and return its answer.

        Args:
            doing: completes "could not …".
            call: the call.
            retry: whether it is repeated after a failure that may pass; only right for reads.
            pushing: as for `translated`.

        Raises:
            CredentialsError, NotFoundError, ForbiddenError, RefusedError, ServiceError: see `translated`.
        """
        with translated(doing, pushing=pushing):
            for attempt in stamina.retry_context(
                on=retry_delay,
                attempts=_ATTEMPTS if retry else 1,
                timeout=_RETRY_FOR_S,
                wait_initial=0.3,
                wait_max=15.0,
            ):
                with attempt:
                    return self._once(call)
        raise AssertionError  # stamina raises the last failure itself.

    def pages(self, doing: str, method: Callable[[Any], Any], request: Any) -> Iterator[Any]:
        """Yield the pages of a listing, each requested when it is needed.

        Args:
            doing: completes "could not …".
            method: requests a page.
            request: what to request; its page token is set from page to page.

        Raises:
            OddAnswerError: the listing has no end.
            CredentialsError, NotFoundError, ForbiddenError, RefusedError, ServiceError: see `translated`.
        """
        used = set[str]()
        while True:
            page = self(doing, lambda: method(request))
            yield page
            with translated(doing):
                token = next_token(page, used)
            if token is None:
                return
            request.page_token = token

    def _once(self, call: Callable[[], T]) -> T:
        """Make a call; a second time with a new access token, if the old one is not accepted any more."""
        renew = self._renew
        while True:
            self.count += 1
            try:
                with time_limit(self.longest_s):
                    return call()
            except requests.HTTPError as error:
                # A call that was not let in did nothing, so that even a push may be sent again.
                if (
                    failure_of(error.response)[0] != requests.codes.unauthorized
                    or renew is None
                    or not renew()
                ):
                    raise
                renew = None


def stated(ask: Callable[[], T], silent: Callable[[], T | None]) -> T:
    """Return the answer to a question about a state, which is asked again if it names none.

    Args:
        ask: asks.
        silent: gives what it means that two answers named no state; None if that is not known.

    Raises:
        KgttsError: as `ask`; an answer without a state is odd if it means nothing.
    """
    problem = None
    for _ in range(2):
        try:
            return ask()
        except OddAnswerError as error:
            if not isinstance(error.__cause__, NoStateError):
                raise
            problem = error
    meaning = silent()
    if meaning is None:
        assert problem is not None
        raise problem
    return meaning


def retry_delay(error: Exception) -> bool | float:
    """Return whether a read is worth another try, or the seconds to wait before it, if Kaggle names them."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = failure_of(error.response)[0]
        if status == requests.codes.too_many_requests or status >= requests.codes.internal_server_error:
            wanted = untrusted.retry_after(error.response.headers)
            return True if wanted is None else min(wanted, _LONGEST_RETRY_AFTER_S)
        return False
    return isinstance(error, _BROKEN) and not _is_lasting(error)


def _is_lasting(error: Exception) -> bool:
    """Whether the same would happen again: a certificate that is not trusted, a proxy that says no."""
    refused = isinstance(error, requests.exceptions.ProxyError) and "Tunnel connection failed" in str(error)
    return refused or _cause(error, ssl.SSLCertVerificationError) is not None


@contextlib.contextmanager
def translated(doing: str, *, pushing: str = "") -> Iterator[None]:
    """Turn what the official client raises into our errors; `doing` completes "could not …".

    Args:
        doing: what is tried.
        pushing: the kernel that is pushed, if it is a push: its refusals have reasons of their own.

    Raises:
        CredentialsError: Kaggle does not accept the credentials (401).
        ForbiddenError: 403. NotFoundError: 404. RefusedError: any other 4xx.
        ServiceError: 429, 5xx, 409 for a push, no connection, or no answer in time.
        OddAnswerError: the answer makes no sense.
    """
    try:
        yield
    except KgttsError:
        raise
    except requests.HTTPError as error:
        raise _http_error(doing, error, pushing=pushing) from error
    except RedirectError as error:
        raise OddAnswerError(
            f"Could not {doing}: {error}.", hint="check the network: a proxy or a login page may do this"
        ) from error
    except requests.Timeout as error:
        raise ServiceError(f"Could not {doing}: Kaggle did not answer in time.", hint="try again") from error
    except requests.ConnectionError as error:
        what, hint = _unreachable(error)
        raise ServiceError(f"Could not {doing}: {what}.", hint=hint) from error
    except _BODY_BROKEN as error:
        raise ServiceError(f"Could not {doing}: the answer broke off.", hint="try again") from error
    except AnswerError as error:
        raise OddAnswerError(
            f"Could not {doing}: Kaggle's answer makes no sense: it {error}.", hint=_odd_hint()
        ) from error
    # The SDK does not check an answer: one that is not Kaggle's shows as any of these.
    except (
        requests.RequestException,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        words = untrusted.one_line(scrub(str(error)), 200)
        raise OddAnswerError(
            f"Could not {doing}: Kaggle's answer makes no sense ({type(error).__name__}: {words}).",
            hint=_odd_hint(),
        ) from error


def _odd_hint() -> str:
    return f"try again; check {URL_VARIABLE} if it is set"


def _unreachable(error: requests.ConnectionError) -> tuple[str, str]:
    """Say why there is no connection, and what to do."""
    url = error.request.url if error.request is not None else None
    parts = urlsplit(str(url)) if url else None
    host = parts.netloc.rpartition("@")[2] if parts else "Kaggle"
    if isinstance(error, requests.exceptions.ProxyError):
        refusal = str(error).partition("Tunnel connection failed: ")[2]
        why = f"refused the connection to {host} ({untrusted.one_line(refusal, 60).rstrip(chr(39) + ')')})"
        return (
            f"the proxy {why if refusal else f'cannot be reached, so there is no connection to {host}'}",
            "check HTTPS_PROXY, its user name and password; NO_PROXY names hosts to reach without it",
        )
    certificate = _cause(error, ssl.SSLCertVerificationError)
    if certificate is not None:
        return (
            f"the certificate of {host} cannot be trusted ({certificate.verify_message})",
            "check this machine's clock; if a proxy inspects connections, REQUESTS_CA_BUNDLE is for its file",
        )
    if isinstance(error, requests.exceptions.SSLError):
        return f"no encrypted connection to {host} could be made", "check the network and its proxy"
    if _cause(error, urllib3.exceptions.NameResolutionError) is not None:
        return f"the name {host} cannot be resolved", "check the network and its DNS, then try again"
    return f"no connection to {host}", "check the network, then try again"


E = TypeVar("E", bound=BaseException)


def _cause(error: object, kind: type[E]) -> E | None:
    """Return the error of a kind among those that led to `error`; None if there is none."""
    seen: list[object] = []
    waiting = [error]
    while waiting:
        item = waiting.pop()
        if isinstance(item, kind):
            return item
        if isinstance(item, BaseException) and item not in seen:
            seen.append(item)
            waiting += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return None


def _http_error(  # noqa: PLR0911  # One return for each kind of failure.
    doing: str, error: Any, *, pushing: str
) -> KgttsError:
    status, words = failure_of(error.response)
    words = scrub(words)
    wait_s = untrusted.retry_after(error.response.headers) if error.response is not None else None
    said = f" Kaggle says: {words}{'' if words.endswith(('.', '!', '?')) else '.'}" if words else ""
    why = "Kaggle refused it" if pushing else "it is not yours to see, or does not exist"
    match status:
        case 401:
            return CredentialsError(
                f"Could not {doing}: Kaggle does not accept the credentials (401).{said}",
                hint="make a new token at https://www.kaggle.com/settings/api; then `kgtts doctor`",
            )
        case 403:
            return ForbiddenError(
                f"Could not {doing}: {why} (403).{said}",
                hint=refusal_hint(words, _PHONE_HINT if pushing else _SEEING_HINT, pushing),
            )
        case 404:
            return NotFoundError(
                f"Could not {doing}: it does not exist (404).{said}",
                hint=_NAME_HINT.replace("{kernel}", pushing) if pushing else _SEEING_HINT,
            )
        case 407:
            return ServiceError(
                f"Could not {doing}: the proxy asks for a user name and password (407).",
                hint="write them into HTTPS_PROXY",
            )
        case 409 if pushing:  # Reported of open editors, and of a dataset's name: it may pass.
            return ServiceError(
                f"Could not {doing}: something else has this name or is changing it (409), such as an open "
                f"editor of the kernel, or a dataset of the same name.{said}",
                hint="close the editor's page, then try again; if it lasts, set another kernel.slug",
            )
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
                status=status,
            )
        case _:
            return RefusedError(
                f"Could not {doing}: Kaggle refused ({status}).{said}",
                hint=refusal_hint(words, CORRECT_HINT if pushing else None, pushing),
            )


# Words of a refusal, in lower case, and what to do about it. The first that fits counts.
_ADVICE = (
    (("phone",), _PHONE_HINT),
    (("session count",), "wait for a running session to end (`kgtts list`), or stop one with `kgtts stop`"),
    (("quota",), "see `kgtts quota` for what is left and when it refreshes"),
    (
        ("notebook not found", "kernel not found"),
        _NAME_HINT,
    ),
    (
        ("megabyte", "too large", "too long"),
        "shorten samples.sentences or training.coqui in kgtts.toml: the source must be less than 1 MB",
    ),
    (
        ("machine shape", "accelerator", "machine_shape"),
        f'set kernel.accelerator in kgtts.toml to "{DEFAULT}", or to "none" for the CPU',
    ),
    (("internet",), _PHONE_HINT),
    (("another user",), _OWNER_HINT),
    (("title", "slug"), "correct kernel.slug and kernel.title in kgtts.toml"),
)


def refusal_hint(words: str, otherwise: str | None = None, kernel: str = "") -> str | None:
    """Return the next step after a refusal, judged by Kaggle's own words; else `otherwise`.

    `kernel` is the one that was pushed, if any.
    """
    lowered = words.lower()
    for parts, hint in _ADVICE:
        if any(part in lowered for part in parts):
            return hint.replace("{kernel}", kernel)
    return otherwise
