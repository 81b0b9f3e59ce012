"""Credentials: whether a request carries them, and the method that tells whose token it is."""

import base64
import binascii
import hmac
from typing import Any

from kagglesdk.security.types import oauth_service as sdk
from starlette.requests import Request

from orchestrator.emulator.service.exceptions import ApiError
from orchestrator.emulator.wire.rpc import Call, Method, Methods

INTROSPECT = ("security.OAuthService", "IntrospectToken")


class Authenticator:
    """Checks the credentials of one account: Basic with username and key, or Bearer with the key alone.

    Args:
        username: the owner of the account.
        key: the legacy key, which also serves as API token.
    """

    def __init__(self, username: str, key: str) -> None:
        self._username = username
        self._key = key

    def check(self, request: Request) -> bool:
        """Check a request, in constant time; return whether it carries username and key.

        Raises:
            ApiError: 401, the credentials are missing or wrong.
        """
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        given = expected = b""
        if scheme.lower() == "bearer":
            given, expected = value.strip().encode(), self._key.encode()
        elif scheme.lower() == "basic":
            try:
                given, expected = base64.b64decode(value), f"{self._username}:{self._key}".encode()
            except binascii.Error:
                given = b""
        if not expected or not hmac.compare_digest(given, expected):
            raise ApiError(401, "Unauthenticated")
        return scheme.lower() == "basic"

    def methods(self) -> Methods:
        """IntrospectToken, which needs no credentials: the token in its body is what it is about."""
        return {INTROSPECT: Method(sdk.IntrospectTokenRequest, self._introspect)}

    def _introspect(self, call: Call) -> Any:
        response = sdk.IntrospectTokenResponse()
        response.active = hmac.compare_digest(call.request.token.encode(), self._key.encode())
        if response.active:
            response.username = self._username
        return response
