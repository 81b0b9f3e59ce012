"""What lies in a target and where it came from: an unchanged file is known without reading it."""

import contextlib
import json
import os
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from orchestrator.download.names import INDEX_NAME
from orchestrator.files import write_atomically

_LARGE = 1 << 20  # A file of this size is written down before it is renamed into place, a smaller one soon.
_SOON_S = 0.2
_LEFTOVER_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class _Known:
    etag: str
    size: int
    modified_ns: int


class Index:
    """The index of a target; a broken one only costs fetching.

    Args:
        target: the folder.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target / INDEX_NAME
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._unsaved = False
        self._saved_at = 0.0
        try:
            for name, item in json.loads(self._path.read_text(encoding="utf-8")).items():
                self._known[name] = _Known(str(item["etag"]), int(item["size"]), int(item["modified_ns"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self._known = {}
        self._drop_leftovers()

    def etag(self, path: PurePosixPath) -> str:
        """The validator of what lies at `path` as it was fetched; nothing where it was touched since."""
        known = self._known.get(path.as_posix())
        if known is None:
            return ""
        try:
            there = (self._target / path).lstat()
        except OSError:
            return ""
        return known.etag if (there.st_size, there.st_mtime_ns) == (known.size, known.modified_ns) else ""

    def remember(self, path: PurePosixPath, etag: str, there: os.stat_result) -> None:
        """Note what is about to lie at `path`; until it does, the note fits nothing that lies there.

        Raises:
            LocalError: the index could not be written.
        """
        with self._lock:
            self._known[path.as_posix()] = _Known(etag, there.st_size, there.st_mtime_ns)
            self._unsaved = True
            if there.st_size >= _LARGE or time.monotonic() - self._saved_at > _SOON_S:
                self._save()

    def save(self) -> None:
        """Write what was noted.

        Raises:
            LocalError: it could not be written.
        """
        with self._lock:
            if self._unsaved:
                self._save()

    def _save(self) -> None:
        items = {name: asdict(known) for name, known in sorted(self._known.items())}
        write_atomically(self._path, json.dumps(items, ensure_ascii=False, indent=1) + "\n")
        self._unsaved, self._saved_at = False, time.monotonic()

    def _drop_leftovers(self) -> None:
        """Remove what a kill in the middle of `_save` left."""
        for part in self._target.glob(f".{INDEX_NAME}.*.part"):
            with contextlib.suppress(OSError):
                if time.time() - part.lstat().st_mtime > _LEFTOVER_AFTER_S:
                    part.unlink()
