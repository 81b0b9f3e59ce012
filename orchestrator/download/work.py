"""What a worker of a transfer does: begin a file, fetch a range of it, or read it in one stream."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from orchestrator.download.failures import said
from orchestrator.download.finish import Finisher
from orchestrator.download.index import Index
from orchestrator.download.job import Claim, Job
from orchestrator.download.listener import Planned, TransferListener
from orchestrator.download.names import open_folder
from orchestrator.download.options import Patience, Tally, TransferOptions
from orchestrator.download.partial import Part, clear_others, find_part, stem_of
from orchestrator.download.queue import Addresses, Queue
from orchestrator.download.ranges import BIG, BLOCK, Span
from orchestrator.download.room import Room
from orchestrator.download.storage import (
    Answer,
    BeyondEndError,
    ExpiredError,
    StoppedError,
    Storage,
    StorageError,
    TransientError,
)

_RESTARTS = 3
_HASH_EVERY = 4 << 20


class _LeftError(Exception):
    """The file begins anew: what this worker fetches is wanted by nobody."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the workers of one transfer share."""

    target: Path
    storage: Storage
    addresses: Addresses
    queue: Queue
    index: Index
    finisher: Finisher
    listener: TransferListener
    options: TransferOptions
    sleep: Callable[[float], object]
    room: Room
    tally: Tally

    def work(self) -> None:
        """Do what is next until nothing is; a failure ends the transfer."""
        while (task := self.queue.next()) is not None:
            job, claim = task
            try:
                _Worker(self, job, claim).run()
            except _LeftError:
                pass
            except BaseException as error:  # noqa: BLE001  # It is raised where the transfer was asked for.
                self.queue.fail(said(job.name, self.target / job.path, error))
            self.queue.look()

    def patience(self) -> Patience:
        """For one piece."""
        return Patience(self.options, self.sleep)


class _Worker:
    """One worker at one file: it begins it, or goes on with a claim."""

    def __init__(self, shop: Workshop, job: Job, claim: Claim | None) -> None:
        self._shop = shop
        self._job = job
        self._claim = claim
        self._patience = shop.patience()

    def run(self) -> None:
        """Try until it is done.

        Raises:
            StorageError: the storage will not give it.
            OSError: it cannot be written.
            KgttsError: see `Finisher`, `Room` and `Addresses`.
        """
        try:
            while not self._attempt():
                pass
        finally:
            self._unclaim()

    def _unclaim(self) -> None:
        if self._claim is not None:
            self._job.unclaim(self._claim)
            self._claim = None

    def _attempt(self) -> bool:
        url = self._shop.addresses[self._job.name]
        self._shop.tally.add("requests")
        try:
            if self._claim is None:
                self._begin(url)
            else:
                self._go_on(self._claim, url)
        except TransientError as error:
            self._retry(error, self._patience)
        except ExpiredError as error:
            self._shop.addresses.renew(self._job, url, error)
            self._note_retry("its address had expired")
        else:
            return True
        return False

    def _retry(self, error: TransientError, patience: Patience) -> None:
        if self._shop.storage.stopped.is_set():
            raise StoppedError from error
        self._note_retry(str(error))
        patience.wait(error)

    def _note_retry(self, why: str) -> None:
        self._shop.tally.add("retries")
        self._shop.listener.retried(self._job.path, why)

    # Beginning

    def _begin(self, url: str) -> None:
        """See what the storage and the disk have of the file, and fetch its beginning."""
        folder = open_folder(self._shop.target, self._job.path.parent)
        try:
            known = self._shop.index.etag(self._job.path)
            # Where something is here one byte is asked for: the answer tells whether it is still the same.
            first = Span(0, 1) if known or find_part(folder, self._job.path.name) else Span(0, BIG)
            try:
                with self._shop.storage.ask(url, first, unless=known) as answer:
                    if self._begun(folder, answer, known, first):
                        return
            except BeyondEndError:  # An empty file has no first byte.
                pass
            with self._shop.storage.ask(url, None, unless=known) as answer:
                if not self._begun(folder, answer, known, None):
                    raise TransientError("the storage answered without the file")
        finally:
            os.close(folder)

    def _begun(self, folder: int, answer: Answer, known: str, span: Span | None) -> bool:
        """Use the first answer; False where it says too little, and the whole must be asked for."""
        job, remote = self._job, answer.remote
        if span is not None and span.size == 1 and not answer.is_whole and not answer.is_same:
            answer.read()  # The one byte: only then can the connection be used again.
        if known and (answer.is_same or remote.validator == known):
            clear_others(folder, stem_of(job.path.name))
            size = (self._shop.target / job.path).stat().st_size
            self._shop.listener.sized(Planned(job.path, size, size))
            self._shop.finisher.unchanged(job, size)
            return True
        if answer.is_same or remote.size is None or not remote.validator:
            if not answer.is_whole:
                return False
            self._shop.room.promise(remote.size or 0)
            self._shop.finisher.receive_plain(job, folder, answer)
            return True
        part = job.adopt(folder, remote, self._shop.room.promise)
        self._shop.tally.add("resumed", job.resumed)
        self._shop.listener.sized(Planned(job.path, remote.size, job.resumed))
        if answer.is_whole:
            self._stream(part, answer)
        elif span is not None and span.size > 1:
            self._claim = job.claim(self._shop.options.connections, Span(0, answer.end or 0))
            self._shop.queue.look()
            if self._claim is not None:
                self._receive(self._claim, answer)
        self._shop.finisher.advance(job, part)
        return True

    # Going on

    def _go_on(self, claim: Claim, url: str) -> None:
        part = claim.part
        if claim.at < claim.span.end:
            try:
                with self._shop.storage.ask(url, claim.left, same=part.origin.etag) as answer:
                    if answer.remote.validator != part.origin.validator:
                        self._begin_anew(part)
                    elif answer.is_whole:
                        self._ignored(claim, answer)
                    else:
                        self._job.heeded()
                        self._receive(claim, answer)
            except BeyondEndError:
                self._begin_anew(part)
        self._shop.finisher.advance(self._job, part)

    def _begin_anew(self, part: Part) -> None:
        """The storage has another content now than the one that a part of is here."""
        if self._job.forget(part):
            self._job.restarts += 1
            if self._job.restarts > _RESTARTS:
                raise StorageError("it changes faster than it can be fetched")
            self._note_retry("the storage has another content now")
            self._shop.queue.again(self._job)
        raise _LeftError

    def _receive(self, claim: Claim, answer: Answer) -> None:
        """Write what comes to its place."""
        hashed = claim.at
        while claim.at < claim.span.end:
            data = self._read(answer, claim.part)
            claim.part.write(claim.at, data)
            claim.at += len(data)
            self._came(len(data))
            self._patience.refill(len(data))
            if claim.at - hashed >= _HASH_EVERY:
                hashed = claim.at
                self._shop.finisher.advance(self._job, claim.part)

    def _read(self, answer: Answer, part: Part) -> bytes:
        data = answer.read()
        if self._shop.storage.stopped.is_set():
            raise StoppedError
        if self._job.part is not part:
            raise _LeftError
        if not data:
            raise TransientError("the connection ended early")
        return data

    def _came(self, count: int) -> None:
        self._job.count(count)
        self._shop.tally.add("received", count)
        self._shop.listener.received(self._job.path, count)

    # One stream

    def _ignored(self, claim: Claim, answer: Answer) -> None:
        """All came instead of a range: ask again where much is here, else read it from its first byte."""
        if self._job.ask_again(claim.part):
            raise TransientError("the storage ignored which range was asked for")
        self._unclaim()
        self._stream(claim.part, answer)

    def _stream(self, part: Part, answer: Answer) -> None:
        """Read all of the file in one stream and write what nobody has; ranges go on after it."""
        if not self._job.begin_stream(part):
            return
        at = 0
        mine: int | None = None
        try:
            while at < part.origin.size:
                data = self._read(answer, part)
                self._came(len(data))
                for offset in _cuts(at, at + len(data)):
                    if offset.start % BLOCK == 0:
                        block = offset.start // BLOCK
                        mine = block if self._job.take(part, block) else None
                    if mine is not None:
                        part.write(offset.start, data[offset.start - at : offset.end - at])
                        self._job.patience.refill(offset.size)
                at += len(data)
                if mine is not None and at >= min(part.origin.size, (mine + 1) * BLOCK):
                    mine = None
                self._shop.finisher.advance(self._job, part)
        except TransientError as error:
            self._retry(error, self._job.patience)
        finally:
            if mine is not None:
                self._job.untake(part, mine)
            self._job.end_stream(part)


def _cuts(start: int, end: int) -> list[Span]:
    """The bytes from `start` to `end` by blocks."""
    edges = [start, *range((start // BLOCK + 1) * BLOCK, end, BLOCK), end]
    return [Span(one, other) for one, other in pairwise(edges) if other > one]
