"""The end of a file: hashed from its front while the rest comes, compared, renamed into place."""

import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.download.failures import damaged_twice, said
from orchestrator.download.index import Index
from orchestrator.download.job import Job
from orchestrator.download.listener import Fetched, TransferListener
from orchestrator.download.names import OWN_PREFIX
from orchestrator.download.options import Tally
from orchestrator.download.partial import Part, clear_others, stem_of
from orchestrator.download.queue import Queue
from orchestrator.download.ranges import BIG
from orchestrator.download.storage import Answer, StoppedError, TransientError
from orchestrator.download.verify import CorruptError, Hasher

_READ = 1 << 20
_HASHERS = 2


class Finisher:
    """Checks files and puts them in place.

    Args:
        target: the folder of the transfer.
        index: what lies there.
        queue: where a damaged file goes back to.
        listener: hears of it.
        tally: counts.
        stopped: set when nothing is to be placed any more.
    """

    def __init__(  # noqa: PLR0913  # The parts of one transfer.
        self,
        *,
        target: Path,
        index: Index,
        queue: Queue,
        listener: TransferListener,
        tally: Tally,
        stopped: threading.Event,
    ) -> None:
        self._target, self._index, self._queue = target, index, queue
        self._listener, self._tally, self._stopped = listener, tally, stopped
        self._pool = ThreadPoolExecutor(_HASHERS, thread_name_prefix="hash")
        self._lock = threading.Lock()
        self.fetched: dict[Job, Fetched] = {}

    def close(self) -> None:
        """Wait for what is being hashed, which ends soon where the transfer was stopped."""
        self._pool.shutdown(cancel_futures=True)

    def advance(self, job: Job, part: Part) -> None:
        """Hash what has come; where that is all, end the file. A small file is done at once."""
        hasher = job.hasher_of(part)
        if hasher is None or not hasher.occupy() or not part.hold():
            return
        if part.origin.size <= BIG:
            self._follow(job, part, hasher)
        else:
            self._pool.submit(self._guarded, job, part, hasher)

    def _guarded(self, job: Job, part: Part, hasher: Hasher) -> None:
        try:
            self._follow(job, part, hasher)
        except BaseException as error:  # noqa: BLE001  # It is raised where the transfer was asked for.
            self._queue.fail(said(job.name, self._target / job.path, error))

    def _follow(self, job: Job, part: Part, hasher: Hasher) -> None:
        try:
            while not part.retired and not self._stopped.is_set():
                front = part.front(hasher.at)
                if front > hasher.at:
                    if hasher.is_needed:
                        hasher.update(part.read(hasher.at, min(_READ, front - hasher.at)))
                    else:
                        hasher.at = front
                elif hasher.at >= part.origin.size:
                    self._end(job, part, hasher)
                    return
                else:
                    hasher.leave()
                    # What came between the look and the leave would be seen by nobody.
                    if part.front(hasher.at) <= hasher.at or not hasher.occupy():
                        return
        finally:
            part.release()

    def _end(self, job: Job, part: Part, hasher: Hasher) -> None:
        try:
            hasher.check()
        except CorruptError as error:
            job.forget(part)
            self._damaged(job, error)
            self._queue.again(job)
            return
        self._listener.verified(job.path)
        # Noted first: a kill between the two costs nothing, as the note fits what is in place afterwards.
        self._index.remember(job.path, part.origin.validator, part.stat())
        part.place(job.path.name)
        job.forget(part, discard=False)
        self._tally.add("again", max(0, job.got - (part.origin.size - job.resumed)))
        self._placed(job, Fetched(job.path, part.origin.size, unchanged=False))

    def unchanged(self, job: Job, size: int) -> None:
        """A file is here already."""
        self._placed(job, Fetched(job.path, size, unchanged=True))

    def _placed(self, job: Job, file: Fetched) -> None:
        with self._lock:
            self.fetched[job] = file
        self._listener.placed(file)
        self._queue.finished(job)

    def _damaged(self, job: Job, error: CorruptError) -> None:
        job.damaged += 1
        if job.damaged > 1:
            raise damaged_twice(job.name, error)
        self._tally.add("retries")
        self._listener.retried(job.path, f"it arrived damaged: {error}")

    def receive_plain(self, job: Job, folder: int, answer: Answer) -> None:
        """Bring a file of which the storage says too little to fetch it in parts: no size, or no validator.

        Raises:
            TransientError: it broke off; nothing of it is kept.
            OSError: it cannot be written.
        """
        hasher, size = job.hasher_for(answer.remote), 0
        stem = stem_of(job.path.name)
        clear_others(folder, stem)
        name = f"{OWN_PREFIX}{secrets.token_hex(8)}.part"
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                while data := answer.read():
                    file.write(data)
                    hasher.update(data)
                    size += len(data)
                    job.count(len(data))
                    self._tally.add("received", len(data))
                    self._listener.received(job.path, len(data))
                if self._stopped.is_set():  # A body without a length looks whole when it is cut off.
                    raise StoppedError
                if answer.end is not None and size != answer.end:
                    raise TransientError("the connection ended early")
                hasher.check()
                file.flush()
                self._listener.verified(job.path)
                self._index.remember(job.path, answer.remote.validator, os.fstat(handle))
            os.replace(name, job.path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except CorruptError as error:
            self._damaged(job, error)
            raise TransientError(str(error)) from error
        finally:
            _remove(folder, name)
        self._placed(job, Fetched(job.path, size, unchanged=False))


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
