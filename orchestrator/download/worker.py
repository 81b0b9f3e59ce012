"""The workers of a transfer: each fetches a piece of a file, and the last one of a file puts it in place."""

import contextlib
import errno
import itertools
import queue
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from orchestrator.download.hashes import CorruptError, Hasher
from orchestrator.download.index import Index
from orchestrator.download.names import make_folder
from orchestrator.download.partial import BLOCK, AbandonedError, Partial, has_part, remove_parts
from orchestrator.download.storage import (
    Answer,
    BeyondEndError,
    ExpiredError,
    GoneError,
    SignedUrls,
    Span,
    StoppedError,
    Storage,
    StorageError,
    TransientError,
)
from orchestrator.download.transfer import Counter, Fetched, Planned, TransferListener, TransferOptions
from orchestrator.download.workspace import Workspace, replace
from orchestrator.errors import LocalError, ServiceError

_BIG = 8 << 20  # A larger file comes in several ranges at once.
_LONGEST_RETRY_AFTER_S = 60.0
_RESTARTS = 3
_GROUP = 64  # Files that are open at the same time.
_HASH_EVERY = 4 << 20
_IGNORED = 2  # So often in a row a range may be ignored before the file is read from its first byte.
_STOP_S = 2.0  # How long a stopped worker may take: it may still wait for a connection.


class UnavailableError(ServiceError):
    """The storage does not have the file, or only a damaged one: asking again does not help."""


class RetryPolicy:
    """How often one piece is requested again, and after which waits; progress starts the count anew."""

    def __init__(self, options: TransferOptions, sleep: Callable[[float], object]) -> None:
        self._options, self._sleep = options, sleep
        self._failures = self._received = 0

    def progress(self, count: int) -> None:
        """Note that `count` new bytes arrived; a block of them is progress."""
        self._received += count
        if self._received >= BLOCK:
            self._failures = 0

    def wait(self, error: TransientError) -> None:
        """Wait for the next attempt.

        Raises:
            TransientError: `error`, if no attempt is left.
        """
        self._failures, self._received = self._failures + 1, 0
        if self._failures >= self._options.attempts:
            raise error
        delay = min(self._options.first_delay_s * 2 ** (self._failures - 1), self._options.longest_delay_s)
        # Jitter: connections that broke together do not come back together.
        delay *= random.uniform(0.5, 1.0)  # noqa: S311  # No secret.
        if error.retry_after_s is not None:
            delay = max(delay, min(error.retry_after_s, _LONGEST_RETRY_AFTER_S))
        self._sleep(delay)


@dataclass(slots=True, eq=False)
class Job:
    """One file of a transfer: its path below the target, its name in the listing, its hash in the manifest.

    Attributes:
        partial: its bytes so far; None before it was begun and after its end.
        received: bytes of it received so far.
        damaged: how often it arrived damaged.
        restarts: how often its content changed on the way.
        group: which files are begun together with it.
    """

    path: PurePosixPath
    name: str
    sha256: str | None
    partial: Partial | None = None
    received: int = 0
    damaged: int = 0
    restarts: int = 0
    group: int = 0


@dataclass(slots=True, eq=False)
class Downloader:
    """One transfer: what its workers share, and the queue of pieces that they take from.

    Files are begun in groups: early, so that a full disk is noticed early, but not all at the same time.
    """

    target: Path
    storage: Storage
    urls: SignedUrls
    index: Index
    workspace: Workspace
    listener: TransferListener
    options: TransferOptions
    counter: Counter = field(default_factory=Counter)
    _pieces: "queue.PriorityQueue[tuple[int, int, _Piece | None]]" = field(
        default_factory=queue.PriorityQueue
    )
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _placed: dict[Job, Fetched] = field(default_factory=dict)
    _failure: BaseException | None = None

    def run(self, jobs: Sequence[Job]) -> Sequence[Fetched]:
        """Fetch all files and return them in the order of `jobs`; the first failure ends it all.

        Raises:
            KgttsError: what a worker failed with.
        """
        for number, job in enumerate(jobs):
            job.group = number // _GROUP
            self.begin(job)
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(self.options.connections)]
        for worker in workers:
            worker.start()
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._failure or len(self._placed) == len(jobs))
        finally:
            # After a failure or Ctrl-C nobody wants to wait for the gigabyte that is on its way.
            self.storage.stop()
            for _ in workers:
                self._pieces.put((-1, next(self._numbers), None))
            for worker in workers:
                worker.join(_STOP_S)
            for job in jobs:
                if job.partial is not None:
                    job.partial.close()
        if self._failure is not None:
            raise self._failure
        return [self._placed[job] for job in jobs]

    def _work(self) -> None:
        while (piece := self._pieces.get()[2]) is not None:
            try:
                piece.fetch()
            except (AbandonedError, StoppedError):
                pass  # A file that started over may be in place while bytes of its old content still come.
            except BaseException as error:  # noqa: BLE001  # `run` raises it in the caller's thread.
                with self._changed:
                    place = self.target / piece.job.path
                    self._failure = self._failure or explained(piece.job.name, place, error)
                    self._changed.notify_all()

    def begin(self, job: Job) -> None:
        """Queue the beginning of a file: before the pieces of its group."""
        self._pieces.put((2 * job.group, next(self._numbers), _Piece(self, job, None, Span(0, _BIG))))

    def add(self, job: Job, partial: Partial, spans: Sequence[Span]) -> None:
        """Queue pieces of a file that was begun."""
        for span in spans:
            self._pieces.put((2 * job.group + 1, next(self._numbers), _Piece(self, job, partial, span)))

    def start_over(self, job: Job, partial: Partial) -> bool:
        """Throw away what is here of a file and begin it again; False if another worker did that."""
        with self._changed:
            if job.partial is not partial:
                return False
            job.partial = None
        partial.close(discard=True)
        self.begin(job)
        return True

    def finish(self, job: Job, file: Fetched) -> None:
        """Note that a file is in place."""
        self.listener.placed(file)
        with self._changed:
            job.partial = None
            self._placed[job] = file
            self._changed.notify_all()


class _Piece:
    """The bytes of `span` of a file; without `partial` the first ones, however many come."""

    def __init__(self, owner: Downloader, job: Job, partial: Partial | None, span: Span) -> None:
        self.job = job
        self._owner, self._partial, self._at, self._end = owner, partial, span.start, span.end
        self._retries = RetryPolicy(owner.options, owner.options.sleep or owner.storage.stopped.wait)
        self._ignored = 0

    def fetch(self) -> None:
        """Try until it is here; raises `AbandonedError` if the file starts over."""
        done = False
        while not done:
            url = self._owner.urls[self.job.name]
            self._owner.counter.add("requests")
            try:
                if self._partial is None:
                    self._begin(url)
                else:
                    self._go_on(self._partial, url)
                done = True
            except TransientError as error:
                if self._owner.storage.stopped.is_set():
                    raise StoppedError from error
                self._note_retry(str(error))
                self._retries.wait(error)
            except ExpiredError as error:
                self._owner.urls.renew(self.job.name, url, error, self.job.received)
                self._note_retry("its address had expired")

    def _note_retry(self, why: str) -> None:
        self._owner.counter.add("retries")
        self._owner.listener.retried(self.job.path, why)

    def _begin(self, url: str) -> None:
        """See what the storage and the disk have of the file, and fetch its beginning."""
        known = self._owner.index.etag(self.job.path)
        # If something is here, one byte is requested: the answer says whether it is still the same content.
        is_here = known or has_part(self._owner.workspace.folder, self.job.path)
        first = Span(0, 1 if is_here else _BIG)
        with (
            contextlib.suppress(BeyondEndError),  # An empty file has no first byte.
            self._owner.storage.ask(url, first, unless=known) as answer,
        ):
            if self._begun(answer, known, first):
                return
        with self._owner.storage.ask(url, None, unless=known) as answer:
            if not self._begun(answer, known, None):
                raise TransientError("the storage answered without the file")

    def _begun(self, answer: Answer, known: str, span: Span | None) -> bool:
        """Use the first answer; False if it says too little, and the whole file must be requested."""
        job, owner, remote, folder = self.job, self._owner, answer.remote, self._owner.workspace.folder
        is_one_byte = span is not None and span.size == 1 and not answer.is_whole
        if is_one_byte and not answer.is_same:
            answer.read()  # Only then can the connection be used again.
        if known and (answer.is_same or remote.validator == known):
            remove_parts(folder, job.path)
            size = (owner.target / job.path).stat().st_size
            owner.listener.sized(Planned(job.path, size, size))
            owner.finish(job, Fetched(job.path, size, unchanged=True))
            return True
        if answer.is_same or remote.size is None or not remote.validator:
            if answer.is_whole:
                self._receive_unidentified(answer)
            return answer.is_whole
        partial = Partial(
            folder, job.path, remote, job.sha256, lambda n: owner.workspace.reserve(job.path, n)
        )
        owner.counter.add("resumed", partial.resumed)
        owner.listener.sized(Planned(job.path, remote.size, partial.resumed))
        self._at, self._end = 0, 0 if is_one_byte else answer.end or 0
        spans = partial.begin(Span(self._at, self._end), owner.options.connections)
        job.partial = self._partial = partial
        owner.add(job, partial, spans)
        self._receive(partial, answer)
        return True

    def _go_on(self, partial: Partial, url: str) -> None:
        """Fetch the bytes that are missing."""
        try:
            span = Span(self._at, self._end)
            with self._owner.storage.ask(url, span, same=partial.remote.etag) as answer:
                if answer.remote.validator != partial.remote.validator:
                    self._start_over(partial)
                self._ignored = self._ignored + 1 if answer.is_whole else 0
                if not answer.is_whole:
                    self._receive(partial, answer)
                elif self._ignored <= _IGNORED:
                    raise TransientError("the storage ignored which range was asked for")
                else:
                    with partial.streaming:  # One thread reads the whole file; the others need not.
                        self._at, self._end = 0, 0 if partial.has(span) else partial.size
                        self._receive(partial, answer)
        except BeyondEndError:
            self._start_over(partial)

    def _start_over(self, partial: Partial) -> None:
        """Begin the file again: the storage has another content now."""
        if self._owner.start_over(self.job, partial):
            self.job.restarts += 1
            if self.job.restarts > _RESTARTS:
                raise StorageError("it changes faster than it can be fetched")
            self._note_retry("the storage has another content now")
        raise AbandonedError

    def _receive(self, partial: Partial, answer: Answer) -> None:
        """Write the bytes as they arrive; whoever completes the file puts it in place."""
        hashed, stopped = self._at, self._owner.storage.stopped
        with partial.writing(self._at) as write:
            while (left := self._end - self._at) > 0:
                data = answer.read()[:left]
                if stopped.is_set():
                    raise StoppedError
                if not data:
                    raise TransientError("the connection ended early")
                self._retries.progress(write(data))
                self._at += len(data)
                self._note_received(len(data))
                if self._at - hashed >= _HASH_EVERY:
                    hashed = self._at
                    partial.hash_front(stopped)
        if partial.end_piece():
            self._finish(partial)

    def _note_received(self, count: int) -> None:
        self.job.received += count
        self._owner.counter.add("received", count)
        self._owner.listener.received(self.job.path, count)

    def _finish(self, partial: Partial) -> None:
        """Verify a file of which all bytes are here, and put it in place."""
        try:
            partial.hash_front(self._owner.storage.stopped, everything=True)
            partial.check()
        except CorruptError as error:
            partial.close(discard=True)
            self._note_damage(error)
            self._owner.start_over(self.job, partial)
            return
        partial.close()
        self._place(partial.place, partial.remote.validator)
        partial.close(discard=True)
        self._owner.counter.add("again", max(0, self.job.received - (partial.size - partial.resumed)))
        self._owner.finish(self.job, Fetched(self.job.path, partial.size, unchanged=False))

    def _place(self, source: Path, validator: str) -> None:
        """Move a verified file to its place."""
        self._owner.listener.verified(self.job.path)
        # Noted first: a kill in between costs nothing, as the note fits what is in place afterwards.
        self._owner.index.remember(self.job.path, validator, source.stat(), self._owner.workspace.folder)
        make_folder(self._owner.target, self.job.path.parent)
        replace(source, self._owner.target / self.job.path)

    def _note_damage(self, error: CorruptError) -> None:
        self.job.damaged += 1
        if self.job.damaged > 1:
            raise UnavailableError(
                f"{self.job.name} arrived damaged twice ({error}); it was not kept.",
                hint="run the same pull again later",
            )
        self._note_retry(f"it arrived damaged: {error}")

    def _receive_unidentified(self, answer: Answer) -> None:
        """Fetch a file in one go, as the storage gives no size or no validator; a part of it is of no use."""
        hasher, size = Hasher(answer.remote.expected, self.job.sha256), 0
        self._owner.workspace.reserve(self.job.path, answer.remote.size or 0)
        place = self._owner.workspace.folder / f"{threading.get_ident()}.new"
        try:
            with place.open("wb") as file:
                while data := answer.read():
                    file.write(data)
                    hasher.update(data)
                    size += len(data)
                    self._note_received(len(data))
            if self._owner.storage.stopped.is_set():  # A body without a length looks complete if it is cut.
                raise StoppedError
            if answer.end is not None and size != answer.end:
                raise TransientError("the connection ended early")
            hasher.check()
            self._place(place, answer.remote.validator)
        except CorruptError as error:
            self._note_damage(error)
            raise TransientError(str(error)) from error
        finally:
            place.unlink(missing_ok=True)
        self._owner.finish(self.job, Fetched(self.job.path, size, unchanged=False))


def explained(name: str, place: Path, error: BaseException) -> BaseException:
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
