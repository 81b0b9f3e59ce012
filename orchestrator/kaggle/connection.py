"""Logging in: the address, the credentials and the official client itself."""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator.errors import LocalError, UsageError
from orchestrator.kaggle.credentials import CredentialKind, Credentials, find_credentials

if TYPE_CHECKING:
    from orchestrator.kaggle.client import KaggleClient

KAGGLE_URL = "https://api.kaggle.com"
URL_VARIABLE = "KGTTS_KAGGLE_URL"


def service_url(environ: Mapping[str, str]) -> str:
    """Where calls go: Kaggle, or what `KGTTS_KAGGLE_URL` says.

    Raises:
        UsageError: the variable holds no address that credentials may be sent to: https, or http to this
            machine.
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


def connect(
    environ: Mapping[str, str] = os.environ,
    *,
    home: Path | None = None,
    login: tuple[str, str] | None = None,
) -> "KaggleClient":
    """Log in and return the client.

    The SDK beneath the `kaggle` package is taken directly: importing `kaggle` itself authenticates a global
    object, may print, exit or call the network, and takes twice as long.

    Args:
        environ: where credentials and `KGTTS_KAGGLE_URL` are looked up.
        home: the home folder that may hold `.kaggle/`; default: the user's.
        login: a user name and key to use in place of all others (the demo's own emulator).

    Raises:
        CredentialsError: there are none, or an OAuth login is over.
        ServiceError: an OAuth login could not be renewed.
        LocalError: the official client cannot be imported.
    """
    url = service_url(environ)
    if login is None:
        credentials = find_credentials(environ, home or Path.home())
    else:
        credentials = Credentials(CredentialKind.API_KEY, "given", *login)
    try:
        _point_endpoint(url)
        from orchestrator.kaggle.client import log_in  # noqa: PLC0415  # Imports the SDK, which is slow.
    except ImportError as error:
        raise LocalError(
            f"Kaggle's client cannot be imported: {error}.",
            hint="install kgtts again: pip install --force-reinstall . in its checkout",
        ) from error
    return log_in(credentials, url, home or Path.home())


def run_stock_client(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> None:
    """Run the official `kaggle` command line, unmodified, against the service that kgtts would use.

    The official client has no setting for the address: its endpoint table is pointed there first.
    It prints, and it may exit the process, as it always does.
    """
    _point_endpoint(service_url(environ))
    sys.argv = ["kaggle", *argv]
    from kaggle.cli import main  # noqa: PLC0415  # Slow and noisy: see the package's docstring.

    main()


def client_version() -> str:
    """The version of the installed official client, read without importing it."""
    from importlib.metadata import version  # noqa: PLC0415  # 20 ms that only `doctor` spends.

    return f"kaggle {version('kaggle')}, kagglesdk {version('kagglesdk')}"


def _point_endpoint(url: str) -> None:
    from kagglesdk import kaggle_env  # noqa: PLC0415  # Slow: see the package's docstring.

    kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = url  # noqa: SLF001  # There is no public setting.
