"""Where the Kaggle credentials are, without reading more of them than needed and without importing `kaggle`.

The order is the official client's own (kaggle 2.2.4, `KaggleApi.authenticate`): an access token, then a
legacy API key, then what `kaggle auth login` stored. Values never leave this module: `Credentials` carries
the place they are in, and the official client reads them there by itself.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
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
    """That there are credentials, of which kind, and where they lie; never what they are."""

    kind: CredentialKind
    place: str


def find_credentials(environ: Mapping[str, str], home: Path) -> Credentials:
    """Find the credentials that the official client will use.

    Raises:
        CredentialsError: there are none; the hint says where Kaggle gives them.
    """
    if environ.get("KAGGLE_API_TOKEN"):
        return Credentials(CredentialKind.ACCESS_TOKEN, "KAGGLE_API_TOKEN")
    for name in ("access_token", "access_token.txt"):
        if _has_text(home / ".kaggle" / name):
            return Credentials(CredentialKind.ACCESS_TOKEN, f"~/.kaggle/{name}")
    if environ.get("KAGGLE_USERNAME") and environ.get("KAGGLE_KEY"):
        return Credentials(CredentialKind.API_KEY, "KAGGLE_USERNAME and KAGGLE_KEY")
    key_file = _config_folder(environ, home) / "kaggle.json"
    if _has_keys(key_file, "username", "key"):
        return Credentials(CredentialKind.API_KEY, _tidy(key_file, home))
    login = home / ".kaggle" / "credentials.json"
    if _has_keys(login, "refresh_token"):
        return Credentials(CredentialKind.OAUTH, _tidy(login, home))
    raise CredentialsError(
        "No Kaggle credentials were found: neither KAGGLE_API_TOKEN, nor KAGGLE_USERNAME with KAGGLE_KEY, "
        f"nor a file in {_tidy(key_file.parent, home)}.",
        hint="make a token at https://www.kaggle.com/settings/api and put it into KAGGLE_API_TOKEN, "
        "or run `kaggle auth login`; then `kgtts doctor`",
    )


def known_username(environ: Mapping[str, str], home: Path) -> str | None:
    """The user name that stands beside a legacy API key, where there is one; nothing is asked of Kaggle."""
    if environ.get("KAGGLE_USERNAME"):
        return environ["KAGGLE_USERNAME"]
    key_file = _config_folder(environ, home) / "kaggle.json"
    if not _has_keys(key_file, "username"):
        return None
    return str(json.loads(key_file.read_text(encoding="utf-8"))["username"])


def _config_folder(environ: Mapping[str, str], home: Path) -> Path:
    """The folder of `kaggle.json`, as the official client picks it."""
    if environ.get("KAGGLE_CONFIG_DIR"):
        return Path(environ["KAGGLE_CONFIG_DIR"])
    classic = home / ".kaggle"
    if classic.exists():
        return classic
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"


def _has_text(path: Path) -> bool:
    try:
        return bool(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return False


def _has_keys(path: Path, *keys: str) -> bool:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and all(data.get(key) for key in keys)


def _tidy(path: Path, home: Path) -> str:
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)
