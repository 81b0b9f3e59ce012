"""What a transfer would bring, without bringing it: the sizes, which a listing does not tell."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from orchestrator.download.failures import said
from orchestrator.download.index import Index
from orchestrator.download.job import Job
from orchestrator.download.listener import Planned
from orchestrator.download.names import Refused, sort_out
from orchestrator.download.options import DEFAULT, Patience, TransferOptions
from orchestrator.download.partial import part_size
from orchestrator.download.queue import Addresses
from orchestrator.download.ranges import Span
from orchestrator.download.storage import (
    BeyondEndError,
    ExpiredError,
    Remote,
    Storage,
    StorageError,
    TransientError,
)
from orchestrator.models import OutputFile


def measure(
    files: Sequence[OutputFile],
    target: Path,
    *,
    relist: Callable[[], Sequence[OutputFile]] | None = None,
    options: TransferOptions = DEFAULT,
) -> tuple[Sequence[Planned], Sequence[Refused]]:
    """The files that `fetch` would bring below `target`, with sizes and what is here; and refused names.

    One byte of each is asked for: the signed address of a file is good for GET alone.

    Raises:
        ServiceError: the storage does not answer for a file.
    """
    wanted, refused = sort_out(files, target)
    storage = Storage(options.connections, options.connect_s, options.stall_s)
    sleep = options.sleep or storage.stopped.wait
    addresses, index = Addresses(files, relist), Index(target)

    def one(path: PurePosixPath, file: OutputFile) -> Planned:
        job = Job(path, file, None, Patience(options, sleep))
        try:
            remote = _ask(storage, addresses, job)
        except StorageError as error:
            raise said(job.name, target / path, error) from None
        if remote.validator and index.etag(path) == remote.validator:
            return Planned(path, remote.size, remote.size or 0)
        return Planned(path, remote.size, part_size(target / path, remote.validator))

    try:
        with ThreadPoolExecutor(options.connections) as pool:
            planned = [pool.submit(one, path, file) for path, file in wanted.items()]
            try:
                return [future.result() for future in planned], refused
            finally:
                storage.stop()
                pool.shutdown(cancel_futures=True)
    finally:
        storage.close()


def _ask(storage: Storage, addresses: Addresses, job: Job) -> Remote:
    span: Span | None = Span(0, 1)
    while True:
        url = addresses[job.name]
        try:
            with storage.ask(url, span) as answer:
                if not answer.is_whole:
                    answer.read()
                return answer.remote
        except BeyondEndError:
            if span is None:
                raise
            span = None  # An empty file has no first byte.
        except TransientError as error:
            job.patience.wait(error)
        except ExpiredError as error:
            addresses.renew(job, url, error)
