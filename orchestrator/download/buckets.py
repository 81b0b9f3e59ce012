"""Files in a bucket or a folder, read through fsspec, as the storage of a transfer.

A transfer from there is as one from Kaggle's storage (ranges, resumable, verified); only requests differ.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.download.hashes import Content, from_base64
from orchestrator.download.storage import (
    LOOK,
    Answer,
    BeyondEndError,
    GoneError,
    Storage,
    StorageError,
    TransientError,
)
from orchestrator.download.transfer import TransferOptions
from orchestrator.models import OutputFile
from orchestrator.untrusted import count

_CONNECTIONS = 4  # At most: each holds a range in memory.
# What changes with a file's content, by the names of S3, Google's storage, Azure and a file system.
_MARKS = ("ETag", "etag", "generation", "mtime", "last_modified", "LastModified", "created", "ino")


class BucketStorage(Storage):
    """The files below a folder of a bucket; `partial(BucketStorage, fs, root)` opens it for `fetch`.

    Args:
        fs: the bucket's file system (fsspec).
        root: the folder in it, without a slash at its end.
        files: the files; the name of each is its path below `root`.
        relist: as for `Storage`; nothing there expires.
        options: connections, waits and retries.
    """

    def __init__(
        self, fs: Any, root: str, files: Sequence[OutputFile], relist: Any, options: TransferOptions
    ) -> None:
        few = replace(options, connections=min(_CONNECTIONS, options.connections))
        super().__init__(files, relist, few)
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
            size, is_whole, data = content.size or 0, span is None or same not in ("", content.etag), b""
            if is_whole or span is None:
                data = self._fs.cat_file(path)
            elif span[0] >= size:
                raise BeyondEndError("it has no such bytes")
            elif span is not LOOK:
                end = min(span[1], size)
                data = self._fs.cat_file(path, start=span[0], end=end)
                if len(data) != end - span[0]:
                    raise TransientError("fewer bytes came than it has")
        self.check_stopped()
        yield Answer(content, is_whole, iter([data]))


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
    crc32c, md5 = from_base64(info.get("crc32c")), from_base64(info.get("md5Hash"))
    return Content(size, crc32c=crc32c, md5=md5, etag=f'"{mark} {size}"')
