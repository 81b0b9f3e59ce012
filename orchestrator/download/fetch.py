"""Fetch the outputs of a session, and measure them beforehand."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from orchestrator.download.downloader import NO_MANIFEST, Downloader
from orchestrator.download.hashes import Content
from orchestrator.download.names import Refused, sort_out
from orchestrator.download.storage import Storage
from orchestrator.download.transfer import Planned, Transfer, TransferListener, TransferOptions
from orchestrator.download.workspace import Workspace
from orchestrator.errors import LocalError
from orchestrator.models import OutputFile

Fetch = Callable[..., Transfer]  # Called as `fetch`.
Relist = Callable[[], Sequence[OutputFile]]
OpenStorage = Callable[[Sequence[OutputFile], Relist | None, TransferOptions], Storage]
_DEFAULT = TransferOptions()


def fetch(  # noqa: PLR0913  # The last four have defaults.
    files: Sequence[OutputFile],
    target: Path,
    listener: TransferListener,
    *,
    relist: Relist | None = None,
    manifest: Mapping[str, Content] = NO_MANIFEST,
    options: TransferOptions = _DEFAULT,
    storage: OpenStorage = Storage,
) -> Transfer:
    """Fetch `files` into `target`, complete and verified; a file that is here already is not fetched again.

    If an earlier transfer was interrupted in any way, this one fetches only what is missing.

    Args:
        files: names and signed URLs as the server gives them.
        target: the folder; made if it is missing.
        listener: hears of every file and piece.
        relist: requests the listing again, for when its URLs have expired.
        manifest: what the session itself says of its files, by path.
        options: connections, waits and retries.
        storage: opens what has the files; by default what the signed URLs lead to.

    Raises:
        UnavailableError: the storage does not have a file any more, or only a damaged one.
        ServiceError: a file could not be fetched.
        LocalError: the disk is full, or a file could not be written.
    """
    wanted, refused = sort_out(files, target)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with (
            closing(storage(files, relist, options)) as source,
            closing(Workspace(target, options.free_disk)) as workspace,
        ):
            downloader = Downloader(target, source, listener, workspace)
            listener.planned([Planned(path) for path in wanted])
            return Transfer(downloader.run(wanted, manifest), refused, downloader.counts())
    except OSError as error:
        raise LocalError(f"{target} could not be written: {error.strerror or error}.") from error


def measure(
    files: Sequence[OutputFile],
    target: Path,
    *,
    relist: Relist | None = None,
    options: TransferOptions = _DEFAULT,
    storage: OpenStorage = Storage,
) -> tuple[Sequence[Planned], Sequence[Refused]]:
    """Return what `fetch` would fetch into `target`, with the sizes, which a listing does not have.

    One byte of each file is requested, since a signed URL is good for GET alone.

    Returns:
        The files, with their sizes and the bytes that are here already; and the refused names.

    Raises:
        ServiceError: the storage does not answer for a file.
    """
    wanted, refused = sort_out(files, target)
    with closing(storage(files, relist, options)) as source:
        downloader = Downloader(target, source, TransferListener())
        downloader.run(wanted)
    return [downloader.sizes.get(path, Planned(path)) for path in wanted], refused
