"""Transfers from a bucket: in ranges, resumed where they broke off, checked, begun again if it changes."""

import hashlib
import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest

from orchestrator.download import Content, Transfer, TransferListener, TransferOptions, fetch
from orchestrator.download.buckets import BucketStorage, content_of
from orchestrator.errors import ServiceError
from orchestrator.models import OutputFile

DATA = random.Random(1).randbytes(13 << 20)  # 13 MB in three ranges.  # noqa: S311
ONE_TRY = TransferOptions(connections=1, attempts=1)


class Bucket:
    """A bucket in memory that notes which ranges are read, and can fail."""

    def __init__(self, fs: Any) -> None:
        self._fs, self.reads, self.fails = fs, list[tuple[int | None, int | None]](), 0

    def info(self, path: str) -> Any:
        """What the bucket says of a file; it changes with the file."""
        found = self._fs.info(path)
        return {**found, "ETag": hashlib.md5(self._fs.cat_file(path)).hexdigest()}  # noqa: S324 - as S3 does

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> Any:
        """Read a range, or fail as a client does."""
        if self.fails and len(self.reads) >= self.fails:
            raise TimeoutError("the client's own words")
        self.reads.append((start, end))
        return self._fs.cat_file(path, start=start, end=end)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """A bucket with one file."""
    fs = fsspec.filesystem("memory")
    fs.pipe("/b/run/big.pth", DATA)
    yield Bucket(fs)
    fs.store.clear()


def bring(bucket: Bucket, target: Path, options: TransferOptions = ONE_TRY) -> Transfer:
    """Bring the file."""
    files = [OutputFile("big.pth", "")]
    manifest = {"big.pth": Content(len(DATA), hashlib.sha256(DATA).digest())}
    storage = partial(BucketStorage, bucket, "/b/run")
    return fetch(files, target, TransferListener(), manifest=manifest, options=options, storage=storage)


def test_a_transfer_goes_on_where_it_broke_off(bucket: Bucket, tmp_path: Path) -> None:
    """What came is not requested again, and what is there is not requested at all."""
    bucket.fails = 1
    with pytest.raises(ServiceError, match="could not be read \\(TimeoutError: the client's own words\\)"):
        bring(bucket, tmp_path)
    assert not (tmp_path / "big.pth").exists()
    bucket.fails = 0
    found = bring(bucket, tmp_path)
    assert (tmp_path / "big.pth").read_bytes() == DATA
    starts = [start for start, _ in bucket.reads]
    assert starts == sorted(set(starts))  # type: ignore[type-var] # no None: each was a range
    assert found.counts.resumed == 8 << 20
    reads = len(bucket.reads)
    assert bring(bucket, tmp_path).files[0].unchanged
    assert len(bucket.reads) == reads


def test_a_file_that_changes_is_begun_again(bucket: Bucket, tmp_path: Path) -> None:
    """Ranges of two contents never make one file."""
    bucket.fails = 1
    with pytest.raises(ServiceError):
        bring(bucket, tmp_path)
    bucket.fails = 0
    bucket._fs.pipe("/b/run/big.pth", DATA[::-1])
    with pytest.raises(ServiceError, match="arrived damaged twice"):
        bring(bucket, tmp_path)
    bucket._fs.pipe("/b/run/big.pth", DATA)
    bring(bucket, tmp_path)
    assert (tmp_path / "big.pth").read_bytes() == DATA


def test_a_file_that_is_gone_is_said(bucket: Bucket, tmp_path: Path) -> None:
    """A file of the listing that the bucket has no more ends the transfer at once."""
    storage = partial(BucketStorage, fsspec.filesystem("memory"), "/b/run")
    with pytest.raises(ServiceError, match="it is not there any more"):
        fetch([OutputFile("gone.pth", "")], tmp_path, TransferListener(), storage=storage)
    fsspec.filesystem("memory").pipe("/b/run/empty", b"")
    fetch([OutputFile("empty", "")], tmp_path, TransferListener(), storage=storage)
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_file_that_was_written_again_is_another(tmp_path: Path) -> None:
    """A folder gives no hash, and the size may be the same: the time tells that a part of it is of no use."""
    place, fs = tmp_path / "big.pth", fsspec.filesystem("file")
    place.write_bytes(b"weights")
    before = content_of(fs.info(str(place)))
    os.utime(place, (1, 1))
    assert (content_of(fs.info(str(place))).size, before.size) == (7, 7)
    assert content_of(fs.info(str(place))).etag != before.etag
