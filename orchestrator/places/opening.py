"""Open a bucket or a folder through fsspec, and read small files there; errors are for people."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from orchestrator.download.buckets import errors
from orchestrator.download.storage import GoneError, StorageError
from orchestrator.errors import LocalError, ServiceError, UsageError
from orchestrator.files import expanded

_LARGEST = 16 << 20


def open_place(text: str) -> tuple[Any, str]:
    """Open a bucket (`s3://NAME/FOLDER`, `gs://...`) or a folder of this machine.

    Returns:
        Its file system (fsspec), and the folder in it.

    Raises:
        UsageError: there is no such folder, or no such kind of bucket.
        LocalError: a package that reads it is missing.
    """
    if "://" not in text:
        folder = expanded(text).absolute()
        if not folder.is_dir():
            raise UsageError(
                f"{text} is not a folder of this machine.",
                hint="name a folder with a run's sessions, or a bucket such as s3://NAME/FOLDER",
            )
        return fsspec.filesystem("file"), folder.as_posix()
    kind = text.partition("://")[0]
    try:
        fs, root = fsspec.url_to_fs(text, use_listings_cache=False)
    except ImportError as error:
        raise LocalError(
            f"Reading {kind}:// needs a package that is missing ({error}).",
            hint="pip install 'kgtts[cloud]' brings those for s3:// and gs://",
        ) from error
    except ValueError as error:
        raise UsageError(f"{text} cannot be read: {error}.", hint="write s3://NAME or gs://NAME") from error
    return fs, str(root).rstrip("/")


def read_small(fs: Any, path: str) -> bytes | None:
    """A small file; None if there is none, or it is not small."""
    with reading(path):
        try:
            if (fs.info(path).get("size") or 0) > _LARGEST:
                return None
            return bytes(fs.cat_file(path))
        except FileNotFoundError:
            return None


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what a bucket's client raises into errors for people.

    Raises:
        UsageError: there is no such folder.
        ServiceError: it cannot be read.
    """
    try:
        with errors():
            yield
    except GoneError:
        raise UsageError(f"There is no {path}, or these credentials may not see it.") from None
    except StorageError as error:
        raise ServiceError(
            f"{path} could not be read: {error}.",
            hint="the credentials are those of the bucket's own tools, such as `aws` or `gcloud`",
        ) from error
