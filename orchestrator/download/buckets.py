"""Files in a bucket or a folder, read through fsspec, as the storage of a transfer.

A transfer from there is as one from Kaggle's storage (ranges, resumable, verified); only requests differ.
"""

import base64
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from orchestrator.download.downloader import NO_MANIFEST
from orchestrator.download.fetch import measured, transfer
from orchestrator.download.hashes import Content
from orchestrator.download.names import Refused
from orchestrator.download.storage import (
    LOOK,
    Answer,
    BeyondEndError,
    GoneError,
    Storage,
    StorageError,
    TransientError,
)
from orchestrator.download.transfer import Planned, Transfer, TransferListener, TransferOptions
from orchestrator.models import OutputFile
from orchestrator.untrusted import count

_OPTIONS = TransferOptions(connections=4)  # Each holds a range in memory.
# What changes with a file's content, by the names of S3, Google's storage, Azure and a file system.
_MARKS = ("ETag", "etag", "generation", "mtime", "last_modified", "LastModified", "created", "ino")


class BucketAnswer(Answer):
    """A part of a file in a bucket, or all of it, in memory."""

    def __init__(self, content: Content, data: bytes, *, is_whole: bool) -> None:
        self.content, self.is_whole, self._data = content, is_whole, data

    def read(self) -> bytes:
        """Return all bytes; b"" after that."""
        data, self._data = self._data, b""
        return data


class BucketStorage(Storage):
    """The files below a folder of a bucket.

    Args:
        fs: the bucket's file system (fsspec).
        root: the folder in it, without a slash at its end.
        files: the files; the name of each is its path below `root`.
        options: connections, waits and retries.
    """

    def __init__(self, fs: Any, root: str, files: Sequence[OutputFile], options: TransferOptions) -> None:
        super().__init__(files, None, options)
        self._fs, self._root = fs, root

    @contextlib.contextmanager
    def ask(self, file: OutputFile, span: tuple[int, int] | None, *, same: str = "") -> Iterator[Answer]:
        """Read a file or a part of it; see `Storage.ask`.

        Raises:
            StorageError: nothing came; see its kinds.
            StoppedError: the transfer was ended.
        """
        self.check_stopped()
        self.requests += 1
        path = f"{self._root}/{file.name}"
        with errors():
            content = content_of(self._fs.info(path))
            size = content.size or 0
            if span is None or (same and same != content.etag):
                data, is_whole = self._fs.cat_file(path), True
            elif span[0] >= size:
                raise BeyondEndError("it has no such bytes")
            else:
                end = min(span[1], size)
                data = b"" if span is LOOK else self._fs.cat_file(path, start=span[0], end=end)
                is_whole = False
                if span is not LOOK and len(data) != end - span[0]:
                    raise TransientError("fewer bytes came than it has")
        self.check_stopped()
        yield BucketAnswer(content, data, is_whole=is_whole)


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Turn what fsspec and a bucket's client raise into errors of a transfer.

    Raises:
        StorageError: nothing came; see its kinds.
    """
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise GoneError("it is not there any more") from error
    except (PermissionError, ImportError) as error:
        raise StorageError(f"access is refused ({error})") from error
    except Exception as error:  # Each client has its own.
        raise TransientError(f"the bucket could not be read ({type(error).__name__}: {error})") from error


def content_of(info: Mapping[str, Any]) -> Content:
    """What a bucket says of a file's content."""
    size = count(info.get("size"))
    mark = next((f"{key} {info[key]}" for key in _MARKS if info.get(key)), "")
    return Content(
        size,
        crc32c=_from_base64(info.get("crc32c")),
        md5=_from_base64(info.get("md5Hash")),
        etag=f'"{mark} {size}"',
    )


def bucket_fetch(fs: Any, root: str) -> Callable[..., Transfer]:
    """What fetches files of a folder in a bucket, called as `fetch`."""

    def fetch_there(  # noqa: PLR0913  # As `fetch`.
        files: Sequence[OutputFile],
        target: Path,
        listener: TransferListener,
        *,
        relist: object = None,  # noqa: ARG001  # Nothing there expires.
        manifest: Mapping[str, Content] = NO_MANIFEST,
        options: TransferOptions = _OPTIONS,
    ) -> Transfer:
        with closing(BucketStorage(fs, root, files, options)) as storage:
            return transfer(files, target, listener, storage, manifest)

    return fetch_there


def bucket_measure(
    fs: Any, root: str, files: Sequence[OutputFile], target: Path
) -> tuple[Sequence[Planned], Sequence[Refused]]:
    """Return what would be fetched of a folder in a bucket, with sizes, and the refused names.

    Raises:
        ServiceError: the bucket does not answer for a file.
    """
    with closing(BucketStorage(fs, root, files, _OPTIONS)) as storage:
        return measured(files, target, storage)


def _from_base64(value: object) -> bytes | None:
    """The hash that Google's storage gives with a file."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except ValueError:
        return None
