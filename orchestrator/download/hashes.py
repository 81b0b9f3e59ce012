"""The hashes of a file: what the storage and the session's manifest say, and what arrived."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c

from orchestrator.untrusted import as_list, as_object, json_object


class CorruptError(Exception):
    """The bytes received are not those that the storage has."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The hashes that the storage names; None is not checked."""

    md5: bytes | None = None
    crc32c: bytes | None = None


def expected(headers: Mapping[str, Any]) -> Expected:
    """Read `x-goog-hash: crc32c=…,md5=…` (base64), which Google's storage sends with every answer.

    An object that was composed of several has no MD5. The hashes are those of the whole object, even in the
    answer to a range.
    """
    pairs = (part.strip().split("=", 1) for part in headers.get("x-goog-hash", "").split(",") if "=" in part)
    hashes = {name: _decoded(value) for name, value in pairs}
    return Expected(hashes.get("md5"), hashes.get("crc32c"))


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def read_manifest(content: bytes) -> dict[str, str]:
    """Return the SHA-256 of each path in a session's `manifest.json`; empty if it cannot be read."""
    entries = [as_object(entry) for entry in as_list((json_object(content) or {}).get("files"))]
    return {
        str(entry["path"]): str(entry["sha256"]).lower()
        for entry in entries
        if entry.get("path") and entry.get("sha256")
    }


class Hasher:
    """Takes a file's bytes from the first to the last, then compares them with the hashes that are known."""

    def __init__(self, expected: Expected, sha256: str | None) -> None:
        self._wanted = (
            ("CRC32C", google_crc32c.Checksum(), expected.crc32c),
            ("MD5", hashlib.md5(usedforsecurity=False), expected.md5),
            ("SHA-256", hashlib.sha256(), None if sha256 is None else _from_hex(sha256)),
        )
        self._used = [hasher for _, hasher, wanted in self._wanted if wanted is not None]

    def update(self, data: bytes) -> None:
        """Add the next bytes."""
        for hasher in self._used:
            hasher.update(data)

    def check(self) -> None:
        """Compare all hashes.

        Raises:
            CorruptError: which hash differs.
        """
        for name, hasher, wanted in self._wanted:
            if wanted is not None and hasher.digest() != wanted:
                source = "the one in the session's manifest.json" if name == "SHA-256" else "the storage's"
                raise CorruptError(f"its {name} is not {source}")


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""  # No file has it: a manifest that is damaged does not vouch for a file.
