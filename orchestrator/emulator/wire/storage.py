"""The storage behind signed URLs: output files, served as Google Cloud Storage serves them."""

import base64
import hashlib
import hmac
import itertools
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from orchestrator.emulator.options import WaitableClock
from orchestrator.emulator.service.backend import Backend
from orchestrator.emulator.service.datasets import Dataset
from orchestrator.emulator.service.exceptions import ApiError, not_found
from orchestrator.emulator.service.files import list_files
from orchestrator.emulator.service.model_records import Model, Variation, VariationRef, plain

PREFIX = "/storage/"
_BYTES = "application/octet-stream"
# The object that hostile names in a listing point to. No output has this name: theirs contain slashes.
HOSTILE_OBJECT = "hostile"
_HOSTILE_BODY = b"Whoever asked for this followed a hostile name of the server's.\n"
_DATE = "%Y%m%dT%H%M%SZ"
# No owner of a kernel has such a name, and no file the other one.
_DATASET, _MODEL = "@dataset", "@model"
_ARCHIVE = ":all"
_PARTS_OF_OUTPUT = 3  # What stands before the path of an output: owner, kernel, version.
_PARTS = {_DATASET: 4, _MODEL: 6}


def output_name(owner: str, slug: str, number: int, name: str) -> str:
    """The storage's name for an output file of a version."""
    return f"{owner}/{slug}/{number}/{name}"


def dataset_file(dataset: Dataset, number: int, name: str) -> str:
    """The storage's name for a file of a version of a dataset."""
    return f"{_DATASET}/{dataset.ref}/{number}/{name}"


def dataset_archive(dataset: Dataset, number: int) -> str:
    """The storage's name for all files of a version of a dataset."""
    return f"{_DATASET}/{dataset.ref}/{number}/{_ARCHIVE}"


def model_file(model: Model, variation: Variation, number: int, name: str) -> str:
    """The storage's name for a file of a version of a model."""
    return f"{_MODEL}/{model.ref}/{plain(variation.framework)}/{variation.slug}/{number}/{name}"


def model_archive(model: Model, variation: Variation, number: int) -> str:
    """The storage's name for all files of a version of a model."""
    return model_file(model, variation, number, _ARCHIVE)


def output_path(name: str) -> str:
    """The path of a file within its version, from the storage's name for it."""
    return name.split("/", _PARTS.get(name.partition("/")[0], _PARTS_OF_OUTPUT))[-1]


def storage_error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as Google's storage writes it, in XML."""
    error = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    return Response(
        f"<?xml version='1.0' encoding='UTF-8'?>{error}",
        status,
        headers,
        media_type="application/xml; charset=UTF-8",
    )


class SignatureError(ValueError):
    """The URL was not signed by this emulator, or was changed since."""


class UrlExpiredError(ValueError):
    """The URL has expired."""


class UrlSigner:
    """Makes and checks signed URLs in Google's V4 form; its key lives as long as the emulator.

    Args:
        lifetime_s: how long a URL is valid, in seconds.
        clock: the clock by which they expire.
    """

    def __init__(self, lifetime_s: float, clock: WaitableClock) -> None:
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
        return f"{PREFIX}{quote(name)}?{urlencode(query)}"

    def check(self, name: str, query: Mapping[str, str]) -> None:
        """Check a URL's query for `name`.

        Raises:
            SignatureError: the signature is missing or wrong.
            UrlExpiredError: the URL has expired.
        """
        date, life = query.get("X-Goog-Date", ""), query.get("X-Goog-Expires", "")
        expected = self._signature(name, date, life, query.get("X-Goog-Credential", ""))
        if not hmac.compare_digest(query.get("X-Goog-Signature", "").encode(), expected.encode()):
            raise SignatureError("The request signature does not match.")
        signed_at = datetime.strptime(date, _DATE).replace(tzinfo=UTC)
        if self._clock.now() > signed_at + timedelta(seconds=float(life)):
            raise UrlExpiredError("The provided token has expired.")

    def _signature(self, *signed: str) -> str:
        message = "\n".join(signed).encode(errors="surrogateescape")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


class _StoredFile(FileResponse):
    """A file, or one range of it, read where it is sent.

    Starlette reads each piece in a thread, which costs more than to read what the system has in memory.
    """

    chunk_size = 1 << 18

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file; starlette says with which status and headers."""
        if scope["method"] != "GET" or "," in Headers(scope=scope).get("range", ""):
            await super().__call__(scope, receive, send)
            return
        start: dict[str, Any] = {}

        async def send_with_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif start["status"] in (200, 206):
                headers = MutableHeaders(raw=start["headers"])
                offset = int(headers.get("content-range", "bytes 0").removeprefix("bytes ").partition("-")[0])
                left = int(headers["content-length"])
                with Path(self.path).open("rb", buffering=0) as file:  # noqa: ASYNC230  # See above.
                    file.seek(offset)
                    while left and (data := file.read(min(self.chunk_size, left))):
                        left -= len(data)
                        await send({**message, "body": data, "more_body": True})
            await send(message)

        await super().__call__({**scope, "method": "HEAD"}, receive, send_with_body)


class StorageEndpoint:
    """Serves output files, and the files of datasets and models.

    Args:
        backend: knows the files.
        signer: knows which URLs are valid.
    """

    def __init__(self, backend: Backend, signer: UrlSigner) -> None:
        self._backend = backend
        self._signer = signer

    def get(self, request: Request) -> Response:
        """A file or part of it, streamed from disk; starlette handles `Range`, `If-Range`, 206 and 416."""
        name = request.path_params["name"]
        try:
            self._signer.check(name, request.query_params)
            if name == HOSTILE_OBJECT:
                return Response(_HOSTILE_BODY, media_type=_BYTES)
            if name.partition("/")[0] in _PARTS:
                # starlette gives ETag, Last-Modified and lengths.
                file = self._input_file(name)
                return _StoredFile(file, media_type=_BYTES, stat_result=file.stat())
            owner, slug, number, path = name.split("/", _PARTS_OF_OUTPUT)
            file, output, version = self._backend.kernels.output_file(owner, slug, int(number), path)
            found = file.stat()
        except SignatureError as error:
            return storage_error(403, "SignatureDoesNotMatch", str(error))
        except UrlExpiredError as error:
            return storage_error(400, "ExpiredToken", str(error))
        except (ApiError, FileNotFoundError, ValueError):
            return storage_error(404, "NoSuchKey", "The specified key does not exist.")
        assert version.ended_at is not None
        headers = {
            "etag": f'"{base64.b64decode(output.md5).hex()}"',
            "last-modified": format_datetime(version.ended_at.astimezone(UTC), usegmt=True),
            "x-goog-hash": f"crc32c={output.crc32c},md5={output.md5}",
            "x-goog-stored-content-length": str(output.size),
            "cache-control": "private, max-age=0",
        }
        return _StoredFile(file, headers=headers, media_type=_BYTES, stat_result=found)

    def _input_file(self, name: str) -> Path:
        """The file of a dataset or a model. Its name is looked up and never joined to a path unchecked.

        Raises:
            ApiError: 404, there is no such file.
        """
        kind, *parts = name.split("/", _PARTS[name.partition("/")[0]])
        if kind == _DATASET:
            owner, slug, number, path = parts
            datasets = self._backend.datasets
            dataset, version = datasets.get(owner, slug, int(number))
            if path == _ARCHIVE:
                return datasets.archive(dataset, version.number)
            folder = datasets.folder(dataset, version.number)
        else:
            *names, number, path = parts
            models = self._backend.models
            model, variation, found = models.get_version(VariationRef(*names), int(number))
            if path == _ARCHIVE:
                return models.archive(model, variation, found.number)
            folder = models.folder(model, variation, found.number)
        if path not in [entry.name for entry in list_files(folder)]:
            raise not_found(f"The file {path}")
        return folder / path
