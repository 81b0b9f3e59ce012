"""Finding the Kaggle credentials that the official client would use, without importing it.

The order is the official client's own (kaggle 2.2.4, `KaggleApi.authenticate`): an access token, then a
legacy API key, then what `kaggle auth login` stored. The secret itself is never shown by a `repr`.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from orchestrator.errors import CredentialsError


class CredentialKind(StrEnum):
    """The kinds of credentials that Kaggle's client knows."""

    ACCESS_TOKEN = "access token"  # noqa: S105  # The kind's name, not a secret.
    API_KEY = "API key"
    OAUTH = "OAuth login"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials: their kind and place for people, their content for the client alone.

    Attributes:
        kind: what they are.
        place: where they were found.
        username: the account, where the place names it.
        secret: the token or key; empty for an OAuth login, which the SDK reads and renews by itself.
        exposed: whether other users of this machine can read the file.
    """

    kind: CredentialKind
    place: str
    username: str | None = None
    secret: str = field(default="", repr=False)
    exposed: bool = False


def find_credentials(environ: Mapping[str, str], home: Path) -> Credentials:
    """Find the credentials that the official client will use.

    Raises:
        CredentialsError: there are none; the hint says where Kaggle gives them.
    """
    token = environ.get("KAGGLE_API_TOKEN", "")
    if token:
        # The client takes the text itself or the path of a file with it.
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
    """The user name that stands beside a legacy API key, where there is one; nothing is asked of Kaggle."""
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
    """The text of a file, or nothing where it is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _values(path: Path, *keys: str) -> list[str]:
    """The values of all `keys` in a JSON file, or none where one is missing."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(data, dict) or not all(data.get(key) for key in keys):
        return []
    return [str(data[key]) for key in keys]


def _is_exposed(path: Path) -> bool:
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _tidy(path: Path, home: Path) -> str:
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)
