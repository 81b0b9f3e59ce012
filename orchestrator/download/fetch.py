"""Fetch the outputs of a session, and measure them beforehand."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

from orchestrator.download.downloader import NO_MANIFEST, Downloader
from orchestrator.download.hashes import Content
from orchestrator.download.names import Refused, sort_out
from orchestrator.download.storage import Storage
from orchestrator.download.transfer import Planned, Transfer, TransferListener, TransferOptions
from orchestrator.download.workspace import Workspace
from orchestrator.errors import LocalError
from orchestrator.models import OutputFile

Fetch = Callable[..., Transfer]  # Called as `fetch`.
_DEFAULT = TransferOptions()


def fetch(  # noqa: PLR0913  # The last three have defaults.
    files: Sequence[OutputFile],
    target: Path,
    listener: TransferListener,
    *,
    relist: Callable[[], Sequence[OutputFile]] | None = None,
    manifest: Mapping[str, Content] = NO_MANIFEST,
    options: TransferOptions = _DEFAULT,
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

    Raises:
        UnavailableError: the storage does not have a file any more, or only a damaged one.
        ServiceError: a file could not be fetched.
        LocalError: the disk is full, or a file could not be written.
    """
    with closing(Storage(files, relist, options)) as storage:
        return transfer(files, target, listener, storage, manifest)


def transfer(
    files: Sequence[OutputFile],
    target: Path,
    listener: TransferListener,
    storage: Storage,
    manifest: Mapping[str, Content] = NO_MANIFEST,
) -> Transfer:
    """Fetch `files`, which `storage` has, as `fetch` does."""
    wanted, refused = sort_out(files, target)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with closing(Workspace(target, storage.options.free_disk)) as workspace:
            downloader = Downloader(target, storage, listener, workspace)
            listener.planned([Planned(path) for path in wanted])
            return Transfer(downloader.run(wanted, manifest), refused, downloader.counts())
    except OSError as error:
        raise LocalError(f"{target} could not be written: {error.strerror or error}.") from error


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
    with closing(Storage(files, relist, options)) as storage:
        return measured(files, target, storage)


def measured(
    files: Sequence[OutputFile], target: Path, storage: Storage
) -> tuple[Sequence[Planned], Sequence[Refused]]:
    """Measure `files`, which `storage` has, as `measure` does."""
    wanted, refused = sort_out(files, target)
    sizes = _Sizes()
    Downloader(target, storage, sizes).run(wanted)
    return [sizes.known.get(path, Planned(path)) for path in wanted], refused


class _Sizes(TransferListener):
    def __init__(self) -> None:
        self.known: dict[PurePosixPath, Planned] = {}

    def sized(self, file: Planned) -> None:
        self.known[file.path] = file
