"""The index of a target: where its files came from, so that an unchanged file is known without reading it."""

import json
import os
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from orchestrator.download.names import INDEX_NAME
from orchestrator.download.workspace import replace
from orchestrator.untrusted import as_object, count, read_json_object

_LARGE = 1 << 20  # A file of this size is written down before it is renamed into place, a smaller one soon.
_SOON_S = 0.2


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
        self._lock = threading.Lock()
        self._unsaved, self._saved_at = False, 0.0
        self._known: dict[str, _Known] = {}
        for name, value in (read_json_object(target / INDEX_NAME) or {}).items():
            item = as_object(value)
            etag, size, modified = item.get("etag"), count(item.get("size")), item.get("modified_ns")
            if isinstance(etag, str) and size is not None and isinstance(modified, int):
                self._known[name] = _Known(etag, size, modified)

    def etag(self, path: PurePosixPath) -> str:
        """Return the validator of the file at `path` as it was fetched; "" if it was touched since."""
        known = self._known.get(path.as_posix())
        if known is None:
            return ""
        try:
            there = (self._target / path).lstat()
        except OSError:
            return ""
        return known.etag if (there.st_size, there.st_mtime_ns) == (known.size, known.modified_ns) else ""

    def remember(self, path: PurePosixPath, etag: str, there: os.stat_result, folder: Path) -> None:
        """Note what is about to lie at `path`; until it does, the note fits nothing that lies there.

        Args:
            path: the file's path, relative to the target.
            etag: its validator.
            there: its size and time.
            folder: where a new index may be written before it replaces the old one.

        Raises:
            OSError: the index could not be written.
        """
        with self._lock:
            self._known[path.as_posix()] = _Known(etag, there.st_size, there.st_mtime_ns)
            self._unsaved = True
            if there.st_size >= _LARGE or time.monotonic() - self._saved_at > _SOON_S:
                self._save(folder)

    def save(self, folder: Path) -> None:
        """Write what was noted since; `folder` as for `remember`.

        Raises:
            OSError: the index could not be written.
        """
        with self._lock:
            if self._unsaved:
                self._save(folder)

    def _save(self, folder: Path) -> None:
        items = {name: asdict(known) for name, known in sorted(self._known.items())}
        new = folder / "index.new"
        new.write_text(json.dumps(items, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        replace(new, self._target / INDEX_NAME)
        self._unsaved, self._saved_at = False, time.monotonic()
