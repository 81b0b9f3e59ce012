"""What a file must be, as the storage and the session's own manifest say, and whether it is."""

import base64
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator import untrusted


class CorruptError(Exception):
    """The bytes received are not those that the storage has."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a file's content beforehand; what is None is not checked."""

    md5: bytes | None = None
    crc32c: bytes | None = None


def expected(headers: Mapping[str, Any]) -> Expected:
    """The hashes in `x-goog-hash: crc32c=…,md5=…` (base64), which Google's storage sends with every answer.

    A composite object has no MD5 there; that of a range is the whole object's all the same.
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
    """Paths and SHA-256 of a session's `manifest.json`; a manifest that cannot be read names nothing."""
    listed = [
        untrusted.as_object(item)
        for item in untrusted.as_list((untrusted.json_object(content) or {}).get("files"))
    ]
    return {
        str(item["path"]): str(item["sha256"]).lower()
        for item in listed
        if item.get("path") and item.get("sha256")
    }


class Hasher:
    """Takes a file's bytes from its first to its last and compares.

    Args:
        expected: what the storage says of it.
        sha256: what the session's manifest says of it, in hexadecimal.
    """

    def __init__(self, expected: Expected, sha256: str | None) -> None:
        import google_crc32c  # noqa: PLC0415  # Only a pull needs it.

        self._expected = expected
        self._sha256 = sha256
        self._md5 = hashlib.md5(usedforsecurity=False) if expected.md5 is not None else None
        self._crc = google_crc32c.Checksum() if expected.crc32c is not None else None
        self._sha = hashlib.sha256() if sha256 is not None else None
        self.at = 0
        self._busy = threading.Lock()

    def occupy(self) -> bool:
        """Become the one that hashes; False where there is one."""
        return self._busy.acquire(blocking=False)

    def leave(self) -> None:
        """Let another one go on."""
        self._busy.release()

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to compare with."""
        return any(one is not None for one in (self._md5, self._crc, self._sha))

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        for one in (self._md5, self._crc, self._sha):
            if one is not None:
                one.update(data)
        self.at += len(data)

    def check(self) -> None:
        """Compare.

        Raises:
            CorruptError: which hash differs.
        """
        if self._crc is not None and self._crc.digest() != self._expected.crc32c:
            raise CorruptError("its CRC32C is not the one that the storage names")
        if self._md5 is not None and self._md5.digest() != self._expected.md5:
            raise CorruptError("its MD5 is not the one that the storage names")
        if self._sha is not None and self._sha.hexdigest() != self._sha256:
            raise CorruptError("its SHA-256 is not the one in the session's manifest.json")
