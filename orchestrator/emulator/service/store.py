"""The emulator's folder: where everything lies under ROOT, written so that a crash leaves whole files.

ROOT/
  datasets/OWNER/SLUG/…                            filled by hand or by the demo
  uploaded/OWNER/SLUG/{dataset.json,N/…}           datasets made over the wire, by version
  uploads/TOKEN/…                                  files that no version has taken yet
  models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION/…  the same
  kernels/OWNER/SLUG/kernel.json                   the kernel and its versions
  kernels/OWNER/SLUG/N/{source,log.jsonl,log.json,outputs.json,output/…}
  sessions/ID/…                                    a session's folder, gone when it has ended
  cache/numba/…                                    kept over sessions
  credentials.json (0600), usage.json, counter.json, lock
"""

import fcntl
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator.emulator.service.records import Kernel, Usage
from orchestrator.emulator.service.trees import remove_tree
from orchestrator.errors import LocalError

_KERNEL = TypeAdapter(Kernel)
_USAGE = TypeAdapter(tuple[Usage, ...])
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
# Control characters of both kinds, lone surrogates, and what some system reads as a path.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\:]")
_NAME_MAX = 255
PRIVATE_MODE = 0o600


def is_safe_name(name: str) -> bool:
    """Whether a name from outside may become one component of a path."""
    return _SAFE.fullmatch(name) is not None


def is_file_name(name: str) -> bool:
    """Whether a name from outside, in any script, may become the name of a file."""
    return name not in ("", ".", "..") and _UNSAFE.search(name) is None and len(name.encode()) <= _NAME_MAX


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write `content` beside `path` and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, mode)  # noqa: PTH101 - mkstemp gives a string
        os.replace(temporary, path)  # noqa: PTH105 - as above
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class VersionPaths:
    """The files of one version of a kernel."""

    __slots__ = ("folder",)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def source(self) -> Path:
        """The pushed code, as it came."""
        return self.folder / "source"

    @property
    def live_log(self) -> Path:
        """The log while the session runs: one JSON object a line."""
        return self.folder / "log.jsonl"

    @property
    def log(self) -> Path:
        """The log after the session: one JSON array."""
        return self.folder / "log.json"

    @property
    def index(self) -> Path:
        """What the outputs are: names, sizes, hashes."""
        return self.folder / "outputs.json"

    @property
    def output(self) -> Path:
        """What the session left in /kaggle/working."""
        return self.folder / "output"


class Store:
    """Reads and writes ROOT. One emulator at a time: a lock file says who.

    Args:
        root: the emulator's folder, made when missing.
        cache: where compiled code is kept over sessions; default: in `root`.

    Raises:
        LocalError: another emulator uses the folder, or it cannot be written.
    """

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        self.root = root.resolve()
        # Compiled code that sessions share: the first one pays for all.
        self.numba_cache = (cache.resolve() if cache is not None else self.root / "cache") / "numba"
        try:
            for name in ("datasets", "models", "kernels", "sessions"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            self.numba_cache.mkdir(parents=True, exist_ok=True)
            self._lock = (self.root / "lock").open("w")
        except OSError as error:
            raise LocalError(f"The emulator cannot use the folder {self.root}: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise LocalError(
                f"Another emulator is using the folder {self.root}.", hint="stop it, or give another --root"
            ) from error

    def close(self) -> None:
        """Let another emulator have the folder."""
        self._lock.close()

    def session_folder(self, session: int) -> Path:
        """Where a session lives while it runs."""
        return self.root / "sessions" / str(session)

    def kernel_folder(self, owner: str, slug: str) -> Path:
        """Where a kernel's versions lie."""
        return self.root / "kernels" / owner / slug

    def version(self, kernel: Kernel, number: int) -> VersionPaths:
        """The files of one version."""
        return VersionPaths(self.kernel_folder(kernel.owner, kernel.slug) / str(number))

    def kernels(self) -> Iterator[Kernel]:
        """Every kernel on disk."""
        for path in sorted((self.root / "kernels").glob("*/*/kernel.json")):
            yield _KERNEL.validate_json(path.read_bytes())

    def save_kernel(self, kernel: Kernel) -> None:
        """Write a kernel's record."""
        path = self.kernel_folder(kernel.owner, kernel.slug) / "kernel.json"
        write_atomically(path, _KERNEL.dump_json(kernel, indent=1))

    def delete_kernel(self, kernel: Kernel) -> None:
        """Remove a kernel with all its versions; the record goes first, so that no half of it comes back."""
        folder = self.kernel_folder(kernel.owner, kernel.slug)
        (folder / "kernel.json").unlink(missing_ok=True)
        remove_tree(folder)

    def usage(self) -> tuple[Usage, ...]:
        """The GPU time that ended sessions used."""
        path = self.root / "usage.json"
        return _USAGE.validate_json(path.read_bytes()) if path.exists() else ()

    def save_usage(self, usage: tuple[Usage, ...]) -> None:
        """Write the GPU time that ended sessions used."""
        write_atomically(self.root / "usage.json", _USAGE.dump_json(usage))

    def next_number(self) -> int:
        """A number that was never given before: ids of kernels and sessions."""
        path = self.root / "counter.json"
        number = 1 + (int(json.loads(path.read_bytes())) if path.exists() else 1000)
        write_atomically(path, str(number).encode())
        return number

    def credentials(self) -> tuple[str, str]:
        """The pair made for this folder: made once, readable for its owner only."""
        path = self.root / "credentials.json"
        if not path.exists():
            made = {"username": "emulated", "key": secrets.token_hex(16)}
            write_atomically(path, json.dumps(made).encode(), mode=PRIVATE_MODE)
        stored: dict[str, Any] = json.loads(path.read_bytes())
        return str(stored["username"]), str(stored["key"])


def last_log_time(path: Path) -> float:
    """Seconds into the session of the last whole event in a live log; 0 when there is none."""
    last = 0.0
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    last = float(json.loads(line)["time"])
                except ValueError:  # The line that was being written when the emulator ended.
                    break
    return last
