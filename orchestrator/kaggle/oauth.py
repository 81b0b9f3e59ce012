"""The login that `kaggle auth login` made: an access token of about 12 hours, renewed before it expires.

The SDK (kagglesdk 0.1.37) takes a token for valid until 30 minutes after its expiry, reads no file with a
byte order mark, and writes the file in place; so this does all three by itself.
"""

import contextlib
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kagglesdk.users.types.account_service import ApiVersion, GenerateAccessTokenRequest
from requests.auth import AuthBase

from orchestrator import untrusted
from orchestrator.errors import CredentialsError, LocalError
from orchestrator.files import write_atomically
from orchestrator.kaggle.auth import login_file, text_of
from orchestrator.kaggle.errors import Calls
from orchestrator.scrubbing import learn

_LIFETIME = timedelta(hours=12)  # What the official client asks for.
_MARGIN = timedelta(minutes=10)
_AGAIN = "log in again with `kgtts kaggle auth login`; then `kgtts doctor`"


class OAuthLogin(AuthBase):
    """Puts an access token on requests, and renews it; safe between threads.

    Args:
        sdk: the SDK's client, for the call that renews.
        home: the home folder with the file of the login.

    Raises:
        CredentialsError: the file has no login.
    """

    def __init__(self, sdk: Any, home: Path) -> None:
        self._sdk = sdk
        self._path = login_file(home)
        self._call = Calls()
        self._lock = threading.RLock()
        self._is_renewing = False
        self._read()

    @property
    def username(self) -> str | None:
        """The account's name, if the file has it."""
        return text_of(self._stored.get("username")) or None

    @property
    def token(self) -> str:
        """The access token, renewed if it expires soon.

        Raises:
            CredentialsError, ServiceError: it could not be renewed.
        """
        with self._lock:
            if not self._is_renewing and not self._is_valid():
                self._read()  # Another process may have renewed it.
                if not self._is_valid():
                    self.renew()
            return self._token

    def __call__(self, request: Any) -> Any:
        """Put the token on a request; the one that renews the token carries none."""
        with self._lock:
            if not self._is_renewing:
                request.headers["Authorization"] = f"Bearer {self.token}"
        return request

    def renew(self) -> bool:
        """Get a new access token and keep it in the login's file.

        Raises:
            CredentialsError: the login has ended.
            ServiceError: Kaggle could not be reached.
        """
        request = GenerateAccessTokenRequest()
        request.refresh_token = self._refresh
        request.api_version, request.expiration_duration = ApiVersion.API_VERSION_V1, _LIFETIME
        with self._lock:
            self._is_renewing = True
            try:
                answer = self._call(
                    "renew the login to Kaggle",
                    lambda: self._sdk.users.account_client.generate_access_token(request),
                )
            except CredentialsError as error:
                raise CredentialsError(error.message, hint=_AGAIN) from error
            finally:
                self._is_renewing = False
            self._token = str(answer.token)
            learn(self._token)
            self._expires = datetime.now(UTC) + timedelta(seconds=answer.expires_in)
            # A short token is renewed in the last tenth of its life.
            self._margin = min(_MARGIN, timedelta(seconds=answer.expires_in) / 10)
            self._stored |= {
                "access_token": self._token,
                "access_token_expiration": self._expires.isoformat(),
            }
            self._write()
        return True

    def _is_valid(self) -> bool:
        return bool(self._token) and datetime.now(UTC) < self._expires - self._margin

    def _read(self) -> None:
        data = untrusted.read_bytes(self._path) or b""
        self._stored = untrusted.json_object(data.decode("utf-8-sig", "replace")) or {}
        self._refresh = text_of(self._stored.get("refresh_token"))
        self._token = text_of(self._stored.get("access_token"))
        learn(self._refresh)
        learn(self._token)
        self._expires, self._margin = datetime.min.replace(tzinfo=UTC), timedelta(0)
        with contextlib.suppress(ValueError):
            moment = datetime.fromisoformat(str(self._stored.get("access_token_expiration")))
            self._expires = moment.replace(tzinfo=moment.tzinfo or UTC)
            self._margin = _MARGIN
        if not self._refresh:
            raise CredentialsError(f"{self._path} has no login.", hint=_AGAIN)

    def _write(self) -> None:
        # A home that cannot be written costs a renewal in the next process, and no more.
        with contextlib.suppress(LocalError, OSError):
            write_atomically(self._path, json.dumps(self._stored, indent=2))
            self._path.chmod(0o600)
