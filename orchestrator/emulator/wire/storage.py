"""The storage side of the emulator: files behind signed URLs, with the manners of Google Cloud Storage."""

import base64
from datetime import UTC
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from orchestrator.emulator.service.backend import Backend
from orchestrator.emulator.service.refusals import FaultError
from orchestrator.emulator.wire.answers import storage_error
from orchestrator.emulator.wire.signing import ExpiredError, SignatureError, Signer


def output_name(owner: str, slug: str, number: int, name: str) -> str:
    """The storage's name for an output file of a version."""
    return f"{owner}/{slug}/{number}/{name}"


# What hostile names in a listing point to. No output is called so: theirs have slashes.
HOSTILE_OBJECT = "hostile"
_HOSTILE_BODY = b"Whoever asked for this followed a name of the server's too far.\n"


class _StoredFile(FileResponse):
    """A file in pieces of 1 MiB: on loopback several times faster than starlette's 64 KiB."""

    chunk_size = 1 << 20


class Storage:
    """Serves output files.

    Args:
        backend: knows the files.
        signer: knows which URLs are good.
    """

    def __init__(self, backend: Backend, signer: Signer) -> None:
        self._backend = backend
        self._signer = signer

    def get(self, request: Request) -> Response:
        """A file or a part of it, streamed from disk; `Range`, `If-Range`, 206 and 416 are starlette's."""
        name = request.path_params["name"]
        try:
            self._signer.check(name, request.query_params)
            if name == HOSTILE_OBJECT:
                return Response(_HOSTILE_BODY, media_type="application/octet-stream")
            owner, slug, number, path = name.split("/", 3)
            file, output, version = self._backend.catalogue.output_file(owner, slug, int(number), path)
            found = file.stat()
        except SignatureError as error:
            return storage_error(403, "SignatureDoesNotMatch", str(error))
        except ExpiredError as error:
            return storage_error(400, "ExpiredToken", str(error))
        except (FaultError, FileNotFoundError, ValueError):
            return storage_error(404, "NoSuchKey", "The specified key does not exist.")
        assert version.ended_at is not None
        headers = {
            "etag": f'"{base64.b64decode(output.md5).hex()}"',
            "last-modified": format_datetime(version.ended_at.astimezone(UTC), usegmt=True),
            "x-goog-hash": f"crc32c={output.crc32c},md5={output.md5}",
            "x-goog-stored-content-length": str(output.size),
            "cache-control": "private, max-age=0",
        }
        return _StoredFile(file, headers=headers, media_type="application/octet-stream", stat_result=found)
