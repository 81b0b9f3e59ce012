"""Work on all recordings, on all cores, without holding more than a few of them."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from orchestrator.data.work import AudioSettings, Job, Worked, work

_FEW = 24  # Recordings that are done before other processes have started.
_CHUNK = 8
_MOST = 60  # Processes that Windows can wait for.
Worker = Callable[[Job, AudioSettings], Worked]


def cores() -> int:
    """How many processes can work at the same time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work_all(
    jobs: Sequence[Job], settings: AudioSettings, processes: int, worker: Worker = work
) -> Iterator[Worked]:
    """Give what is known about each recording, in the order in which they are done.

    A recording that ends its process (a fault in a decoder, or no memory) is found and named, and the others
    go on.

    Args:
        jobs: the recordings.
        settings: what they become.
        processes: how many; with one, or few recordings, all is done in this process.
        worker: works on one recording.
    """
    if processes < 2 or len(jobs) <= _FEW:  # noqa: PLR2004
        for job in jobs:
            yield worker(job, settings)
        return
    waiting = deque(list(jobs[start : start + _CHUNK]) for start in range(0, len(jobs), _CHUNK))
    while waiting:
        suspects = yield from _in_pool(waiting, settings, processes, worker)
        # A process died: one of these ended it. Alone in a process, one at a time, it is found.
        alone = deque([job] for job in suspects)
        while alone:
            for job in (yield from _in_pool(alone, settings, 1, worker, ahead=0)):
                yield Worked(job.name, "ends the program that reads it", "unreadable", letters=job.letters)


def _in_pool(
    waiting: deque[list[Job]], settings: AudioSettings, processes: int, worker: Worker, *, ahead: int = 1
) -> Generator[Worked, None, list[Job]]:
    """Work in other processes until all is done or one of them died; returns what was running then.

    `ahead` is how many chunks wait for each process, so that it never waits for one.
    """
    # Started anew rather than forked: the same on every system, and no thread's lock is inherited.
    context = multiprocessing.get_context("spawn")
    count = min(processes, len(waiting), _MOST)
    with ProcessPoolExecutor(count, context, initializer=_begin) as pool:
        running: dict[Future[list[Worked]], list[Job]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < count * (1 + ahead):
                    with _without_interrupts():  # What is submitted may start a process.
                        future = pool.submit(_work_some, worker, waiting[0], settings)
                    running[future] = waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done = future.result()
                    del running[future]
                    yield from done
        except BrokenProcessPool:
            return [job for chunk in running.values() for job in chunk]
        finally:
            with _without_interrupts():  # It takes as long as the recordings that are being worked on.
                pool.shutdown(wait=True, cancel_futures=True)
    return []


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let processes that start now never see Ctrl-C, which they would answer with tracebacks.

    This process hears of it a moment later.

    Windows cannot; there a process leaves Ctrl-C alone only once it has begun.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """Leave Ctrl-C to the process that people see, and end with it: the pool's queue would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _work_some(worker: Worker, jobs: list[Job], settings: AudioSettings) -> list[Worked]:
    return [worker(job, settings) for job in jobs]
