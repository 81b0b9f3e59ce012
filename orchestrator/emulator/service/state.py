"""The emulator's folder: where everything lies below ROOT.

ROOT/
  datasets/OWNER/SLUG/…                             filled by hand or by the demo
  models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION/…  filled by hand or by the demo
  uploaded/OWNER/SLUG/{dataset.json,N/…}            datasets uploaded over the wire, by version
  uploaded-models/OWNER/MODEL/{model.json,FRAMEWORK/VARIATION/N/…}  the same for models
  uploads/TOKEN/…                                   uploaded files that no version has taken yet
  kernels/OWNER/SLUG/kernel.json                    the kernel and its versions
  kernels/OWNER/SLUG/N/{source,log.jsonl,log.json,outputs.json,output/…}
  sessions/ID/…                                     the folder of an active session
  cache/numba/…                                     compiled code, shared by sessions
  cache/archives/…                                  whole datasets and models, packed for their download
  credentials.json (0600), usage.json, counter.json, deleted.json, shells.json, lock

Records are JSON, written atomically: a crash leaves whole files.
"""

import json
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from orchestrator.emulator.service.files import PRIVATE_MODE, write_bytes_atomically
from orchestrator.errors import LocalError

_FIRST_NUMBER = 1001


class VersionPaths:
    """The files of one version of a kernel."""

    __slots__ = ("folder",)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def source(self) -> Path:
        """The code, as it was pushed."""
        return self.folder / "source"

    @property
    def live_log(self) -> Path:
        """The log while the session runs: one JSON object per line."""
        return self.folder / "log.jsonl"

    @property
    def log(self) -> Path:
        """The log after the session: one JSON array."""
        return self.folder / "log.json"

    @property
    def index(self) -> Path:
        """The names, sizes and hashes of the outputs."""
        return self.folder / "outputs.json"

    @property
    def output(self) -> Path:
        """The folder of the outputs: what the session left in /kaggle/working."""
        return self.folder / "output"


class StateFolder:
    """The paths below ROOT, which a lock file keeps for one emulator at a time.

    Args:
        root: the emulator's folder; created if it is missing.
        cache: where compiled code is kept between sessions; by default in `root`.

    Raises:
        LocalError: another emulator uses the folder, or it cannot be written.
    """

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        self.root = root.resolve()
        # Compiled code that sessions share: only the first one waits for the compiler.
        self.numba_cache = (cache.resolve() if cache is not None else self.root / "cache") / "numba"
        try:
            for name in ("datasets", "models", "kernels", "sessions"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            self.numba_cache.mkdir(parents=True, exist_ok=True)
            # Not local to a thread: any thread may stop an emulator.
            self._lock = FileLock(self.root / "lock", timeout=0, thread_local=False)
            self._lock.acquire()
        except Timeout as error:
            raise LocalError(
                f"Another emulator is using the folder {self.root}.", hint="stop it, or give another --root"
            ) from error
        except OSError as error:
            raise LocalError(f"The emulator cannot use the folder {self.root}: {error.strerror}.") from error

    def close(self) -> None:
        """Release the folder for another emulator."""
        self._lock.release()

    def session_folder(self, session: int) -> Path:
        """The folder of a session while it is active."""
        return self.root / "sessions" / str(session)

    def kernel_folder(self, owner: str, slug: str) -> Path:
        """The folder of a kernel's record and versions."""
        return self.root / "kernels" / owner / slug

    @property
    def archives(self) -> Path:
        """The folder of packed datasets and models."""
        return self.root / "cache" / "archives"

    @property
    def usage_file(self) -> Path:
        """The GPU time that ended sessions used."""
        return self.root / "usage.json"

    def deleted_names(self) -> list[str]:
        """The slugs of kernels that were deleted."""
        return self._names("deleted.json")

    def add_deleted_name(self, slug: str) -> None:
        """Remember the slug of a kernel that was deleted."""
        self._write_names("deleted.json", {*self.deleted_names(), slug})

    def shells(self) -> list[str]:
        """The slugs of kernels whose first push was refused when they were half made."""
        return self._names("shells.json")

    def add_shell(self, slug: str) -> None:
        """Remember the slug of a kernel that was half made."""
        self._write_names("shells.json", {*self.shells(), slug})

    def drop_shell(self, slug: str) -> bool:
        """Forget the slug of a kernel that was half made; return whether there was one."""
        names = self.shells()
        self._write_names("shells.json", {*names} - {slug})
        return slug in names

    def _names(self, file: str) -> list[str]:
        path = self.root / file
        return [str(name) for name in json.loads(path.read_bytes())] if path.exists() else []

    def _write_names(self, file: str, names: Collection[str]) -> None:
        write_bytes_atomically(self.root / file, json.dumps(sorted(names)).encode())

    def next_number(self) -> int:
        """A number that was never given before, for kernels and sessions."""
        path = self.root / "counter.json"
        number = 1 + int(json.loads(path.read_bytes())) if path.exists() else _FIRST_NUMBER
        write_bytes_atomically(path, str(number).encode())
        return number

    def credentials(self) -> tuple[str, str]:
        """The username and key of this folder: created once, readable for its owner only."""
        path = self.root / "credentials.json"
        if not path.exists():
            created = {"username": "emulated", "key": secrets.token_hex(16)}
            write_bytes_atomically(path, json.dumps(created).encode(), mode=PRIVATE_MODE)
        stored: dict[str, Any] = json.loads(path.read_bytes())
        return str(stored["username"]), str(stored["key"])
