"""What is to be done next in a transfer, shared by its workers."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from orchestrator.download.job import Claim, Job
from orchestrator.download.storage import ExpiredError, GoneError
from orchestrator.models import OutputFile

_MOST_OPEN = 64  # Files begun and not yet ended: each holds some descriptors.


class Queue:
    """The files that wait and those on their way; ends at the first failure.

    Args:
        jobs: the files; they are begun in this order.
        connections: how many workers there are.
    """

    def __init__(self, jobs: Sequence[Job], connections: int) -> None:
        self._changed = threading.Condition()
        self._waiting = deque(jobs)
        self._active: list[Job] = []
        self._unfinished = len(jobs)
        self._connections = connections
        self._failure: BaseException | None = None
        self._ended = False

    def next(self) -> tuple[Job, Claim | None] | None:
        """What to do: a file to begin, or a claim on one; waits for it. None at the end."""
        with self._changed:
            while self._failure is None and self._unfinished and not self._ended:
                if self._waiting and len(self._active) < _MOST_OPEN:
                    job = self._waiting.popleft()
                    self._active.append(job)
                    return job, None
                for job in self._active:
                    if (claim := job.claim(self._connections)) is not None:
                        return job, claim
                self._changed.wait()
            return None

    def look(self) -> None:
        """There may be something to do."""
        with self._changed:
            self._changed.notify_all()

    def again(self, job: Job) -> None:
        """A file begins anew."""
        with self._changed:
            self._active.remove(job)
            self._waiting.appendleft(job)
            self._changed.notify_all()

    def finished(self, job: Job) -> None:
        """A file is in place."""
        with self._changed:
            self._active.remove(job)
            self._unfinished -= 1
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End the transfer; the first failure is what it fails with."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def end(self) -> None:
        """Give nothing out any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait for the end.

        Raises:
            BaseException: what a worker failed with.
        """
        with self._changed:
            while self._failure is None and self._unfinished:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure


class Addresses:
    """The signed URLs of a listing, asked for again when they have expired.

    Args:
        files: the listing.
        relist: asks for it again.
    """

    def __init__(
        self, files: Sequence[OutputFile], relist: Callable[[], Sequence[OutputFile]] | None
    ) -> None:
        self._urls = {file.name: file.url for file in reversed(files)}  # Of equal names the first is fetched.
        self._relist = relist
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> str:
        return self._urls[name]

    def renew(self, job: Job, tried: str, error: ExpiredError) -> None:
        """See that a file has another address than `tried`.

        The listing is asked for again once for a file, and once more after each progress of it.

        Raises:
            ExpiredError: there is no other.
            GoneError: the listing has no such file any more.
            KgttsError: the listing could not be had.
        """
        with self._lock:
            if self._urls[job.name] != tried:
                return  # Another worker has asked meanwhile.
            if self._relist is None or job.got <= job.renewed_at:
                raise error
            job.renewed_at = job.got
            fresh = {file.name: file.url for file in reversed(self._relist())}
            if job.name not in fresh:
                raise GoneError("it is not among the session's outputs any more")
            self._urls |= fresh
