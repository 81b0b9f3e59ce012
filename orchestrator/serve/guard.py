"""Who may ask: the server's names, the pages that may call it, the token; headers that protect the page.

A page of another site can reach loopback from the browser that shows it. Its requests carry its own name as
Host (DNS rebinding) or as Origin (cross-site requests); both are refused.
"""

import hmac
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.errors import UsageError
from orchestrator.serve.request import ApiError
from orchestrator.untrusted import one_line

OPEN_PATHS = ("/", "/page.css", "/page.js", "/health")
TOKEN_VARIABLE = "KGTTS_SERVE_TOKEN"  # noqa: S105 # The name of a variable.
_SHORTEST_TOKEN = 16
_TOKEN = re.compile(r"[\x21-\x7e]+")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask.

    Attributes:
        host: the address that the server listens on.
        names: host names, besides addresses and localhost, under which it may be asked.
        token: what requests must carry as `Authorization: Bearer TOKEN`; None lets everybody ask.
    """

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    token: str | None = None

    def __post_init__(self) -> None:
        """Refuse to listen beyond this machine without a token.

        Raises:
            UsageError: there is no token, and other machines could ask.
        """
        if self.token is None and not is_loopback(self.host):
            raise UsageError(
                f"Other machines can reach {self.host}, so requests need a token, and there is none.",
                hint='python -c "import secrets; print(secrets.token_urlsafe())" > token.txt, then '
                "`kgtts serve` with --token-file token.txt",
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_token(text: str, source: str) -> str:
    """The token in a file or a variable, without white space at its ends.

    Raises:
        UsageError: it is too short to be a secret, or has characters that a header cannot hold.
    """
    token = text.strip().strip("\ufeff")
    if len(token) < _SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
        raise UsageError(
            f"The token in {source} must have at least {_SHORTEST_TOKEN} characters, all of them letters, "
            "digits or signs of ASCII, without spaces.",
            hint='`python -c "import secrets; print(secrets.token_urlsafe())"` makes one',
        )
    return token


def read_token_file(path: Path) -> str:
    """The token in a file, as `read_token`; PowerShell's UTF-16 is read as well.

    Raises:
        UsageError: as `read_token`, or the file cannot be read.
    """
    try:
        data = path.read_bytes()[:4_096]
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8.") from error
    return read_token(text, str(path))


class Guard:
    """Middleware that lets through only what `Access` allows, and adds the protecting headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._names = {"localhost", access.host.lower(), *(name.lower() for name in access.names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope["path"], Headers(scope=scope))
        except ApiError as error:
            await error.response()(scope, receive, protected)
        else:
            await self._app(scope, receive, protected)

    def _check(self, path: str, headers: Headers) -> None:
        """Raise if a request is not allowed.

        Raises:
            ApiError: 403 or 401.
        """
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise ApiError(
                403,
                f"This server does not answer to the name {one_line(host, 80)!r}. If it is one of yours, "
                "start `kgtts serve` with --allow-host.",
                "host_not_allowed",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise ApiError(403, "Pages of other sites may not use this server.", "origin_not_allowed")
        if self._access.token is not None and path not in OPEN_PATHS:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            wanted = self._access.token.encode()
            same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), wanted)
            if scheme.lower() != "bearer" or not same:
                raise ApiError(
                    401, "This server wants its token: `Authorization: Bearer TOKEN`.", "token_needed"
                )

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header is an address (which nobody can rebind) or a name of this server."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
