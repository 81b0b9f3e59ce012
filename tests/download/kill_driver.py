"""A pull in its own process, to be killed; what it received is counted in a file that survives SIGKILL.

Called as `python -m tests.download.kill_driver URL USER KEY OWNER/SLUG FOLDER COUNTER`.
"""

import mmap
import struct
import sys
import threading
from pathlib import Path, PurePosixPath

from orchestrator.download import TransferListener
from orchestrator.kaggle import connect
from orchestrator.models import KernelRef
from orchestrator.run.collect import bring


class Counter(TransferListener):
    """Counts received bytes in a file.

    Args:
        place: eight bytes; it goes on from what stands there.
    """

    def __init__(self, place: Path) -> None:
        with place.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)
        self._lock = threading.Lock()

    def received(self, path: PurePosixPath, count: int) -> None:
        """Add the bytes."""
        with self._lock:
            before = struct.unpack("q", self._map)[0]
            self._map[:] = struct.pack("q", before + count)


def main() -> None:
    """Pull everything."""
    url, user, key, ref, folder, counter = sys.argv[1:]
    client = connect({"KGTTS_KAGGLE_URL": url}, login=(user, key))
    print("begin", flush=True)  # noqa: T201  # The time until the kill counts from here.
    bring(client, KernelRef.parse(ref), Path(folder), list, Counter(Path(counter)))


if __name__ == "__main__":
    main()
