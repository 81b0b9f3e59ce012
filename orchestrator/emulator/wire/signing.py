"""Signed URLs of the storage: a name, a date, a life time and a signature over them, in Google's V4 form."""

import hashlib
import hmac
import itertools
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from orchestrator.emulator.service.clock import Clock

_DATE = "%Y%m%dT%H%M%SZ"


class SignatureError(ValueError):
    """The URL was not signed by this emulator, or was changed since."""


class ExpiredError(ValueError):
    """The URL was right once."""


class Signer:
    """Makes and checks signed URLs; its key lives as long as the emulator.

    Args:
        lifetime_s: how long a URL works, in seconds.
        clock: the time that they expire by.
    """

    def __init__(self, lifetime_s: float, clock: Clock) -> None:
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._count = itertools.count(1)

    def sign(self, name: str) -> str:
        """The path and query under which `name` can be fetched for a while."""
        date = self._clock.now().strftime(_DATE)
        life = f"{self._lifetime_s:g}"
        # No two URLs are alike, so that one of them can expire alone.
        credential = f"emulator/{next(self._count)}"
        query = {
            "X-Goog-Algorithm": "GOOG4-HMAC-SHA256",
            "X-Goog-Credential": credential,
            "X-Goog-Date": date,
            "X-Goog-Expires": life,
            "X-Goog-Signature": self._signature(name, date, life, credential),
        }
        return f"/storage/{quote(name)}?{urlencode(query)}"

    def check(self, name: str, query: Mapping[str, str]) -> None:
        """Check a URL's query for `name`.

        Raises:
            SignatureError: it is missing or wrong.
            ExpiredError: its time is over.
        """
        date, life = query.get("X-Goog-Date", ""), query.get("X-Goog-Expires", "")
        wanted = self._signature(name, date, life, query.get("X-Goog-Credential", ""))
        if not hmac.compare_digest(query.get("X-Goog-Signature", "").encode(), wanted.encode()):
            raise SignatureError("The request signature does not match.")
        signed_at = datetime.strptime(date, _DATE).replace(tzinfo=UTC)
        if self._clock.now() > signed_at + timedelta(seconds=float(life)):
            raise ExpiredError("The provided token has expired.")

    def _signature(self, *signed: str) -> str:
        message = "\n".join(signed).encode(errors="surrogateescape")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()
