"""One transfer: workers that take pieces of files from a queue.

A file is begun by one request, whose answer says what it is. If it is large, the rest is queued as ranges,
and whichever worker brings the last one checks the file and puts it in place. A file whose content changes on
the way, or that arrives damaged, is begun again.
"""

import errno
import hashlib
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.download.hashes import Content, digest
from orchestrator.download.names import link_below
from orchestrator.download.partial import FIRST, Partial, Range, has_part, part_size, remove_parts
from orchestrator.download.storage import (
    CHUNK,
    LOOK,
    Answer,
    Attempts,
    BeyondEndError,
    GoneError,
    StoppedError,
    Storage,
    StorageError,
    TransientError,
)
from orchestrator.download.transfer import Counts, Fetched, Planned, TransferListener
from orchestrator.download.workspace import PARTS, Workspace
from orchestrator.errors import LocalError, ServiceError
from orchestrator.files import rename
from orchestrator.models import OutputFile

NO_MANIFEST: Mapping[str, Content] = {}
_NONE = Range(0, 0)
_IGNORED = 2  # How often in a row a range may be ignored before the whole file is read for it.
_CHANGES = 3  # How often the content may change on the way.
_STOP_S = 2.0  # How long stopped workers may take: they may still wait for connections.
_WAKE_S = 0.5  # On Windows, Ctrl-C does not end a wait.
_WORKERS = 2  # At first; twice as many after each look, up to all connections.
_LOOK_S = 0.05
_FAST = 100e6  # Bytes a second of each worker. More workers would bring no more, but wait for each other.
_REQUEST = 1e6  # A request costs the processor as much as so many bytes.


class UnavailableError(ServiceError):
    """The storage does not have the file, or only a damaged one: asking again does not help."""


class DamagedError(UnavailableError):
    """The storage has the file, but what arrives is not what the session says that it left."""


class _ChangedError(Exception):
    """What the storage has now does not fit what is here; the message says so."""


class _DamagedError(_ChangedError):
    """A file arrived whole, and is not what it should be; the message is the end of "it …"."""


@dataclass(eq=False, slots=True)
class _File:
    """One file of a transfer: its path below the target, its name in the listing, what the manifest says."""

    path: PurePosixPath
    name: str
    manifest: Content
    partial: Partial | None = None  # Its bytes so far; None before it is begun.
    damaged: int = 0  # How often it arrived damaged.
    changed: int = 0  # How often its content changed on the way.
    unproven: bytes | None = None  # The SHA-256 of a content for which nothing vouches.


class Downloader:
    """What the workers of one transfer share, and the queue of pieces that they take from.

    Without a workspace nothing is written: the listener only hears of sizes.
    """

    def __init__(
        self, target: Path, storage: Storage, listener: TransferListener, workspace: Workspace | None = None
    ) -> None:
        self.target, self.storage, self.listener, self.workspace = target, storage, listener, workspace
        self.folder = target / PARTS if workspace is None else workspace.folder
        self.pieces = queue.SimpleQueue[_Piece | None]()
        self._done = queue.SimpleQueue[Fetched | BaseException]()
        self.sizes: dict[PurePosixPath, Planned] = {}
        self._received = self._missing = self._resumed = self._retries = 0
        self._lock = threading.Lock()

    def run(
        self, wanted: Mapping[PurePosixPath, OutputFile], manifest: Mapping[str, Content] = NO_MANIFEST
    ) -> Sequence[Fetched]:
        """Fetch all files and return them in their order; the first failure ends it all.

        All files are begun first, so that a full disk or a missing file is noticed early.

        Raises:
            KgttsError: what a worker failed with.
        """
        for path, file in wanted.items():
            self.pieces.put(_Piece(self, _File(path, file.name, manifest.get(str(path), Content()))))
        bytes(CHUNK)  # Having freed such a block, glibc keeps the memory of chunks for the next ones.
        workers: list[threading.Thread] = []
        self._start(workers, _WORKERS)
        looked_at, done = time.monotonic(), 0.0
        placed: dict[PurePosixPath, Fetched] = {}
        try:
            while len(placed) < len(wanted):
                is_growing = len(workers) < self.storage.options.connections
                if is_growing and (past_s := time.monotonic() - looked_at) >= _LOOK_S:
                    before, done = done, self._received + _REQUEST * self.storage.requests
                    if (done - before) / past_s < _FAST * len(workers):
                        self._start(workers, len(workers))
                    looked_at = time.monotonic()
                with suppress(queue.Empty):
                    outcome = self._done.get(timeout=_LOOK_S if is_growing else _WAKE_S)
                    if isinstance(outcome, BaseException):
                        raise outcome
                    placed[outcome.path] = outcome
        finally:
            # After a failure or Ctrl-C nobody wants to wait for the gigabyte that is on its way.
            self.storage.stop()
            for _ in workers:
                self.pieces.put(None)
            until = time.monotonic() + _STOP_S
            for worker in workers:
                worker.join(max(0.0, until - time.monotonic()))
        return [placed[path] for path in wanted]

    def counts(self) -> Counts:
        """Return what the transfer cost."""
        storage, again = self.storage, max(0, self._received - self._missing)
        return Counts(
            self._received, again, self._resumed, storage.requests, self._retries, storage.connections
        )

    def note_size(self, file: Planned) -> None:
        """Note how large a file is."""
        self.sizes[file.path] = file
        self.listener.sized(file)

    def note_received(self, file: _File, count: int) -> None:
        """Note that bytes of a file arrived."""
        with self._lock:
            self._received += count
        self.listener.received(file.path, count)

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
        self._done.put(fetched)

    def _start(self, workers: list[threading.Thread], count: int) -> None:
        """Start `count` more workers, as far as connections are left."""
        for _ in range(min(count, self.storage.options.connections - len(workers))):
            workers.append(threading.Thread(target=self._work, daemon=True))
            workers[-1].start()

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
        if isinstance(error, _ChangedError):
            remove_parts(self.folder, file.path)
            is_damaged = isinstance(error, _DamagedError)
            file.damaged, file.changed = file.damaged + is_damaged, file.changed + (not is_damaged)
            if file.damaged > 1:
                text = f"{file.name} arrived damaged twice (it {error}); it was not kept."
                error = DamagedError(text, hint="run the same pull again later")
            elif file.changed > _CHANGES:
                error = StorageError("it changes faster than it can be fetched")
            else:
                self.note_retry(file, f"it arrived damaged: it {error}" if is_damaged else str(error))
                self.pieces.put(_Piece(self, file))
                return
        self._done.put(_explained(file.name, self.target / file.path, error))


class _Piece:
    """One range of a file; without `partial` the file is to be begun."""

    def __init__(
        self,
        owner: Downloader,
        file: _File,
        partial: Partial | None = None,
        part: Range = _NONE,
    ) -> None:
        self.file, self.partial, self._part = file, partial, part
        self.attempts = Attempts(owner.storage, file.name, lambda why: owner.note_retry(file, why))
        self._owner, self._storage, self._ignored = owner, owner.storage, 0

    def fetch(self, source: OutputFile) -> None:
        """Make one attempt; `source` is the file with its present URL.

        Raises:
            TransientError, ExpiredError: another one may help.
            _ChangedError: the file has to be begun again.
            StorageError, OSError: it cannot be fetched, or not be written.
        """
        if self.partial is not None:
            self._go_on(self.partial, source)
            return
        place = self._owner.target / self.file.path
        # If something is here, one byte is requested: the answer says whether it is still the same content.
        is_look = (
            self._owner.workspace is None or place.is_file() or has_part(self._owner.folder, self.file.path)
        )
        for span in (LOOK if is_look else (0, FIRST), None):  # An empty file has no first byte.
            with suppress(BeyondEndError), self._storage.ask(source, span) as answer:
                if self._is_here(answer.content) or self._begin(answer, source, is_look=is_look):
                    return
        raise TransientError("the storage answered without the file")

    def _is_here(self, content: Content) -> bool:
        """Whether the file is in place already; False also if that cannot be found out."""
        owner, path = self._owner, self.file.path
        place, content = owner.target / path, content.by(self.file.manifest)
        try:
            if not content.can_be_told or not place.is_file() or content.fault(place) is not None:
                return False
            size = place.stat().st_size
        except OSError:
            return False
        if owner.workspace is not None:
            remove_parts(owner.folder, path)
        owner.note_size(Planned(path, size, size))
        owner.finish(self.file, size)
        return True

    def _begin(self, answer: Answer, source: OutputFile, *, is_look: bool) -> bool:
        """Use the first answer; False if it says too little, and the whole file must be requested."""
        owner, path, content = self._owner, self.file.path, answer.content
        here = part_size(owner.folder, path, content)
        if content.size is not None:
            owner.note_size(Planned(path, content.size, here))
        if owner.workspace is None:
            owner.finish(self.file, here)
            return True
        if not (answer.is_whole or content.can_be_resumed):
            return False
        owner.workspace.reserve(path, (content.size or 0) - here)
        is_hashed = content.by(self.file.manifest).is_told_by_crc32c
        partial = Partial(owner.folder, path, content, in_one=answer.is_whole, is_hashed=is_hashed)
        self._part, *others = partial.missing
        if not content.can_be_resumed:
            try:
                self._receive(partial, answer, position=0)
            finally:
                partial.place.unlink(missing_ok=True)
            return True
        self.partial = self.file.partial = partial
        for part in others:
            owner.pieces.put(_Piece(owner, self.file, partial, part))
        if is_look and not answer.is_whole and self._part.at < self._part.end:
            self._go_on(partial, source)
        else:
            self._receive(partial, answer, position=0)
        return True

    def _go_on(self, partial: Partial, source: OutputFile) -> None:
        """Fetch the bytes that are missing."""
        at, etag = self._part.at, partial.content.etag
        try:
            with self._storage.ask(source, (at, self._part.end), same=etag) as answer:
                if answer.content.etag != etag:
                    raise _ChangedError("the storage has another content now")
                self._ignored = self._ignored + 1 if answer.is_whole else 0
                if 0 < self._ignored <= _IGNORED:
                    raise TransientError("the storage ignored which range was asked for")
                self._receive(partial, answer, position=0 if answer.is_whole else at)
        except BeyondEndError:
            raise _ChangedError("the storage has another content now") from None

    def _receive(self, partial: Partial, answer: Answer, *, position: int) -> None:
        """Write the bytes that are missing of those from `position` on, as they arrive.

        Whoever completes the file checks it and puts it in place.
        """
        part, owner = self._part, self._owner
        with partial.writer(part) as write:
            for data in answer.body if part.at < part.end else ():
                # A file that was begun again does not want these bytes.
                if self._storage.stopped.is_set() or self.partial is not self.file.partial:
                    raise StoppedError
                is_new = partial.content.can_be_resumed and position >= part.at
                self.attempts.progress(len(data), is_new=is_new)
                owner.note_received(self.file, len(data))
                missing = data[part.at - position : part.end - position]
                position += len(data)
                if missing:
                    write(missing)
                if part.at >= part.end:
                    break
                del data, missing  # Otherwise the next bytes need other memory, which has to be cleared.
        self._storage.check_stopped()  # What was shut down may look complete.
        if part.at < part.end and partial.content.size is not None:
            raise TransientError("the connection ended early")
        if partial.end_range():
            self._place(partial)

    def _place(self, partial: Partial) -> None:
        """Check a file that is whole, and move it to its place.

        Raises:
            TransientError: nothing says whether it is whole.
            _DamagedError: it is not what it should be.
        """
        file, owner = self.file, self._owner
        content = partial.content.by(file.manifest)
        if partial.content.size is None and not content.can_be_told:
            # It may have been cut, and nothing tells: it has to come twice in the same way.
            before, file.unproven = file.unproven, digest(partial.place, hashlib.sha256())
            if file.unproven != before:
                raise TransientError("nothing says whether it is whole: it is fetched again to compare")
        if (fault := content.fault(partial.place, partial.crc32c)) is not None:
            raise _DamagedError(fault)
        self._storage.check_stopped()
        if link := link_below(owner.target, file.path.parent):
            raise LocalError(f"{link} is a link; kgtts does not write through links.", hint=f"remove {link}")
        place = owner.target / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        rename(partial.place, place)
        size = place.stat().st_size
        owner.finish(file, size, missing=size - partial.resumed)


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
