"""Logging in: the address, the credentials and the official client itself."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator.credentials import find_credentials
from orchestrator.errors import CredentialsError, LocalError, UsageError

if TYPE_CHECKING:
    from orchestrator.kaggle_client.client import KaggleClient

KAGGLE_URL = "https://api.kaggle.com"
URL_VARIABLE = "KGTTS_KAGGLE_URL"
_logger = logging.getLogger(__name__)


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
    environ: Mapping[str, str] = os.environ, *, home: Path | None = None, login: tuple[str, str] | None = None
) -> "KaggleClient":
    """Log in with the official client and return the typed one beneath it.

    Args:
        environ: where credentials and `KGTTS_KAGGLE_URL` are looked up.
        home: the home folder that may hold `.kaggle/`; default: the user's.
        login: a user name and key to use in place of all others (the demo's own emulator).

    Raises:
        CredentialsError: there are none, or Kaggle does not accept them.
        ServiceError: Kaggle could not be asked.
        LocalError: the official client cannot be imported.
    """
    url = service_url(environ)
    if login is None:
        find_credentials(environ, home or Path.home())
    api = _official_api(url)
    from orchestrator.kaggle_client.client import KaggleClient  # noqa: PLC0415  # Imports the SDK.
    from orchestrator.kaggle_client.translation import translated  # noqa: PLC0415  # As above.

    if login is not None:
        client = api.build_kaggle_client_with_params(args=[], username=login[0], password=login[1])
        http = client.http_client()
        http._signed_in = True  # noqa: SLF001  # Else tokens of the environment win over `login` (0.1.37).
        http._init_session()  # noqa: SLF001  # As the official `kernels_logs_stream` does.
        http._session.auth = login  # noqa: SLF001
        return KaggleClient(client, login[0], url)
    with translated("log in to Kaggle"):
        if not api._authenticated:  # noqa: SLF001  # What the official `cli.main` asks.
            _authenticate(api)
        client = api.build_kaggle_client()
        client.http_client()._init_session()  # noqa: SLF001
    username = api.get_config_value(api.CONFIG_NAME_USER)
    return KaggleClient(client, str(username or ""), url)


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


def _official_api(url: str) -> Any:
    """Import the official client with its endpoint table pointed at `url`, and keep it quiet."""
    said = io.StringIO()
    try:
        _point_endpoint(url)
        with contextlib.redirect_stdout(said):
            import kaggle  # noqa: PLC0415  # Slow and noisy: see the package's docstring.
    except ImportError as error:
        raise LocalError(
            f"Kaggle's client cannot be imported: {error}.",
            hint="install kgtts again: pip install --upgrade kgtts",
        ) from error
    except OSError as error:
        raise LocalError(
            f"Kaggle's client cannot make its folder for settings: {error}.",
            hint="make the home folder writable, or set KAGGLE_CONFIG_DIR to a folder that is",
        ) from error
    for line in said.getvalue().splitlines():
        _logger.info("kaggle: %s", line)
    kaggle.KaggleApi.already_printed_version_warning = True
    return kaggle.api


def _point_endpoint(url: str) -> None:
    from kagglesdk import kaggle_env  # noqa: PLC0415  # Slow and noisy: see the package's docstring.

    kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = url  # noqa: SLF001  # There is no public setting.


def _authenticate(api: Any) -> None:
    """Log in; the official client prints its help and exits where it finds nothing that works."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            api.authenticate()
    except SystemExit:
        raise CredentialsError(
            "Kaggle does not accept the credentials.",
            hint="make a new token at https://www.kaggle.com/settings/api; then `kgtts doctor`",
        ) from None
