"""Credentials: whether a request carries them, whose a token is, and access tokens that expire."""

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Any

from kagglesdk.security.types import oauth_service as sdk
from kagglesdk.users.types import account_service
from starlette.requests import Request

from orchestrator.emulator.options import WaitableClock
from orchestrator.emulator.service.exceptions import ApiError
from orchestrator.emulator.wire.rpc import Call, Method, Methods

INTROSPECT = ("security.OAuthService", "IntrospectToken")
_GENERATE = ("users.AccountService", "GenerateAccessToken")
OPEN_METHODS = (INTROSPECT, _GENERATE)  # Their tokens are in their bodies; they need no other credentials.


class Authenticator:
    """Checks the credentials of one account: Basic with username and key, or Bearer with the key alone.

    Args:
        username: the owner of the account.
        key: the legacy key, which also serves as API token.
        lifetime_s: how long an access token of an OAuth login is valid.
        clock: the clock by which tokens expire.
    """

    def __init__(self, username: str, key: str, lifetime_s: float, clock: WaitableClock) -> None:
        self._username = username
        self._key = key
        self._lifetime = timedelta(seconds=lifetime_s)
        self._clock = clock
        self._issued: dict[str, datetime] = {}  # Access tokens, and when they expire.

    @property
    def refresh_token(self) -> str:
        """The token with which an OAuth login gets access tokens; the same for the same key."""
        return f"refresh-{hashlib.sha256(self._key.encode()).hexdigest()[:32]}"

    def issue(self) -> str:
        """Return a new access token."""
        token = f"access-{secrets.token_hex(16)}"
        self._issued[token] = self._clock.now() + self._lifetime
        return token

    def _is_valid(self, token: bytes) -> bool:
        if hmac.compare_digest(token, self._key.encode()):
            return True
        expires = self._issued.get(token.decode("utf-8", "replace"))
        return expires is not None and self._clock.now() < expires

    def check(self, request: Request) -> bool:
        """Check a request, in constant time; return whether it carries username and key.

        Raises:
            ApiError: 401, the credentials are missing or wrong.
        """
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        given = expected = b""
        if scheme.lower() == "bearer":
            if self._is_valid(value.strip().encode()):
                return False
        elif scheme.lower() == "basic":
            try:
                given, expected = base64.b64decode(value), f"{self._username}:{self._key}".encode()
            except binascii.Error:
                given = b""
        if not expected or not hmac.compare_digest(given, expected):
            raise ApiError(401, "Unauthenticated")
        return scheme.lower() == "basic"

    def methods(self) -> Methods:
        """IntrospectToken and GenerateAccessToken."""
        return {
            INTROSPECT: Method(sdk.IntrospectTokenRequest, self._introspect),
            _GENERATE: Method(account_service.GenerateAccessTokenRequest, self._generate),
        }

    def _generate(self, call: Call) -> Any:
        """GenerateAccessToken: a token that expires, for the refresh token of an OAuth login."""
        if not hmac.compare_digest(call.request.refresh_token.encode(), self.refresh_token.encode()):
            raise ApiError(401, "Unauthenticated")
        response = account_service.GenerateAccessTokenResponse()
        response.token, response.user_name = self.issue(), self._username
        response.expires_in = max(1, int(self._lifetime.total_seconds()))
        return response

    def _introspect(self, call: Call) -> Any:
        response = sdk.IntrospectTokenResponse()
        response.active = self._is_valid(call.request.token.encode())
        if response.active:
            response.username = self._username
        return response
