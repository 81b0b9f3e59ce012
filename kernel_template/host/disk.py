"""The disk as a budget: the room is known before each save, and the outputs never pass their limit.

A checkpoint is written beside the others and takes its name once it is whole, so for a moment there is one
more than stays. Old ones go before it is begun where that is needed, and never the last whole one: whatever
happens while it is written, there is something to go on from. The trainer's own housekeeping (0.4.0: only
after a save, by number alone) goes on with the same number of checkpoints.

Nothing here needs torch.
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

_NUMBERED = re.compile(r"^(checkpoint|best_model)_(\d+)\.pth$")
_SHORTCUT = "best_model.pth"  # The trainer's second copy of the best model.
_MARGIN_SHARE = 0.01  # Of the limit, for logs that grow while a checkpoint is written.
_MARGIN_MOST = 64_000_000
_PER_TENSOR = 512  # What the archive adds to each: its header, padding, and entry in the directory.
_PER_FILE = 256_000  # Configuration, names and the record.


class DiskLimitError(OSError):
    """What is to be written does not fit, even with all that may go gone."""

    def __init__(self, sentence: str) -> None:
        super().__init__(errno.ENOSPC, sentence)


@dataclass(frozen=True, slots=True)
class _File:
    """A whole checkpoint of the run folder."""

    path: Path
    best: bool
    step: int
    size: int


class DiskBudget:
    """Makes room for checkpoints below the limit of the outputs.

    Args:
        settings: the `disk` section: `limit_bytes`, and `folder`, whose files count.
        say: tells the log.
        warn: tells the log and the kernel.
        free: bytes that the disk has left.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        say: Callable[[str], None],
        warn: Callable[[str], None],
        free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        folder, limit = settings.get("folder"), settings.get("limit_bytes")
        self._folder = Path(folder) if folder and limit else None
        self._limit = int(limit or 0)
        self._keep = int(settings.get("keep_checkpoints") or 0)
        self._say = say
        self._warn = warn
        self._free = free
        self._warned: set[str] = set()

    def keep(self, config: Any) -> None:
        """Let the trainer keep as many checkpoints as are asked for, rather than its own five."""
        if self._keep and hasattr(config, "save_n_checkpoints"):
            config.save_n_checkpoints = self._keep

    def begin(self, weights: int, checkpoint: int) -> None:
        """Look, before hours are spent, whether a checkpoint will fit at all.

        Args:
            weights: bytes of the weights alone, which every checkpoint has.
            checkpoint: bytes that one is expected to have.

        Raises:
            DiskLimitError: there cannot be room for one.
        """
        if self._folder is None:
            return
        room = self._room()
        if weights > room:
            raise self._too_small("A checkpoint", weights, room)
        held = max((file.size for file in self._all_files()), default=0)
        if checkpoint > room or (not held and 2 * checkpoint > room):
            self._warn_once(
                f"A checkpoint will have about {_size(checkpoint)}, and a new one is written before the last "
                f"one goes: with {_size(max(room, 0))} left of the {_size(self._limit)} that the outputs may "
                "take, the second may not fit. Raise session.disk_limit."
            )

    @contextlib.contextmanager
    def saving(self, path: Path, state: Any) -> Iterator[Callable[[Any], Any]]:
        """Make room for `state` at `path`; gives what to put around the file that it is written to.

        Raises:
            DiskLimitError: it does not fit. Nothing was removed then, or nothing but what had to go for it.
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
        """Remove what may go until `needed` bytes fit for a file at `path`. Returns the bytes that do.

        Raises:
            DiskLimitError: they cannot; nothing is removed.
        """
        room = self._room()
        for stray in self._strays():
            if needed <= room:
                return room
            with contextlib.suppress(OSError):
                size = stray.lstat().st_size
                stray.unlink()
                room += size
        files = self._files(path.parent, but=path)
        going, coming = [], room
        for file in _victims(files, best=path.name.startswith("best_model")):
            if needed <= coming:
                break
            going.append(file)
            coming += file.size
        if needed > coming:
            raise self._too_small(path.name, needed, coming)
        for file in going:
            self._remove(file, path, needed)
        if going and len(files) - len(going) < min(self._keep, len(files)):
            self._warn_once(
                f"{_size(self._limit)} hold fewer checkpoints of {_size(needed)} than "
                f"session.keep_checkpoints = {self._keep} asks for: older ones make room for new ones."
            )
        return self._room() if going else room

    def _remove(self, file: _File, path: Path, needed: int) -> None:
        self._say(f"{file.path.name} ({_size(file.size)}) makes room for {path.name} ({_size(needed)})")
        if file.best:
            shortcut = file.path.with_name(_SHORTCUT)
            if shortcut.is_symlink():
                shortcut.unlink(missing_ok=True)
        file.path.unlink(missing_ok=True)

    def _room(self) -> int:
        """Bytes that may be written now."""
        assert self._folder is not None
        used = sum(_bytes_of(path) for path in self._walk())
        margin = int(min(self._limit * _MARGIN_SHARE, _MARGIN_MOST))
        return min(self._limit - used, self._free(self._folder)) - margin

    def _walk(self) -> Iterator[Path]:
        assert self._folder is not None
        for folder, _, names in os.walk(self._folder):
            yield from (Path(folder, name) for name in names)

    def _strays(self) -> list[Path]:
        """Halves of checkpoints whose writer was killed."""
        return [
            path
            for path in self._walk()
            if path.name.startswith(".kgtts-") and path.name.endswith(".pth.part") and not path.is_symlink()
        ]

    def _all_files(self) -> list[_File]:
        folders = {path.parent for path in self._walk() if _NUMBERED.match(path.name)}
        return [file for folder in folders for file in self._files(folder)]

    @staticmethod
    def _files(folder: Path, but: Path | None = None) -> list[_File]:
        found = []
        for path in folder.iterdir() if folder.is_dir() else ():
            match = _NUMBERED.match(path.name)
            if match and path != but and path.is_file() and not path.is_symlink():
                found.append(_File(path, match[1] == "best_model", int(match[2]), _bytes_of(path)))
        return sorted(found, key=lambda file: file.step)

    def _too_small(self, what: str, needed: int, room: int) -> DiskLimitError:
        return DiskLimitError(
            f"{what} needs {_size(needed)}, and of the {_size(self._limit)} that the outputs may take (and "
            f"the disk has) only {_size(max(room, 0))} can be free for it; what was saved before stays. "
            "Raise session.disk_limit, or let the script leave fewer other files"
        )

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)


def _victims(files: list[_File], *, best: bool) -> list[_File]:
    """What may go for a new file, in this order: one whole file always stays.

    A new best model takes the place of the old one; a checkpoint never that of the best model, which cannot
    be trained again.
    """
    bests = [file for file in files if file.best]
    checkpoints = [file for file in files if not file.best]
    order = [*bests[:-1], *checkpoints[:-1]]
    if bests and checkpoints:
        order.append(bests[-1] if best else checkpoints[-1])
    return order


class _Limited:
    """A file that takes no more than so many bytes; what was expected of a state may have been too little."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self._room = room
        self.full = False

    def write(self, data: Any) -> Any:
        """Write, or fail as a full disk does."""
        self._room -= memoryview(data).nbytes
        if self._room < 0:
            self.full = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def size_of(state: Any) -> int:
    """Bytes that a state will have once it is saved; each of its storages counts once."""
    storages: dict[int, int] = {}
    tensors = 0
    waiting = [state]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            waiting += item.values()
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += item
        elif hasattr(item, "untyped_storage"):
            tensors += 1
            storage = item.untyped_storage()
            storages[storage.data_ptr() or id(item)] = storage.nbytes()
    return sum(storages.values()) + _PER_TENSOR * tensors + _PER_FILE


def _bytes_of(path: Path) -> int:
    with contextlib.suppress(OSError):
        status = path.lstat()
        return status.st_size
    return 0


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"  # noqa: PLR2004 - a gigabyte.
