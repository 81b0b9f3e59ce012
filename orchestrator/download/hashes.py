"""What is known of a file's content, and whether a file on this disk has it."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import google_crc32c

from orchestrator.untrusted import as_list, as_object, count, json_object


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of a file's content; None is not known."""

    size: int | None = None  # Bytes.
    sha256: bytes | None = None  # In the session's manifest.
    crc32c: bytes | None = None  # In the storage.
    md5: bytes | None = None  # The same; an object that was composed of several has none.
    etag: str = ""  # The storage's strong ETag, which changes with it; "" without one.

    @property
    def can_be_told(self) -> bool:
        """Whether enough is known to tell this content from others."""
        return self.size == 0 or any(known is not None for known in (self.sha256, self.crc32c, self.md5))

    @property
    def can_be_resumed(self) -> bool:
        """Whether enough is known to request the rest of it."""
        return self.size is not None and self.etag != ""

    @property
    def is_told_by_crc32c(self) -> bool:
        """Whether CRC32C is the best hash that is known."""
        return self.sha256 is None and self.crc32c is not None

    def by(self, manifest: "Content") -> "Content":
        """Return the same with what a manifest says, whose word goes first."""
        size = self.size if manifest.size is None else manifest.size
        return replace(self, size=size, sha256=manifest.sha256)

    def fault(self, place: Path, crc32c: bytes | None = None) -> str | None:
        """Return what is wrong with the file at `place`, as the end of "it …"; None if it has this content.

        Only the best hash is computed: the manifest's, or else one of the storage's. CRC32C is the one that
        Google recommends: every object has it, and it costs a tenth of MD5. `crc32c` is that of the bytes
        that were written there, if it was computed as they came.

        Raises:
            OSError: the file cannot be read.
        """
        size = place.stat().st_size
        if self.size not in (None, size):
            return f"has {size:,} bytes instead of {self.size:,}"
        for name, wanted, hasher, known, source in (
            ("SHA-256", self.sha256, hashlib.sha256(), None, "the session"),
            ("CRC32C", self.crc32c, google_crc32c.Checksum(), crc32c, "the storage"),
            ("MD5", self.md5, hashlib.md5(usedforsecurity=False), None, "the storage"),
        ):
            if wanted is not None:
                found = digest(place, hasher) if known is None else known
                return None if found == wanted else f"has another {name} than {source} gives"
        return None


def digest(place: Path, hasher: Any) -> bytes:
    """Return the hash of a file; raises as `Content.fault`."""
    with place.open("rb", buffering=0) as file:
        while data := file.read(1 << 20):
            hasher.update(data)
    return bytes(hasher.digest())


def joined_crc32c(parts: Iterable[tuple[int, int]]) -> bytes:
    """Return the CRC32C of bytes of which only the CRC32C and the size of each part are known, in order.

    Bytes that follow shift the remainder of those before them, which is a multiplication by x ** (8 * size)
    modulo the polynomial (as crc32_combine of zlib does it).
    """
    whole = 0
    for crc, size in parts:
        whole = (_product(_shift(size), whole) if whole else 0) ^ crc
    return whole.to_bytes(4, "big")


@cache
def _shift(size: int) -> int:
    """Return x ** (8 * size); the highest bit is that of x ** 0."""
    if size == 0:
        return 1 << 31
    half = _shift(size // 2)
    return _product(1 << 23 if size % 2 else 1 << 31, _product(half, half))


def _product(left: int, right: int) -> int:
    """Return the product of two remainders modulo the polynomial of CRC32C."""
    product = 0
    while left:
        if left & 1 << 31:
            product ^= right
        left = left << 1 & 0xFFFFFFFF
        right = right >> 1 ^ (0x82F63B78 if right & 1 else 0)
    return product


def described(headers: Mapping[str, Any], size: int | None) -> Content:
    """Return the content that an answer's headers describe, even if its body is a part.

    Google's storage sends `x-goog-hash: crc32c=…,md5=…` (base64), of the whole object; if that is stored
    compressed, of what is stored, which is not what comes.
    """
    etag = headers.get("ETag", "").strip()
    if not etag.startswith('"'):  # A weak ETag begins with W/.
        etag = ""
    if headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return Content(size, etag=etag)
    pairs = (part.strip().partition("=") for part in headers.get("x-goog-hash", "").split(","))
    hashes = {name: from_base64(value) for name, _, value in pairs}
    return Content(size, None, hashes.get("crc32c"), hashes.get("md5"), etag)


def read_manifest(content: bytes) -> dict[str, Content]:
    """Return what a session's `manifest.json` says of each path; empty if it cannot be read."""
    return contents_of(map(as_object, as_list((json_object(content) or {}).get("files"))))


def contents_of(entries: Iterable[Mapping[str, Any]]) -> dict[str, Content]:
    """Return what entries with `path`, `size` and `sha256` (hex) say, by path; others are left out."""
    return {
        str(entry["path"]): Content(count(entry.get("size")), _from_hex(entry["sha256"]))
        for entry in entries
        if entry.get("path") and entry.get("sha256")
    }


def from_base64(value: object) -> bytes | None:
    """Return the hash that a storage gives in base64; None if it is none."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except ValueError:
        return None


def _from_hex(text: object) -> bytes:
    try:
        return bytes.fromhex(str(text))
    except ValueError:
        return b""  # No content has it: a damaged manifest vouches for nothing.
