"""Kaggle through its official client: the only package that knows `kaggle` and `kagglesdk`.

Checked against kaggle 2.2.4 and kagglesdk 0.1.37. The SDK is slow to import: only `client.py` and what that
imports (`kernels.py`, `datasets.py`, `models.py`, `uploads.py`) need it, and the functions here, which import
it when they are called.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import LocalError, ServiceError
from orchestrator.files import home_folder
from orchestrator.kaggle.auth import (
    KAGGLE_URL,
    URL_VARIABLE,
    CredentialKind,
    Credentials,
    can_make_config_folder,
    find_credentials,
    prepare_stock_client,
    service_url,
)

if TYPE_CHECKING:
    from orchestrator.kaggle.client import KaggleClient

__all__ = ["KAGGLE_URL", "URL_VARIABLE", "client_version", "connect", "run_stock_client", "service_url"]

_LONGEST_NAME = 128  # Encrypted file systems take names of 143 bytes, others of 255.
_DOCTOR = "`kgtts doctor` checks login and connection"


def connect(
    environ: Mapping[str, str] = os.environ,
    *,
    home: Path | None = None,
    login: tuple[str, str] | None = None,
) -> "KaggleClient":
    """Log in and return the client.

    The SDK below the `kaggle` package is used directly: importing `kaggle` itself logs in a global object,
    may print, exit or make calls, and takes twice as long.

    Args:
        environ: where credentials and `KGTTS_KAGGLE_URL` are looked up.
        home: the home folder that may hold `.kaggle/`; by default the user's.
        login: a user name and key to use in place of all others (for the demo's own emulator).

    Raises:
        CredentialsError: there are none, or an OAuth login has ended.
        ServiceError: an OAuth login could not be renewed.
        LocalError: the official client cannot be imported.
    """
    url = service_url(environ)
    if login is None:
        credentials = find_credentials(environ, home or home_folder())
    else:
        credentials = Credentials(CredentialKind.API_KEY, "given", *login)
    try:
        _point_sdk_at(url)
        from orchestrator.kaggle.client import log_in  # noqa: PLC0415  # Imports the SDK.
    except ImportError as error:
        raise LocalError(
            f"Kaggle's client cannot be imported: {error}.",
            hint="install kgtts again: pip install --force-reinstall . in its checkout",
        ) from error
    return log_in(credentials, url, home or home_folder())


def run_stock_client(argv: Sequence[str], environ: MutableMapping[str, str] = os.environ) -> None:
    """Run the official `kaggle` command line, unmodified, against the service that kgtts would use.

    It prints, and it may exit the process, as it always does. It gets the credentials that kgtts would use.

    Raises:
        CredentialsError: they cannot be right.
        ServiceError, LocalError: the official client could not log in, or crashed.
    """
    with contextlib.ExitStack() as stack:
        if not {"-h", "--help"}.intersection(argv):
            prepare_stock_client(argv, environ, home_folder())
            stack.enter_context(_made_usable(environ))
        _point_sdk_at(service_url(environ))
        sys.argv = ["kaggle", *argv]
        from kaggle.cli import main  # noqa: PLC0415  # Slow and noisy: see `connect`.
        from requests import RequestException  # noqa: PLC0415  # As slow.

        try:
            main()
        except BrokenPipeError:
            raise
        except Exception as error:  # Its own handling begins after its login.
            if isinstance(error, RequestException):
                raise ServiceError(f"The official client could not log in: {error}", hint=_DOCTOR) from error
            raise LocalError(
                f"The official client failed: {type(error).__name__}: {error}", hint=_DOCTOR
            ) from error


@contextlib.contextmanager
def _made_usable(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Give the official client what it insists on, in a folder that is only this user's and does not stay.

    It looks for a file called like any token first, and file systems raise an error for a name that is too
    long, so a long token is written to a file. It also makes a folder for its settings, which a home that is
    read-only does not allow.
    """
    token, has_place = environ.get("KAGGLE_API_TOKEN", ""), can_make_config_folder(environ, home_folder())
    if len(token) <= _LONGEST_NAME and has_place:
        yield
        return
    try:
        folder = tempfile.TemporaryDirectory()
    except OSError as error:
        raise LocalError(f"No temporary file for the official client could be made: {error}.") from error
    with folder as name:
        if len(token) > _LONGEST_NAME:
            path = Path(name) / "token"
            path.write_text(token, encoding="utf-8")
            environ["KAGGLE_API_TOKEN"] = str(path)
        if not has_place:
            environ["KAGGLE_CONFIG_DIR"] = name
        yield


def client_version() -> str:
    """Return the version of the installed official client, read without importing it."""
    from importlib.metadata import version  # noqa: PLC0415  # 20 ms that only `doctor` spends.

    return f"kaggle {version('kaggle')}, kagglesdk {version('kagglesdk')}"


def _point_sdk_at(url: str) -> None:
    from kagglesdk import kaggle_env  # noqa: PLC0415  # Imports the SDK.

    kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = url  # noqa: SLF001  # There is no public setting.
