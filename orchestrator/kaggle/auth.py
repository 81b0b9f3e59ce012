"""Where Kaggle is, and with which credentials: the official client's rules, without importing it.

Credentials are looked for in the official client's order (kaggle 2.2.4, `KaggleApi.authenticate`): an access
token, then a legacy API key, then what `kaggle auth login` stored. White space, quotes and byte order marks
around them are dropped, and each is taken for what it is: people put an access token where a key belongs, and
the text of kaggle.json where a token does (kaggle-cli #1188). No `repr` and no message shows a secret.
"""

import codecs
import contextlib
import json
import os
import re
import stat
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator import untrusted
from orchestrator.errors import CredentialsError, LocalError, UsageError
from orchestrator.files import write_atomically
from orchestrator.scrubbing import learn

KAGGLE_URL = "https://api.kaggle.com"
URL_VARIABLE = "KGTTS_KAGGLE_URL"
# What people paste along: white space, byte order marks, characters without a width.
_EDGES = re.compile(r"\A[\s\ufeff\u200b-\u200f\u2060]+|[\s\ufeff\u200b-\u200f\u2060]+\Z")
_VARIABLES = ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY")
_QUOTED = re.compile(r"""\A(["'])(.*)\1\Z""")  # `set NAME="value"` of Windows keeps the quotes.
_TOKEN_PREFIX = "KGAT_"  # noqa: S105  # What every access token begins with, and no key.
_ODD = re.compile(r"[^!-~]")  # No header can carry these.


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
        if parts.hostname and (
            parts.scheme == "https" or (parts.scheme == "http" and untrusted.is_loopback(parts.hostname))
        ):
            return url
    raise UsageError(
        f"{URL_VARIABLE}={url!r} is not an address that kgtts sends credentials to.",
        hint="use http://127.0.0.1:PORT as `kgtts emulator` prints it, or unset the variable to reach Kaggle",
    )


class NoLoginError(CredentialsError):
    """There are no credentials, or the file of an OAuth login has none: `kaggle auth login` makes some."""


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
        secret: the token or key; empty for an OAuth login (`orchestrator.kaggle.oauth`).
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
        CredentialsError: there are none, or they cannot be right; the hint says where to get them.
    """
    found = _found(environ, home)
    _check(found)
    return found


def prepare_stock_client(argv: Sequence[str], environ: MutableMapping[str, str], home: Path) -> None:
    """Give the official client the credentials that kgtts finds, in the form that it can read.

    It takes white space and byte order marks as parts of a token, and crashes on a login's file or a key's
    that is damaged. Without any credentials it says so by itself, or needs none.

    Args:
        argv: its arguments; `auth login` replaces the login's file.
        environ: its environment, in which the credentials are put right.
        home: the home folder; the login's file in it is written again if the client could not read it.

    Raises:
        CredentialsError: they cannot be right.
    """
    key_file = _config_folder(environ, home) / "kaggle.json"
    with contextlib.suppress(ValueError):
        if (content := untrusted.parse_json(_text(key_file))) and not isinstance(content, dict):
            raise CredentialsError(
                f"{_tidy(key_file, home)} is damaged: it has no user name and key, and the official client "
                "crashes on it.",
                hint="delete it, or download it again from https://www.kaggle.com/settings/api",
            )
    is_login = [*argv[:2]] == ["auth", "login"]
    try:
        found = find_credentials(environ, home)
    except NoLoginError:
        if login_file(home).is_file() and not is_login:
            raise
        found = None
    for name in _VARIABLES:
        if not stripped(environ.get(name, "")):
            environ.pop(name, None)
    if found is not None and found.kind is CredentialKind.API_KEY:
        environ.pop("KAGGLE_API_TOKEN", None)
        environ.update({"KAGGLE_USERNAME": found.username or "", "KAGGLE_KEY": found.secret})
    elif found is not None and found.secret:
        environ["KAGGLE_API_TOKEN"] = found.secret
    if is_login or (found is not None and found.kind is CredentialKind.OAUTH):
        _tidy_login(login_file(home))


def _tidy_login(path: Path) -> None:
    """Write the file of an OAuth login again, if the official client could not use it as it is."""
    if not path.is_file():
        return
    data = untrusted.json_object(_text(path)) or {}
    good = dict(data)
    for name in ("refresh_token", "access_token", "access_token_expiration"):
        value = text_of(data.get(name))
        good[name] = "" if _ODD.search(value) else value
    try:
        is_time = datetime.fromisoformat(good["access_token_expiration"]).tzinfo is not None
    except ValueError:
        is_time = False
    if not is_time:
        good["access_token_expiration"] = ""
    if good != data or not path.read_bytes().startswith(b"{"):
        with contextlib.suppress(LocalError, OSError):
            write_atomically(path, json.dumps(good, indent=2))
            path.chmod(0o600)


def _found(environ: Mapping[str, str], home: Path) -> Credentials:
    token = stripped(environ.get("KAGGLE_API_TOKEN", ""))
    learn(token)
    if token:
        # It holds the token itself, or the path of a file with the token.
        content = _text(Path(token)) or token
        pair = untrusted.json_object(content) or {}
        values = [text_of(pair.get(name)) for name in ("username", "key")]
        return _api_key("KAGGLE_API_TOKEN", *values) if all(values) else _token("KAGGLE_API_TOKEN", content)
    for name in ("access_token", "access_token.txt"):
        path = home / ".kaggle" / name
        token = _text(path)
        if token:
            return _token(_tidy(path, home), token, exposed=_is_exposed(path))
    username, key = (stripped(environ.get(name, "")) for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"))
    if key and (username or _is_token(key)):
        return _api_key("KAGGLE_USERNAME and KAGGLE_KEY" if username else "KAGGLE_KEY", username, key)
    path = _config_folder(environ, home) / "kaggle.json"
    found = _values(path, "username", "key") or ["", *filter(_is_token, _values(path, "key"))]
    if found[1:]:
        return _api_key(_tidy(path, home), *found, exposed=_is_exposed(path))
    login = login_file(home)
    if found := _values(login, "refresh_token"):
        learn(found[0])
        try:
            _check_value("refresh token", found[0], _tidy(login, home))
        except CredentialsError as error:
            hint = "log in again with `kgtts kaggle auth login`; then `kgtts doctor`"
            raise NoLoginError(error.message, hint=hint) from None
        return Credentials(CredentialKind.OAUTH, _tidy(login, home), exposed=_is_exposed(login))
    raise NoLoginError(
        "No Kaggle credentials were found: neither KAGGLE_API_TOKEN, nor KAGGLE_USERNAME with KAGGLE_KEY, "
        f"nor a file in {' or '.join(dict.fromkeys(['~/.kaggle', _tidy(path.parent, home)]))}.",
        hint="make a token at https://www.kaggle.com/settings/api and put it into KAGGLE_API_TOKEN, "
        "or run `kgtts kaggle auth login`; then `kgtts doctor`",
    )


def login_file(home: Path) -> Path:
    """Return the file that `kaggle auth login` writes."""
    return home / ".kaggle" / "credentials.json"


def learn_all(environ: Mapping[str, str], home: Path) -> None:
    """See to it that every secret is known to `orchestrator.scrubbing`, whichever is in use."""
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_KEY"):
        learn(environ.get(name, ""), environ.get("KAGGLE_USERNAME"))
    folder = home / ".kaggle"
    named = stripped(environ.get("KAGGLE_API_TOKEN", ""))
    for path in (*([Path(named)] if named else []), folder / "access_token", folder / "access_token.txt"):
        learn(_text(path))
    places = _config_folder(environ, home) / "kaggle.json", folder / "kaggle.json", login_file(home)
    for text in (named, *map(_text, places)):
        values = untrusted.json_object(text) or {}
        for key in ("key", "access_token", "refresh_token"):
            for secret in _texts(values.get(key)):
                learn(secret, text_of(values.get("username")))


def _texts(value: object) -> list[str]:
    """Every text in a JSON value: a list in place of a secret may hold secrets."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [*value.values()]
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []


def text_of(value: object) -> str:
    """Return a JSON value without what was pasted along, if it is a text, and else ""."""
    return stripped(value) if isinstance(value, str) else ""


def stripped(text: str) -> str:
    """Return a text without white space, byte order marks, invisible characters and quotes around it."""
    bare = _EDGES.sub("", text)
    return _EDGES.sub("", quoted.group(2)) if (quoted := _QUOTED.match(bare)) else bare


def _is_token(text: str) -> bool:
    return text.startswith(_TOKEN_PREFIX)


def _token(place: str, secret: str, *, exposed: bool = False) -> Credentials:
    learn(secret)
    return Credentials(CredentialKind.ACCESS_TOKEN, place, secret=secret, exposed=exposed)


def _api_key(place: str, username: str, key: str, *, exposed: bool = False) -> Credentials:
    learn(key, username)
    if _is_token(key):
        return _token(place, key, exposed=exposed)
    return Credentials(CredentialKind.API_KEY, place, username, key, exposed)


def _check(found: Credentials) -> None:
    """Refuse what no request can carry, without showing it."""
    for what, value in (("user name", found.username or ""), (str(found.kind), found.secret)):
        _check_value(what, value, found.place)


def _check_value(what: str, value: str, place: str) -> None:
    odd = _ODD.search(value)
    if odd is None and not (what == "user name" and ":" in value):
        return
    letter = odd.group() if odd else ":"
    has = "a line break" if letter in "\r\n" else "a space" if letter == " " else None
    has = has or ("a colon" if letter == ":" else f"a character that no {what} has (U+{ord(letter):04X})")
    raise CredentialsError(
        f"The {what} in {place} cannot be right: it contains {has}.",
        hint="copy it again without anything around it, or make a new one at https://www.kaggle.com/settings/api",
    )


def known_username(environ: Mapping[str, str], home: Path) -> str | None:
    """Return the user name beside a legacy API key, or None; makes no call."""
    if username := stripped(environ.get("KAGGLE_USERNAME", "")):
        return username
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


def can_make_config_folder(environ: Mapping[str, str], home: Path) -> bool:
    """Make the folder that the official client insists on, if it can be made."""
    try:
        _config_folder(environ, home).mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return True


def _text(path: Path) -> str:
    """The text of a file, or "" if it cannot be read.

    Windows' editors and PowerShell's `>` put a byte order mark first, and the latter writes UTF-16.
    """
    try:
        data = path.read_bytes()
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return stripped(data.decode("utf-16" if is_utf16 else "utf-8-sig"))
    except (OSError, ValueError):
        return ""


def _values(path: Path, *keys: str) -> list[str]:
    """The values of all `keys` in a JSON file; none if one is missing."""
    data = untrusted.json_object(_text(path)) or {}
    values = [text_of(data.get(key)) for key in keys]
    return values if all(values) else []


def _is_exposed(path: Path) -> bool:
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _tidy(path: Path, home: Path) -> str:
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)
