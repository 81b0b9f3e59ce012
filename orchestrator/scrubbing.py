"""Remove secrets from text before it is shown, logged or stored.

Whoever reads credentials tells `learn` about them; whatever was made from an exception goes through `scrub`
before a person, a file or GitHub gets it. Signed URLs, authorization headers and the passwords of proxies are
known by their form.
"""

import base64
import re
import threading
from urllib.parse import quote

_SHORTEST = 6  # Shorter texts are no secrets, and would be found everywhere.
_SHORTEST_IN_URL = 32  # Of the values in a signed URL: signatures and tokens are longer, dates shorter.
_HIDDEN = "***"
# Names of environment variables that hold secrets, and values that do: addresses with a password in them.
CONFIDENTIAL = r"KAGGLE|KGTTS|TOKEN|KEY|SECRET|PASS|CREDENTIAL|AUTH|COOKIE|HOOK|DSN"
HAS_A_LOGIN = r"://[^/@\s]+@"
_INVISIBLE = re.compile(r"[^!-~]+")
_FORMS = (
    # A signed URL works for whoever has it: nothing of its query stays.
    (
        re.compile(r"\?[^\s'\"<>]*\b(?:X-Goog-|X-Amz-|GoogleAccessId|Signature=|upload_id=)[^\s'\"<>)]*"),
        "?***",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{6,}"), r"\1 ***"),
    (re.compile(r"(?<=://)[^/\s@'\"]+@"), "***@"),
)


class Scrubber:
    """Knows secrets, and removes them from texts."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def learn(self, secret: str, username: str | None = None) -> None:
        """Remember a secret; with `username` also the form in which HTTP sends both.

        White space and other invisible characters in it do not matter: a text may show them in many ways, so
        each piece between them counts.
        """
        pieces = _INVISIBLE.split(secret)
        whole = "".join(pieces)
        forms = {whole, quote(whole, safe=""), *pieces}
        if username:
            forms.add(base64.b64encode(f"{username}:{secret}".encode("utf-8", "replace")).decode())
        found = {form for form in forms if len(form) >= _SHORTEST}
        with self._lock:
            if not found <= self._known:
                self._known |= found
                longest_first = sorted(self._known, key=len, reverse=True)
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def learn_url(self, url: str) -> None:
        """Remember a signed URL: its query as a whole, and whatever in it is as long as a signature."""
        query = url.partition("?")[2]
        values = (item.partition("=")[2] for item in query.split("&"))
        for part in (query, *(value for value in values if len(value) >= _SHORTEST_IN_URL)):
            self.learn(part)

    def scrub(self, text: str) -> str:
        """Return `text` with `***` instead of every secret."""
        if self._pattern is not None:
            text = self._pattern.sub(_HIDDEN, text)
        for form, shown in _FORMS:
            text = form.sub(shown, text)
        return text


_process = Scrubber()
learn = _process.learn
learn_url = _process.learn_url
scrub = _process.scrub
