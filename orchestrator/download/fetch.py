"""Fetching the outputs of a session: several connections, shared by small files and ranges of big ones."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.download.finish import Finisher
from orchestrator.download.index import Index
from orchestrator.download.job import Job
from orchestrator.download.listener import Planned, Transfer, TransferListener
from orchestrator.download.names import sort_out
from orchestrator.download.options import DEFAULT, Patience, Tally, TransferOptions
from orchestrator.download.queue import Addresses, Queue
from orchestrator.download.room import Room
from orchestrator.download.storage import Storage
from orchestrator.download.work import Workshop
from orchestrator.errors import LocalError
from orchestrator.models import OutputFile

_GO_HOME_S = 2.0  # How long a stopped worker may take: it may still wait for a connection.


def fetch(  # noqa: PLR0913  # The last three have defaults.
    files: Sequence[OutputFile],
    target: Path,
    listener: TransferListener,
    *,
    relist: Callable[[], Sequence[OutputFile]] | None = None,
    sha256: Mapping[str, str] | None = None,
    options: TransferOptions = DEFAULT,
) -> Transfer:
    """Bring `files` below `target`, whole and checked; unchanged ones are not fetched again.

    What was on its way when an earlier transfer ended, however it ended, is gone on with.

    Args:
        files: names and signed URLs as the server gives them.
        target: the folder; made where it is missing.
        listener: hears of every file and piece.
        relist: asks for the listing again, where its URLs have expired.
        sha256: what the session's own manifest says of its files, by name.
        options: connections and patience.

    Raises:
        UnavailableError: the storage has a file no more, or only a damaged one.
        ServiceError: a file could not be fetched.
        LocalError: no room, or no permission to write.
    """
    wanted, refused = sort_out(files, target)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalError(f"{target} could not be written: {error.strerror or error}.") from error
    storage = Storage(options.connections, options.connect_s, options.stall_s)
    sleep = options.sleep or storage.stopped.wait
    hashes = sha256 or {}
    jobs = [
        Job(path, file, hashes.get(path.as_posix()), Patience(options, sleep))
        for path, file in wanted.items()
    ]
    index, queue, tally = Index(target), Queue(jobs, options.connections), Tally()
    finisher = Finisher(
        target=target, index=index, queue=queue, listener=listener, tally=tally, stopped=storage.stopped
    )
    shop = Workshop(
        target=target,
        storage=storage,
        addresses=Addresses(files, relist),
        queue=queue,
        index=index,
        finisher=finisher,
        listener=listener,
        options=options,
        sleep=sleep,
        room=Room(target),
        tally=tally,
    )
    listener.planned([Planned(path) for path in wanted])
    workers = [threading.Thread(target=shop.work, daemon=True) for _ in range(options.connections)]
    for worker in workers:
        worker.start()
    try:
        queue.wait()
    finally:
        # After a failure or Ctrl-C nobody wants to wait for the gigabyte that is on its way.
        connections = storage.connections
        storage.stop()
        queue.end()
        for worker in workers:
            worker.join(_GO_HOME_S)
        finisher.close()
        index.save()
        for job in jobs:
            job.close()
        storage.close()
    return Transfer([finisher.fetched[job] for job in jobs], refused, tally.counts(connections))
