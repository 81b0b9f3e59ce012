"""Tells a run's own machines from strangers on their network: they have the same kernel, and its settings.

Nothing is encrypted: whoever listens on the network can read, but cannot command or answer.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping

HEADER = "X-Kgtts-Proof"


def key_of(settings: Mapping[str, object]) -> bytes:
    """Return the key that all machines derive from their kernel's SETTINGS."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).digest()


def proof(key: bytes, *parts: str | bytes) -> str:
    """Return what shows that the sender of `parts` has the key."""
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def is_proof(given: str | None, key: bytes, *parts: str | bytes) -> bool:
    """Whether `given` shows that the sender of `parts` has the key."""
    return hmac.compare_digest((given or "").encode("utf-8", "replace"), proof(key, *parts).encode())
