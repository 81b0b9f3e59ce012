"""The workers of a transfer: each fetches a piece of a file, and the last one of a file puts it in place."""

import contextlib
import errno
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.download.hashes import CorruptError, Hasher
from orchestrator.download.index import Index
from orchestrator.download.names import make_folder
from orchestrator.download.partial import BLOCK, AbandonedError, Claim, Partial, has_part, remove_parts
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
_MOST_OPEN = 64  # Files begun and not yet in place: each holds three open files.
_RESTARTS = 3
_HASH_EVERY = 4 << 20
_IGNORED = 2  # So often in a row a range may be ignored before the file is read from its first byte.
_STOP_S = 2.0  # How long a stopped worker may take: it may still wait for a connection.


class UnavailableError(ServiceError):
    """The storage does not have the file, or only a damaged one: asking again does not help."""


class RetryPolicy:
    """How often one piece is requested again; progress starts the count anew.

    Args:
        options: how often, and how long the waits are.
        sleep: waits.
    """

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
    """One file of a transfer.

    Attributes:
        path: where it will lie, relative to the target.
        name: its name in the listing.
        sha256: its hash in the session's manifest, or None.
        partial: its bytes so far; None before it was begun.
        received: bytes of it received so far.
        damaged: how often it arrived damaged.
        restarts: how often its content changed on the way.
    """

    path: PurePosixPath
    name: str
    sha256: str | None
    partial: Partial | None = None
    received: int = 0
    damaged: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Resources:
    """What all workers of a transfer share."""

    target: Path
    storage: Storage
    urls: SignedUrls
    index: Index
    workspace: Workspace
    listener: TransferListener
    counter: Counter
    options: TransferOptions
    sleep: Callable[[float], object]


class Downloader:
    """The queue of a transfer, and its worker threads.

    Args:
        shared: what the workers share.
        jobs: the files; they are begun in this order.
    """

    def __init__(self, shared: Resources, jobs: Sequence[Job]) -> None:
        self._shared, self._jobs = shared, jobs
        self._changed = threading.Condition()
        self._waiting, self._active = deque(jobs), list[Job]()
        self._placed: dict[PurePosixPath, Fetched] = {}
        self._failure: BaseException | None = None
        self._ended = False

    def run(self) -> Sequence[Fetched]:
        """Fetch all files and return them, in the order of the jobs; the first failure ends it all.

        Raises:
            KgttsError: what a worker failed with.
        """
        count = self._shared.options.connections
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for worker in workers:
            worker.start()
        try:
            with self._changed:
                while self._failure is None and len(self._placed) < len(self._jobs):
                    self._changed.wait()
            if self._failure is not None:
                raise self._failure
        finally:
            # After a failure or Ctrl-C nobody wants to wait for the gigabyte that is on its way.
            self._shared.storage.stop()
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            for worker in workers:
                worker.join(_STOP_S)
            for job in self._jobs:
                if job.partial is not None:
                    job.partial.close()
        return [self._placed[job.path] for job in self._jobs]

    def _work(self) -> None:
        while (task := self._next()) is not None:
            job, claim = task
            worker = _Worker(self._shared, self, job, claim)
            try:
                worker.run()
            except AbandonedError:
                pass
            except BaseException as error:  # noqa: BLE001  # `run` raises it in the caller's thread.
                self._failure = self._failure or explained(job.name, self._shared.target / job.path, error)
            finally:
                worker.close()
                self.wake()

    def _next(self) -> tuple[Job, Claim | None] | None:
        """Wait for work: a file to begin, or a claim on one; None at the end."""
        with self._changed:
            while self._failure is None and not self._ended:
                if self._waiting and len(self._active) < _MOST_OPEN:
                    job = self._waiting.popleft()
                    self._active.append(job)
                    return job, None
                for job in self._active:
                    partial = job.partial
                    if partial and (claim := partial.claim(self._shared.options.connections)) is not None:
                        return job, claim
                self._changed.wait()
            return None

    def wake(self) -> None:
        """Tell waiting threads that something has changed."""
        with self._changed:
            self._changed.notify_all()

    def start_over(self, job: Job, partial: Partial) -> bool:
        """Throw away what is here of a file and queue it again; False if another worker did that."""
        with self._changed:
            if job.partial is not partial:
                return False
            job.partial = None
            partial.close(discard=True)
            self._active.remove(job)
            self._waiting.appendleft(job)
            return True

    def finish(self, job: Job, file: Fetched) -> None:
        """Note that a file is in place."""
        self._shared.listener.placed(file)
        with self._changed:
            job.partial = None
            self._active.remove(job)
            self._placed[job.path] = file


class _Worker:
    """One thread at one task: it begins a file, or goes on with a claim on one."""

    def __init__(self, shared: Resources, downloader: Downloader, job: Job, claim: Claim | None) -> None:
        self._shared, self._downloader, self._job, self._claim = shared, downloader, job, claim
        self._partial = job.partial
        self._retries = RetryPolicy(shared.options, shared.sleep)
        self._ignored = 0

    def run(self) -> None:
        """Try until it is done.

        Raises:
            AbandonedError: the file starts over.
            StorageError: the storage does not give it.
            OSError: it cannot be written.
            KgttsError: there is no space, no new listing, or the file is damaged.
        """
        done = False
        while not done:
            url = self._shared.urls[self._job.name]
            self._shared.counter.add("requests")
            try:
                if self._claim is None or self._partial is None:
                    self._begin(url)
                else:
                    self._go_on(self._claim, self._partial, url)
                done = True
            except TransientError as error:
                if self._shared.storage.stopped.is_set():
                    raise StoppedError from error
                self._note_retry(str(error))
                self._retries.wait(error)
            except ExpiredError as error:
                self._shared.urls.renew(self._job.name, url, error, self._job.received)
                self._note_retry("its address had expired")

    def close(self) -> None:
        """Give up the claim."""
        if self._claim is not None and self._partial is not None:
            self._partial.release(self._claim)

    def _note_retry(self, why: str) -> None:
        self._shared.counter.add("retries")
        self._shared.listener.retried(self._job.path, why)

    def _begin(self, url: str) -> None:
        """See what the storage and the disk have of the file, and fetch its beginning."""
        known = self._shared.index.etag(self._job.path)
        # If something is here, one byte is requested: the answer says whether it is still the same content.
        is_here = known or has_part(self._shared.workspace.folder, self._job.path)
        first = Span(0, 1 if is_here else _BIG)
        with (
            contextlib.suppress(BeyondEndError),  # An empty file has no first byte.
            self._shared.storage.ask(url, first, unless=known) as answer,
        ):
            if self._begun(answer, known, first):
                return
        with self._shared.storage.ask(url, None, unless=known) as answer:
            if not self._begun(answer, known, None):
                raise TransientError("the storage answered without the file")

    def _begun(self, answer: Answer, known: str, span: Span | None) -> bool:
        """Use the first answer; False if it says too little, and the whole file must be requested."""
        job, remote, is_one_byte = self._job, answer.remote, span is not None and span.size == 1
        if is_one_byte and not answer.is_whole and not answer.is_same:
            answer.read()  # Only then can the connection be used again.
        if known and (answer.is_same or remote.validator == known):
            remove_parts(self._shared.workspace.folder, job.path)
            size = (self._shared.target / job.path).stat().st_size
            self._shared.listener.sized(Planned(job.path, size, size))
            self._downloader.finish(job, Fetched(job.path, size, unchanged=True))
            return True
        if answer.is_same or remote.size is None or not remote.validator:
            if answer.is_whole:
                self._receive_unidentified(answer)
            return answer.is_whole
        reserve = self._shared.workspace.reserve
        partial = self._partial = Partial(
            self._shared.workspace.folder, job.path, remote, job.sha256, lambda size: reserve(job.path, size)
        )
        job.partial = partial
        self._shared.counter.add("resumed", partial.resumed)
        self._shared.listener.sized(Planned(job.path, remote.size, partial.resumed))
        if answer.is_whole or not is_one_byte:
            self._claim = partial.claim(self._shared.options.connections, Span(0, answer.end or 0))
            self._downloader.wake()
            if self._claim is not None:
                self._receive(self._claim, partial, answer)
        self._advance(partial)
        return True

    def _go_on(self, claim: Claim, partial: Partial, url: str) -> None:
        """Fetch what is left of a claim."""
        try:
            span = Span(claim.at, claim.end)
            with self._shared.storage.ask(url, span, same=partial.remote.etag) as answer:
                if answer.remote.validator != partial.remote.validator:
                    self._start_over(partial)
                if answer.is_whole:
                    self._ignored += 1
                    if self._ignored <= _IGNORED:
                        raise TransientError("the storage ignored which range was asked for")
                    if not partial.claim_all(claim):
                        return
                else:
                    self._ignored = 0
                self._receive(claim, partial, answer)
        except BeyondEndError:
            self._start_over(partial)
        self._advance(partial)

    def _start_over(self, partial: Partial) -> None:
        """Begin the file again: the storage has another content now."""
        if self._downloader.start_over(self._job, partial):
            self._job.restarts += 1
            if self._job.restarts > _RESTARTS:
                raise StorageError("it changes faster than it can be fetched")
            self._note_retry("the storage has another content now")
        raise AbandonedError

    def _receive(self, claim: Claim, partial: Partial, answer: Answer) -> None:
        """Write the bytes of a claim as they arrive."""
        hashed = claim.at
        while (left := claim.end - claim.at) > 0:
            data = answer.read()[:left]
            if self._shared.storage.stopped.is_set():
                raise StoppedError
            if not data:
                raise TransientError("the connection ended early")
            self._retries.progress(partial.write(claim.at, data))
            claim.at += len(data)
            self._note_received(len(data))
            if claim.at - hashed >= _HASH_EVERY:
                hashed = claim.at
                partial.hash_front(self._shared.storage.stopped)

    def _note_received(self, count: int) -> None:
        self._job.received += count
        self._shared.counter.add("received", count)
        self._shared.listener.received(self._job.path, count)

    def _advance(self, partial: Partial) -> None:
        """If all of a file has arrived, verify it and put it in place."""
        job, stopped = self._job, self._shared.storage.stopped
        if not partial.begin_finish():
            return
        try:
            partial.hash_front(stopped, everything=True)
            partial.check()
        except CorruptError as error:
            self._downloader.start_over(job, partial)
            self._note_damage(error)
            return
        partial.close()
        self._place(partial.place, partial.remote.validator)
        partial.close(discard=True)
        self._shared.counter.add("again", max(0, job.received - (partial.size - partial.resumed)))
        self._downloader.finish(job, Fetched(job.path, partial.size, unchanged=False))

    def _place(self, source: Path, validator: str) -> None:
        """Move a verified file to its place."""
        self._shared.listener.verified(self._job.path)
        # Noted first: a kill in between costs nothing, as the note fits what is in place afterwards.
        self._shared.index.remember(self._job.path, validator, source.stat(), self._shared.workspace.folder)
        make_folder(self._shared.target, self._job.path.parent)
        replace(source, self._shared.target / self._job.path)

    def _note_damage(self, error: CorruptError) -> None:
        self._job.damaged += 1
        if self._job.damaged > 1:
            raise UnavailableError(
                f"{self._job.name} arrived damaged twice ({error}); it was not kept.",
                hint="run the same pull again later",
            )
        self._note_retry(f"it arrived damaged: {error}")

    def _receive_unidentified(self, answer: Answer) -> None:
        """Fetch a file in one piece: the storage says too little of it (no size, or no validator).

        Raises:
            TransientError: it broke off, or arrived damaged; nothing of it is kept.
        """
        hasher, size = Hasher(answer.remote.expected, self._job.sha256), 0
        self._shared.workspace.reserve(self._job.path, answer.remote.size or 0)
        place = self._shared.workspace.folder / f"{threading.get_ident()}.new"
        try:
            with place.open("wb") as file:
                while data := answer.read():
                    file.write(data)
                    hasher.update(data)
                    size += len(data)
                    self._note_received(len(data))
            if self._shared.storage.stopped.is_set():  # A body without a length looks complete if it is cut.
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
        self._downloader.finish(self._job, Fetched(self._job.path, size, unchanged=False))


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
