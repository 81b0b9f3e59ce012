"""The limit of the outputs: room is made before each save, and the limit is never exceeded.

A checkpoint is written under a temporary name beside the others, so for a moment there is one more than will
stay. If there is no room for that, old ones are deleted first, but never the last whole one: whatever happens
during the save, there is something to resume from. The trainer's own housekeeping (0.4.0: after a save, by
number alone) goes on as configured.
"""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import BEST_MODEL_LINK, OWN_PREFIX
from kernel_template.host.coqui import Config
from kernel_template.host.protocol import DiskLimits
from kernel_template.host.report import Reporter
from kernel_template.tools.files import human_size

_NUMBERED = re.compile(r"^(checkpoint|best_model)_(\d+)\.pth$")
_MARGIN_SHARE = 0.01  # Of the limit: logs grow while a checkpoint is written.
_MARGIN_MAX_BYTES = 64_000_000
_BYTES_PER_TENSOR = 512  # What the archive adds to each: header, padding, directory entry.
_BYTES_PER_FILE = 256_000  # Configuration, names and the record.


class DiskLimitError(OSError):
    """A file does not fit, even with everything deleted that may be."""

    def __init__(self, sentence: str) -> None:
        super().__init__(errno.ENOSPC, sentence)


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """A whole checkpoint or best model in the run folder."""

    path: Path
    best: bool
    step: int
    size: int


class DiskBudget:
    """Makes room for checkpoints within the limit of the outputs.

    Args:
        limits: the limit, and the folder whose files count.
        reporter: the log and the report.
        free: returns the free bytes of a folder's disk.
    """

    def __init__(
        self,
        limits: DiskLimits,
        reporter: Reporter,
        free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self._folder = Path(limits.folder) if limits.folder and limits.limit_bytes else None
        self._limit = limits.limit_bytes or 0
        self._keep = limits.keep_checkpoints or 0
        self._reporter = reporter
        self._free = free
        self._warned: set[str] = set()

    def set_kept_checkpoints(self, config: Config) -> None:
        """Make the trainer keep as many checkpoints as the settings say, instead of its own five."""
        if self._keep and hasattr(config, "save_n_checkpoints"):
            config.save_n_checkpoints = self._keep

    def begin(self, weights: int, checkpoint: int) -> None:
        """Check before the training whether a checkpoint will fit at all.

        Args:
            weights: bytes of the weights alone, which every checkpoint contains.
            checkpoint: expected bytes of a checkpoint.

        Raises:
            DiskLimitError: there cannot be room for one.
        """
        if self._folder is None:
            return
        room = self._room()
        if weights > room:
            raise self._too_small("A checkpoint", weights, room)
        if checkpoint > room or (2 * checkpoint > room and not self._has_checkpoints()):
            self._warn_once(
                f"A checkpoint takes about {human_size(checkpoint)}, and a new one is written before one is "
                f"deleted. Only {human_size(max(room, 0))} of {human_size(self._limit)} is left for outputs, "
                "so the second checkpoint may not fit. Raise session.disk_limit."
            )

    @contextlib.contextmanager
    def saving(self, path: Path, state: Any) -> Iterator[Callable[[Any], Any]]:
        """Make room for `state` at `path`. Yields a wrapper that keeps the open file from growing too large.

        Raises:
            DiskLimitError: it does not fit.
        """
        if self._folder is None or not path.resolve().is_relative_to(self._folder.resolve()):
            yield lambda file: file
            return
        needed = size_of(state)
        room = self.make_room(path, needed)
        limited: list[_Limited] = []

        def limit(file: Any) -> Any:
            limited.append(_Limited(file, room))
            return limited[-1]

        try:
            yield limit
        except Exception:
            if any(file.full for file in limited):
                raise self._too_small(path.name, needed, room) from None
            raise

    def make_room(self, path: Path, needed: int) -> int:
        """Delete old files until `needed` bytes fit for a file at `path`. Returns the bytes that are free.

        Raises:
            DiskLimitError: they do not fit whatever is deleted, so no checkpoint was.
        """
        room = self._room()
        for partial in self._partial_files():
            if needed <= room:
                return room
            with contextlib.suppress(OSError):
                size = partial.lstat().st_size
                partial.unlink()
                room += size
        checkpoints = _checkpoints(path.parent, but=path)
        going, free = [], room
        for item in _deletable(checkpoints, best=path.name.startswith("best_model")):
            if needed <= free:
                break
            going.append(item)
            free += item.size
        if needed > free:
            raise self._too_small(path.name, needed, free)
        for item in going:
            self._delete(item, path, needed)
        if going and len(checkpoints) - len(going) < min(self._keep, len(checkpoints)):
            self._warn_once(
                f"{human_size(self._limit)} cannot hold session.keep_checkpoints = {self._keep} checkpoints "
                f"of {human_size(needed)}: older ones are deleted to make room."
            )
        return self._room() if going else room

    def _delete(self, item: _Checkpoint, path: Path, needed: int) -> None:
        old, new = (
            f"{one.name} ({human_size(size)})" for one, size in ((item.path, item.size), (path, needed))
        )
        self._reporter.say(f"deleting {old} to make room for {new}")
        if item.best:
            link = item.path.with_name(BEST_MODEL_LINK)
            if link.is_symlink():
                link.unlink(missing_ok=True)
        item.path.unlink(missing_ok=True)

    def _room(self) -> int:
        """Return the bytes that may be written now."""
        assert self._folder is not None
        used = sum(_bytes_of(path) for path in self._walk())
        margin = int(min(self._limit * _MARGIN_SHARE, _MARGIN_MAX_BYTES))
        return min(self._limit - used, self._free(self._folder)) - margin

    def _walk(self) -> Iterator[Path]:
        assert self._folder is not None
        for folder, _, names in os.walk(self._folder):
            yield from (Path(folder, name) for name in names)

    def _partial_files(self) -> list[Path]:
        """Return checkpoints whose writer was killed."""
        names = (OWN_PREFIX, ".pth.part")
        return [
            path
            for path in self._walk()
            if path.name.startswith(names[0]) and path.name.endswith(names[1]) and not path.is_symlink()
        ]

    def _has_checkpoints(self) -> bool:
        return any(_checkpoint(path) is not None for path in self._walk())

    def _too_small(self, what: str, needed: int, room: int) -> DiskLimitError:
        return DiskLimitError(
            f"{what} needs {human_size(needed)}, but at most {human_size(max(room, 0))} can be made free: "
            f"the limit of the outputs is {human_size(self._limit)}, and the disk may be full. The previous "
            "checkpoint stays. Raise session.disk_limit, or let the script write fewer other files"
        )

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._reporter.warn(text)


def _checkpoint(path: Path) -> _Checkpoint | None:
    match = _NUMBERED.match(path.name)
    if match is None or not path.is_file() or path.is_symlink():
        return None
    return _Checkpoint(path, match[1] == "best_model", int(match[2]), _bytes_of(path))


def _checkpoints(folder: Path, but: Path) -> list[_Checkpoint]:
    """Return the checkpoints and best models in `folder` except `but`, oldest first."""
    paths = folder.iterdir() if folder.is_dir() else ()
    found = [item for path in paths if path != but and (item := _checkpoint(path)) is not None]
    return sorted(found, key=lambda item: item.step)


def _deletable(found: list[_Checkpoint], *, best: bool) -> list[_Checkpoint]:
    """Return what may be deleted for a new file, in this order; one whole file always stays.

    A new best model replaces the old one. A checkpoint never replaces the best model, which cannot be trained
    again.
    """
    bests = [item for item in found if item.best]
    checkpoints = [item for item in found if not item.best]
    order = [*bests[:-1], *checkpoints[:-1]]
    if bests and checkpoints:
        order.append(bests[-1] if best else checkpoints[-1])
    return order


class _Limited:
    """An open file that cannot grow beyond its room, if the size of a state was estimated too low."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self._room = room
        self.full = False

    def write(self, data: Any) -> Any:
        """Write, or fail as on a full disk."""
        self._room -= memoryview(data).nbytes
        if self._room < 0:
            self.full = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def size_of(state: Any) -> int:
    """Estimate the bytes of a state once it is saved; each of its storages counts once."""
    storages: dict[int, int] = {}
    tensors = 0
    pending = [state]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            pending += item.values()
        elif isinstance(item, list | tuple | set | frozenset):
            pending += item
        elif hasattr(item, "untyped_storage"):
            tensors += 1
            storage = item.untyped_storage()
            storages[storage.data_ptr() or id(item)] = storage.nbytes()
    return sum(storages.values()) + _BYTES_PER_TENSOR * tensors + _BYTES_PER_FILE


def _bytes_of(path: Path) -> int:
    with contextlib.suppress(OSError):
        status = path.lstat()
        return status.st_size
    return 0


def link_best_model(
    original: Callable[..., None], files: Any, source: Any, target: Any, *args: Any, **kwargs: Any
) -> None:
    """Hook of the local file system's `copy`: the trainer's copy of its best model becomes a link.

    The trainer (0.4.0) copies each best model, of up to a gigabyte, to best_model.pth. A script may read that
    name in the same session. Kaggle leaves links out of a kernel's outputs, which have the numbered file.
    """
    model, link = Path(str(source)), Path(str(target))
    if link.name != BEST_MODEL_LINK or not _NUMBERED.match(model.name) or model.parent != link.parent:
        original(files, source, target, *args, **kwargs)
        return
    part = link.with_name(f"{OWN_PREFIX}{BEST_MODEL_LINK}.link")
    with contextlib.suppress(OSError):  # A disk without links does without it.
        part.unlink(missing_ok=True)
        part.symlink_to(model.name)
        part.replace(link)
