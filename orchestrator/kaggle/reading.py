"""Read the beginning of one file of a dataset or a model, or find the archive of all its files."""

import contextlib
import io
import zipfile
from collections.abc import Callable
from typing import Any

from orchestrator.errors import ForbiddenError, NotFoundError
from orchestrator.kaggle.errors import Calls
from orchestrator.models import InputArchive, OutputFile


def read_head(call: Calls, doing: str, ask: Callable[[], Any], name: str, most: int) -> bytes | None:
    """Return the first bytes of a file; None if there is no such file.

    Kaggle packs some files that are downloaded one by one into a ZIP archive; a small one is unpacked.
    """

    def read() -> bytes:
        with contextlib.closing(ask()) as response:
            return bytes(response.raw.read(most, decode_content=True))

    try:
        head = call(doing, read)
    except (NotFoundError, ForbiddenError):
        return None
    if head.startswith(b"PK") and not name.endswith((".zip", ".pth")):
        return _only_entry(head, most)
    return head


def find_archive(call: Calls, doing: str, ask: Callable[[], Any], name: str) -> InputArchive:
    """Return where an archive is, by an answer whose body is not read.

    Kaggle redirects to a signed URL of its storage, whose headers tell one content from another.

    Raises:
        CredentialsError, NotFoundError, ForbiddenError, RefusedError, ServiceError: as `Calls`.
    """

    def look() -> InputArchive:
        with contextlib.closing(ask()) as response:
            headers = response.headers
            length = headers.get("Content-Length", "")
            told = headers.get("x-goog-hash") or headers.get("ETag") or headers.get("Last-Modified")
            identity = f"{told} {length}" if told else ""
            return InputArchive(
                OutputFile(name, response.url), identity, int(length) if length.isdecimal() else None
            )

    return call(doing, look)


def _only_entry(packed: bytes, most: int) -> bytes | None:
    """Return the first bytes of the one file in an archive; None if it is not whole, or holds several."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            (entry,) = archive.infolist()
            with archive.open(entry) as file:
                return file.read(most)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError):
        return None
