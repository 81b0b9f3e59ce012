"""Whether all of a transfer fits on the disk, asked before its bytes come."""

import shutil
import threading
from pathlib import Path

from orchestrator.errors import LocalError

_KEEP_FREE = 64 << 20


class Room:
    """The free disk below a folder, and what was promised of it.

    Args:
        folder: the target.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._free = shutil.disk_usage(folder).free
        self._promised = 0
        self._lock = threading.Lock()

    def promise(self, size: int) -> None:
        """Take `size` bytes.

        Raises:
            LocalError: with what was promised already, that is more than there is.
        """
        with self._lock:
            self._promised += size
            if self._promised + _KEEP_FREE > self._free:
                raise LocalError(
                    f"{self._folder} has {self._free >> 20} MB free, and at least {self._promised >> 20} MB "
                    "are to come.",
                    hint="free some space, or choose another folder with --to",
                )
