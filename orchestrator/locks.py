"""Take turns with other kgtts processes on this machine, and see whether one of them trains a run."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from orchestrator.errors import LocalError
from orchestrator.files import is_there

_TIMEOUT_S = 120.0
TRAINING_LOCK = ".kgtts-train/lock"  # In a run's folder: locked while a session trains there.


@contextmanager
def machine_lock(folder: Path, name: str, *, timeout_s: float = _TIMEOUT_S) -> Iterator[None]:
    """Hold the lock `name`, waiting up to `timeout_s` seconds for another process that holds it.

    The system releases it however its holder ends, so that nothing has to be cleaned up after a kill.

    Raises:
        LocalError: it was not free in time, or the folder cannot be written to.
    """
    place = folder / "locks" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
    lock = FileLock(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout_s)
    except Timeout as error:
        raise LocalError(
            "Another kgtts on this machine is working on the same run.",
            hint="try again when it has finished",
        ) from error
    except (OSError, NotImplementedError) as error:
        raise LocalError(
            f"The lock {place} cannot be used: {error}.",
            hint="set KGTTS_HOME to a folder that can be written to",
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_training(run: Path) -> bool:
    """Whether a session trains in a run's folder here; a lock that cannot be tried counts as held."""
    place = run / TRAINING_LOCK
    if not is_there(place):
        return False
    lock = FileLock(place)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    except NotImplementedError:
        return False
    lock.release()
    return False
