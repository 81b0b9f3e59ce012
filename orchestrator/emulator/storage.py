"""The storage side of the emulator: files behind signed URLs, with the manners of Google Cloud Storage."""

from datetime import UTC
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from orchestrator.emulator.backend import Backend
from orchestrator.emulator.faults import FaultError
from orchestrator.emulator.signing import ExpiredError, SignatureError, Signer


def output_name(owner: str, slug: str, number: int, name: str) -> str:
    """The storage's name for an output file of a version."""
    return f"{owner}/{slug}/{number}/{name}"


def _refusal(status: int, code: str, message: str) -> Response:
    """Storage answers in XML, not in Kaggle's JSON."""
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Response(
        f"<?xml version='1.0' encoding='UTF-8'?>{error}", status, media_type="application/xml; charset=UTF-8"
    )


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
            owner, slug, number, path = name.split("/", 3)
            file, output, version = self._backend.catalogue.output_file(owner, slug, int(number), path)
            found = file.stat()
        except SignatureError as error:
            return _refusal(403, "SignatureDoesNotMatch", str(error))
        except ExpiredError as error:
            return _refusal(400, "ExpiredToken", str(error))
        except (FaultError, FileNotFoundError, ValueError):
            return _refusal(404, "NoSuchKey", "The specified key does not exist.")
        assert version.ended_at is not None
        headers = {
            "etag": f'"{output.md5}"',
            "last-modified": format_datetime(version.ended_at.astimezone(UTC), usegmt=True),
            "x-goog-hash": f"crc32c={output.crc32c},md5={output.md5}",
            "x-goog-stored-content-length": str(output.size),
            "cache-control": "private, max-age=0",
        }
        return FileResponse(file, headers=headers, media_type="application/octet-stream", stat_result=found)
