"""Where Kaggle is, and with which credentials: the official client's rules, without importing it.

Credentials are looked for in the official client's order (kaggle 2.2.4, `KaggleApi.authenticate`): an access
token, then a legacy API key, then what `kaggle auth login` stored. No `repr` shows a secret.
"""

import codecs
import contextlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator import untrusted
from orchestrator.errors import CredentialsError, UsageError

KAGGLE_URL = "https://api.kaggle.com"
URL_VARIABLE = "KGTTS_KAGGLE_URL"


def service_url(environ: Mapping[str, str]) -> str:
    """Return the address that calls go to: Kaggle's, or the one in `KGTTS_KAGGLE_URL`.

    Raises:
        UsageError: credentials must not be sent to that address. It has to be https, or http to this machine.
    """
    url = environ.get(URL_VARIABLE, "").strip().rstrip("/")
    if not url:
        return KAGGLE_URL
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        on_this_machine = parts.hostname in ("127.0.0.1", "localhost", "::1")
        if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and on_this_machine)):
            return url
    raise UsageError(
        f"{URL_VARIABLE}={url!r} is not an address to send credentials to.",
        hint="use http://127.0.0.1:PORT as `kgtts emulator` prints it, or unset the variable to reach Kaggle",
    )


class CredentialKind(StrEnum):
    """The kinds of credentials that Kaggle's client accepts."""

    ACCESS_TOKEN = "access token"  # noqa: S105  # The kind's name, not a secret.
    API_KEY = "API key"
    OAUTH = "OAuth login"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials, with a kind and a place to show to people.

    Attributes:
        kind: what they are.
        place: where they were found.
        username: the account; None if the place does not name it.
        secret: the token or key; empty for an OAuth login, which the SDK reads and renews by itself.
        exposed: whether other users of this machine can read the file; never so on Windows.
    """

    kind: CredentialKind
    place: str
    username: str | None = None
    secret: str = field(default="", repr=False)
    exposed: bool = False


def find_credentials(environ: Mapping[str, str], home: Path) -> Credentials:
    """Find the credentials that the official client will use.

    Raises:
        CredentialsError: there are none; the hint says where to get them.
    """
    token = environ.get("KAGGLE_API_TOKEN", "")
    if token:
        # It holds the token itself, or the path of a file with the token.
        return Credentials(
            CredentialKind.ACCESS_TOKEN, "KAGGLE_API_TOKEN", secret=_text(Path(token)) or token
        )
    for name in ("access_token", "access_token.txt"):
        path = home / ".kaggle" / name
        token = _text(path)
        if token:
            return Credentials(
                CredentialKind.ACCESS_TOKEN, _tidy(path, home), secret=token, exposed=_is_exposed(path)
            )
    if environ.get("KAGGLE_USERNAME") and environ.get("KAGGLE_KEY"):
        return Credentials(
            CredentialKind.API_KEY,
            "KAGGLE_USERNAME and KAGGLE_KEY",
            environ["KAGGLE_USERNAME"],
            environ["KAGGLE_KEY"],
        )
    path = _config_folder(environ, home) / "kaggle.json"
    found = _values(path, "username", "key")
    if found:
        username, key = found
        return Credentials(CredentialKind.API_KEY, _tidy(path, home), username, key, _is_exposed(path))
    login = home / ".kaggle" / "credentials.json"
    if _values(login, "refresh_token"):
        return Credentials(CredentialKind.OAUTH, _tidy(login, home), exposed=_is_exposed(login))
    raise CredentialsError(
        "No Kaggle credentials were found: neither KAGGLE_API_TOKEN, nor KAGGLE_USERNAME with KAGGLE_KEY, "
        f"nor a file in {_tidy(path.parent, home)}.",
        hint="make a token at https://www.kaggle.com/settings/api and put it into KAGGLE_API_TOKEN, "
        "or run `kaggle auth login`; then `kgtts doctor`",
    )


def known_username(environ: Mapping[str, str], home: Path) -> str | None:
    """Return the user name beside a legacy API key, or None; makes no call."""
    if environ.get("KAGGLE_USERNAME"):
        return environ["KAGGLE_USERNAME"]
    found = _values(_config_folder(environ, home) / "kaggle.json", "username")
    return found[0] if found else None


def _config_folder(environ: Mapping[str, str], home: Path) -> Path:
    """The folder of `kaggle.json`, as the official client picks it."""
    if environ.get("KAGGLE_CONFIG_DIR"):
        return Path(environ["KAGGLE_CONFIG_DIR"])
    classic = home / ".kaggle"
    if classic.exists():
        return classic
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"


def _text(path: Path) -> str:
    """The text of a file, or "" if it cannot be read.

    Windows' editors and PowerShell's `>` put a byte order mark first, and the latter writes UTF-16.
    """
    try:
        data = path.read_bytes()
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if is_utf16 else "utf-8-sig").strip()
    except (OSError, ValueError):
        return ""


def _values(path: Path, *keys: str) -> list[str]:
    """The values of all `keys` in a JSON file; none if one is missing."""
    data = untrusted.json_object(_text(path)) or {}
    return [str(data[key]) for key in keys] if all(data.get(key) for key in keys) else []


def _is_exposed(path: Path) -> bool:
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _tidy(path: Path, home: Path) -> str:
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)
