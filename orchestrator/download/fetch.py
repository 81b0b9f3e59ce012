"""Fetching the outputs of a session, and measuring them beforehand."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from orchestrator.download.index import Index
from orchestrator.download.names import Refused, sort_out
from orchestrator.download.partial import part_size
from orchestrator.download.storage import (
    BeyondEndError,
    ExpiredError,
    Remote,
    SignedUrls,
    Span,
    Storage,
    StorageError,
    TransientError,
)
from orchestrator.download.transfer import Planned, Transfer, TransferListener, TransferOptions
from orchestrator.download.worker import Downloader, Job, RetryPolicy, explained
from orchestrator.download.workspace import PARTS, Workspace
from orchestrator.errors import LocalError
from orchestrator.models import OutputFile

_DEFAULT = TransferOptions()


def fetch(  # noqa: PLR0913  # The last three have defaults.
    files: Sequence[OutputFile],
    target: Path,
    listener: TransferListener,
    *,
    relist: Callable[[], Sequence[OutputFile]] | None = None,
    sha256: Mapping[str, str] | None = None,
    options: TransferOptions = _DEFAULT,
) -> Transfer:
    """Fetch `files` into `target`, complete and verified; unchanged files are not fetched again.

    If an earlier transfer was interrupted in any way, this one fetches only what is missing.

    Args:
        files: names and signed URLs as the server gives them.
        target: the folder; made if it is missing.
        listener: hears of every file and piece.
        relist: requests the listing again, for when its URLs have expired.
        sha256: the hashes in the session's own manifest, by name.
        options: connections, waits and retries.

    Raises:
        UnavailableError: the storage does not have a file any more, or only a damaged one.
        ServiceError: a file could not be fetched.
        LocalError: the disk is full, or a file could not be written.
    """
    wanted, refused = sort_out(files, target)
    hashes = sha256 or {}
    jobs = [Job(path, file.name, hashes.get(path.as_posix())) for path, file in wanted.items()]
    storage = Storage(options.connections, options.connect_s, options.stall_s)
    try:
        target.mkdir(parents=True, exist_ok=True)
        workspace, index = Workspace(target, options.free_disk), Index(target)
        transfer = Downloader(target, storage, SignedUrls(files, relist), index, workspace, listener, options)
        listener.planned([Planned(path) for path in wanted])
        try:
            fetched = transfer.run(jobs)
        finally:
            index.save(workspace.folder)
            workspace.close()
            counts = transfer.counter.counts(storage.connections)
            storage.close()
    except OSError as error:
        raise LocalError(f"{target} could not be written: {error.strerror or error}.") from error
    return Transfer(fetched, refused, counts)


def measure(
    files: Sequence[OutputFile],
    target: Path,
    *,
    relist: Callable[[], Sequence[OutputFile]] | None = None,
    options: TransferOptions = _DEFAULT,
) -> tuple[Sequence[Planned], Sequence[Refused]]:
    """Return what `fetch` would fetch into `target`, with the sizes, which a listing does not have.

    One byte of each file is requested, since a signed URL is good for GET alone.

    Returns:
        The files, with their sizes and the bytes that are here already; and the refused names.

    Raises:
        ServiceError: the storage does not answer for a file.
    """
    wanted, refused = sort_out(files, target)
    storage = Storage(options.connections, options.connect_s, options.stall_s)
    urls, index = SignedUrls(files, relist), Index(target)

    def one(path: PurePosixPath, file: OutputFile) -> Planned:
        retries = RetryPolicy(options, options.sleep or storage.stopped.wait)
        try:
            remote = _ask(storage, urls, file.name, retries)
        except StorageError as error:
            raise explained(file.name, target / path, error) from None
        if remote.validator and index.etag(path) == remote.validator:
            return Planned(path, remote.size, remote.size or 0)
        return Planned(path, remote.size, part_size(target / PARTS, path, remote))

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


def _ask(storage: Storage, urls: SignedUrls, name: str, retries: RetryPolicy) -> Remote:
    span: Span | None = Span(0, 1)
    while True:
        url = urls[name]
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
            retries.wait(error)
        except ExpiredError as error:
            urls.renew(name, url, error, progress=0)
