"""The folder in which files lie until they are complete, and the free disk that they need."""

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from kernel_template.contract import OWN_PREFIX
from orchestrator.download.partial import PART_SUFFIX
from orchestrator.errors import LocalError

PARTS = f"{OWN_PREFIX}parts"
_LOCK = "lock"
_OLD_S = 24 * 3600.0
_KEEP_FREE = 64 << 20


class Workspace:
    """The folder `.kgtts-parts` below a target, locked against other transfers into the same target.

    A second transfer at the same time gets a folder of its own, of which nothing stays.

    Args:
        target: the folder of the transfer.
        free_disk: returns the free bytes of its disk; by default the system's answer.

    Raises:
        LocalError: a link is in its place.
        OSError: it cannot be written.
    """

    def __init__(self, target: Path, free_disk: Callable[[Path], int] | None = None) -> None:
        self._target = target
        self._free = free_disk(target) if free_disk else shutil.disk_usage(target).free
        self._reserved: dict[PurePosixPath, int] = {}
        self._reserving = threading.Lock()
        self.folder = target / PARTS
        if self.folder.is_symlink():
            raise LocalError(
                f"{self.folder} is a link; kgtts does not write through links.", hint="remove it"
            )
        self._lock = _lock(self.folder)
        if self._lock is None:
            self.folder = Path(tempfile.mkdtemp(prefix=f"{PARTS}-", dir=target))
            return
        # What killed transfers left: the folder of a second one, and files of ours on their way to replace
        # others; and the index of earlier versions of kgtts.
        patterns = (f"{PARTS}-*", f".{OWN_PREFIX}*.part", ".*session.log.*.part", f"{OWN_PREFIX}pull.json")
        for old in [place for pattern in patterns for place in target.glob(pattern)]:
            if time.time() - old.lstat().st_mtime > _OLD_S:
                shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink()
        for entry in self.folder.iterdir():
            if entry.name != _LOCK and entry.suffix != PART_SUFFIX:
                entry.unlink()

    def reserve(self, path: PurePosixPath, size: int) -> None:
        """Reserve disk space for a file; one that starts over counts once.

        Raises:
            LocalError: with the other files, it is more than is free, less 64 MB for other programs.
        """
        with self._reserving:
            self._reserved[path] = max(size, self._reserved.get(path, 0))
            needed = sum(self._reserved.values()) + _KEEP_FREE
        if needed > self._free:
            raise LocalError(
                f"{self._target} needs at least {needed >> 20} MB of free disk space, "
                f"but only {self._free >> 20} MB are free.",
                hint="free some space, or choose another folder with --to",
            )

    def close(self) -> None:
        """Unlock the folder, and remove it if nothing is in it."""
        if self._lock is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        is_empty = [entry.name for entry in self.folder.iterdir()] == [_LOCK]
        with contextlib.suppress(OSError):
            if is_empty:
                (self.folder / _LOCK).unlink()  # Windows cannot remove an open file; there `release` does.
        self._lock.release()
        with contextlib.suppress(OSError):
            if is_empty:
                self.folder.rmdir()


def _lock(folder: Path) -> FileLock | None:
    """Make and lock a folder; None if another transfer has it."""
    while True:
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / _LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        if (folder / _LOCK).exists():
            return lock
        lock.release()  # Another transfer removed it between our opening and our locking.
