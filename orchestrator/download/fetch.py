"""Fetch the outputs of a session, and measure them beforehand.

A file is begun by one request, whose answer says what it is. If it is large, the rest is queued as ranges,
and whichever worker brings the last one checks the file and puts it in place. A file whose content changes on
the way, or that arrives damaged, is begun again.
"""

import errno
import hashlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path, PurePosixPath

from orchestrator.download.hashes import Content, StoppedError, digest
from orchestrator.download.names import Refused, make_folder, sort_out
from orchestrator.download.partial import Partial, Span, has_part, part_size, remove_parts
from orchestrator.download.storage import (
    Answer,
    Attempts,
    BeyondEndError,
    GoneError,
    Storage,
    StorageError,
    TransientError,
)
from orchestrator.download.transfer import (
    Counts,
    Fetched,
    Planned,
    Transfer,
    TransferListener,
    TransferOptions,
)
from orchestrator.download.workspace import PARTS, Workspace, replace
from orchestrator.errors import LocalError, ServiceError
from orchestrator.models import OutputFile

_DEFAULT = TransferOptions()
_NO_MANIFEST: Mapping[str, Content] = {}
_NONE = Span(0, 0)
_BIG = 8 << 20  # A larger file comes in several ranges at once.
_IGNORED = 2  # So often in a row a range may be ignored before the whole file is read for it.
_CHANGES = 3  # So often the content may change on the way.
_STOP_S = 2.0  # How long stopped workers may take: they may still wait for connections.
_WAKE_S = 0.5  # On Windows, Ctrl-C does not end a wait.


class UnavailableError(ServiceError):
    """The storage does not have the file, or only a damaged one: asking again does not help."""


class _DamagedError(Exception):
    """A file arrived whole, and is not what it should be; the message is the end of "it …"."""


class _ChangedError(Exception):
    """What the storage has now does not fit what is here; the message says so."""


def fetch(  # noqa: PLR0913  # The last three have defaults.
    files: Sequence[OutputFile],
    target: Path,
    listener: TransferListener,
    *,
    relist: Callable[[], Sequence[OutputFile]] | None = None,
    manifest: Mapping[str, Content] = _NO_MANIFEST,
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
    wanted, refused = sort_out(files, target)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with (
            closing(Workspace(target, options.free_disk)) as workspace,
            closing(Storage(files, relist, options)) as storage,
        ):
            downloader = _Downloader(target, storage, workspace, listener)
            listener.planned([Planned(path) for path in wanted])
            fetched = downloader.run(
                [_File(path, file.name, manifest.get(str(path), Content())) for path, file in wanted.items()]
            )
            return Transfer(fetched, refused, downloader.counts())
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
    wanted, refused = sort_out(files, target)
    storage = Storage(files, relist, options)

    def look(file: OutputFile) -> Content:
        with suppress(BeyondEndError), storage.ask(file, Span(0, 1)) as answer:
            if not answer.is_whole:
                answer.read()  # Only then can the connection be used again.
            return answer.content
        return Content(0)  # An empty file has no first byte.

    def one(path: PurePosixPath, name: str) -> Planned:
        try:
            content = Attempts(storage, name, lambda _: None).until_done(look)
            if _is_here(target / path, content, storage.stopped):
                return Planned(path, content.size, content.size or 0)
            return Planned(path, content.size, part_size(target / PARTS, path, content))
        except StorageError as error:
            raise _explained(name, target / path, error) from None

    with ThreadPoolExecutor(options.connections) as pool:
        try:
            return list(pool.map(one, wanted, [file.name for file in wanted.values()])), refused
        finally:
            storage.stop()
            storage.close()


def _is_here(place: Path, content: Content, stopped: threading.Event) -> bool:
    """Whether a file in place has a content; if that cannot be told, it has not."""
    try:
        return content.can_be_told and place.is_file() and content.fault(place, stopped) is None
    except OSError:
        return False


class _File:
    """One file of a transfer: its path below the target, its name in the listing, what the manifest says.

    Attributes:
        partial: its bytes so far; None before it is begun.
        damaged: how often it arrived damaged.
        changed: how often its content changed on the way.
        unproven: the SHA-256 of a content for which nothing vouches.
    """

    def __init__(self, path: PurePosixPath, name: str, manifest: Content) -> None:
        self.path, self.name, self.manifest = path, name, manifest
        self.partial: Partial | None = None
        self.damaged = self.changed = 0
        self.unproven: bytes | None = None


class _Downloader:
    """One transfer: what its workers share, and the queue of pieces that they take from."""

    def __init__(
        self, target: Path, storage: Storage, workspace: Workspace, listener: TransferListener
    ) -> None:
        self.target, self.storage, self.workspace, self.listener = target, storage, workspace, listener
        self.pieces = queue.SimpleQueue[_Piece | None]()
        self._done = queue.SimpleQueue[tuple[_File, Fetched | BaseException]]()
        self._missing = self._resumed = self._retries = 0
        self._lock = threading.Lock()

    def run(self, files: Sequence[_File]) -> Sequence[Fetched]:
        """Fetch all files and return them in their order; the first failure ends it all.

        All files are begun first, so that a full disk or a missing file is noticed early.

        Raises:
            KgttsError: what a worker failed with.
        """
        for file in files:
            self.pieces.put(_Piece(self, file))
        connections = self.storage.options.connections
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(connections)]
        placed: dict[_File, Fetched] = {}
        for worker in workers:
            worker.start()
        try:
            while len(placed) < len(files):
                with suppress(queue.Empty):
                    file, outcome = self._done.get(timeout=_WAKE_S)
                    if isinstance(outcome, BaseException):
                        raise outcome
                    placed[file] = outcome
        finally:
            # After a failure or Ctrl-C nobody wants to wait for the gigabyte that is on its way.
            self.storage.stop()
            for _ in workers:
                self.pieces.put(None)
            until = time.monotonic() + _STOP_S
            for worker in workers:
                worker.join(max(0.0, until - time.monotonic()))
        return [placed[file] for file in files]

    def counts(self) -> Counts:
        """Return what the transfer cost."""
        storage, received = self.storage, self.storage.received
        again = max(0, received - self._missing)
        return Counts(received, again, self._resumed, storage.requests, self._retries, storage.connections)

    def note_retry(self, file: _File, why: str) -> None:
        """Note that something of a file is requested again."""
        with self._lock:
            self._retries += 1
        self.listener.retried(file.path, why)

    def finish(self, file: _File, size: int, *, missing: int | None = None) -> None:
        """Note that a file is in place; `missing` bytes of it were not here, None if it was here itself."""
        fetched = Fetched(file.path, size, unchanged=missing is None)
        self.listener.placed(fetched)
        with self._lock:
            self._missing += missing or 0
            self._resumed += 0 if missing is None else size - missing
        self.storage.progress_at = time.monotonic()
        self._done.put((file, fetched))

    def _work(self) -> None:
        while (piece := self.pieces.get()) is not None:
            try:
                piece.attempts.until_done(piece.fetch)
            except BaseException as error:  # noqa: BLE001  # `run` raises it in the caller's thread.
                with self._lock:
                    if piece.partial is not piece.file.partial:
                        continue  # Bytes of an old content: its file was begun again meanwhile.
                    piece.file.partial = None
                self._begin_again(piece.file, error)

    def _begin_again(self, file: _File, error: BaseException) -> None:
        """Throw away what is here of a file and begin it again, if its content is to blame; or fail."""
        if isinstance(error, _DamagedError | _ChangedError):
            remove_parts(self.workspace.folder, file.path)
            file.damaged += isinstance(error, _DamagedError)
            file.changed += isinstance(error, _ChangedError)
            if file.damaged > 1:
                text = f"{file.name} arrived damaged twice (it {error}); it was not kept."
                error = UnavailableError(text, hint="run the same pull again later")
            elif file.changed > _CHANGES:
                error = StorageError("it changes faster than it can be fetched")
            else:
                is_damaged = isinstance(error, _DamagedError)
                self.note_retry(file, f"it arrived damaged: it {error}" if is_damaged else str(error))
                self.pieces.put(_Piece(self, file))
                return
        self._done.put((file, _explained(file.name, self.target / file.path, error)))


class _Piece:
    """The bytes of `span` of a file; without `partial` the first ones, however many come."""

    def __init__(
        self, owner: _Downloader, file: _File, partial: Partial | None = None, span: Span = _NONE
    ) -> None:
        self.file, self.partial = file, partial
        self.attempts = Attempts(owner.storage, file.name, lambda why: owner.note_retry(file, why))
        self._owner, self._storage = owner, owner.storage
        self._at, self._end, self._ignored = span.start, span.end, 0

    def fetch(self, source: OutputFile) -> None:
        """Make one attempt; `source` is the file with its present URL.

        Raises:
            TransientError, ExpiredError: another one may help.
            _DamagedError, _ChangedError: the file has to be begun again.
            StorageError, OSError: it cannot be fetched, or not be written.
        """
        if self.partial is not None:
            self._go_on(self.partial, source)
            return
        place, folder = self._owner.target / self.file.path, self._owner.workspace.folder
        # If something is here, one byte is requested: the answer says whether it is still the same content.
        is_look = place.is_file() or has_part(folder, self.file.path)
        for span in (Span(0, 1 if is_look else _BIG), None):  # An empty file has no first byte.
            with suppress(BeyondEndError), self._storage.ask(source, span) as answer:
                if self._begin(answer, is_look=is_look and not answer.is_whole):
                    return
        raise TransientError("the storage answered without the file")

    def _begin(self, answer: Answer, *, is_look: bool) -> bool:
        """Use the first answer; False if it says too little, and the whole file must be requested."""
        file, owner, content = self.file, self._owner, answer.content
        place, folder = owner.target / file.path, owner.workspace.folder
        if is_look:
            answer.read()  # Only then can the connection be used again.
        if _is_here(place, content.by(file.manifest), self._storage.stopped):
            remove_parts(folder, file.path)
            size = place.stat().st_size
            owner.listener.sized(Planned(file.path, size, size))
            owner.finish(file, size)
            return True
        if content.size is None or not content.etag:
            if answer.is_whole:
                self._stream(answer)
            return answer.is_whole
        partial = Partial(folder, file.path, content, lambda size: owner.workspace.reserve(file.path, size))
        owner.listener.sized(Planned(file.path, content.size, partial.resumed))
        self._at, self._end = 0, 0 if is_look else answer.end or 0
        self.partial = file.partial = partial
        for span in partial.begin(Span(self._at, self._end), self._storage.options.connections):
            owner.pieces.put(_Piece(owner, file, partial, span))
        self._receive(partial, answer, position=self._at)
        return True

    def _go_on(self, partial: Partial, source: OutputFile) -> None:
        """Fetch the bytes that are missing."""
        span = Span(self._at, self._end)
        try:
            with self._storage.ask(source, span, same=partial.content.etag) as answer:
                if answer.content.etag != partial.content.etag:
                    raise _ChangedError("the storage has another content now")
                self._ignored = self._ignored + 1 if answer.is_whole else 0
                if 0 < self._ignored <= _IGNORED:
                    raise TransientError("the storage ignored which range was asked for")
                self._receive(partial, answer, position=0 if answer.is_whole else self._at)
        except BeyondEndError:
            raise _ChangedError("the storage has another content now") from None

    def _receive(self, partial: Partial, answer: Answer, *, position: int) -> None:
        """Write the bytes that are missing of those from `position` on, as they arrive.

        Whoever completes the file checks it and puts it in place.
        """
        with partial.place.open("r+b") as file:
            while self._at < self._end:
                data = self._read(answer, is_new=position >= self._at)
                if not data:
                    raise TransientError("the connection ended early")
                missing = data[self._at - position : self._end - position]
                position += len(data)
                if missing:
                    partial.write(file, self._at, missing)
                    self._at += len(missing)
        if partial.end_piece():
            self._place(partial.place, partial.content)
            self._owner.finish(self.file, partial.size, missing=partial.size - partial.resumed)

    def _stream(self, answer: Answer) -> None:
        """Fetch a file in one go, as the storage gives no size or no ETag; a part of it is of no use."""
        file, owner, content = self.file, self._owner, answer.content
        place, size = owner.workspace.folder / f"{threading.get_ident()}.new", 0
        owner.workspace.reserve(file.path, answer.end or 0)
        if answer.end is not None:
            owner.listener.sized(Planned(file.path, answer.end))
        try:
            with place.open("wb") as new:
                while data := self._read(answer, is_new=False):
                    new.write(data)
                    size += len(data)
            if not content.by(file.manifest).can_be_told and answer.end is None:
                # It may have been cut, and nothing tells: it has to come twice in the same way.
                before, file.unproven = file.unproven, digest(place, hashlib.sha256(), self._storage.stopped)
                if file.unproven != before:
                    raise TransientError("nothing says whether it is whole: it is fetched again to compare")
            self._place(place, content)
        finally:
            place.unlink(missing_ok=True)
        owner.finish(file, size, missing=size)

    def _read(self, answer: Answer, *, is_new: bool) -> bytes:
        data = answer.read()
        # What was shut down may look complete. A file that was begun again does not want these bytes.
        if self._storage.stopped.is_set() or self.partial is not self.file.partial:
            raise StoppedError
        if data:
            self.attempts.progress(len(data), is_new=is_new)
            self._owner.listener.received(self.file.path, len(data))
        return data

    def _place(self, source: Path, content: Content) -> None:
        """Check a file that is whole, and move it to its place.

        Raises:
            _DamagedError: it is not what it should be.
        """
        if (fault := content.by(self.file.manifest).fault(source, self._storage.stopped)) is not None:
            raise _DamagedError(fault)
        self._owner.listener.verified(self.file.path)
        make_folder(self._owner.target, self.file.path.parent)
        replace(source, self._owner.target / self.file.path)


def _explained(name: str, place: Path, error: BaseException) -> BaseException:
    """Turn a failure into an error about the file; its URL, a secret, appears nowhere."""
    if isinstance(error, StorageError):
        kind = UnavailableError if isinstance(error, GoneError) else ServiceError
        return kind(
            f"{name} could not be fetched: {error}.",
            hint="run the same pull again: it fetches only what is missing",
        )
    if not isinstance(error, OSError):
        return error
    if error.errno == errno.ENOSPC:
        return LocalError(f"{place} could not be written: the disk is full.", hint="free some space")
    return LocalError(f"{place} could not be written: {error.strerror or error}.")
