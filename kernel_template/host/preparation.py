"""What a script does before it makes its Trainer, in a process that only joins the training.

Many scripts first copy, unpack or resample their data into /kaggle/working. Rank 0 has done all of it when
the other ranks run the script: what is there already is not made again, and nothing is deleted.
"""

import contextlib
import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _there(path: Any) -> bool:
    return isinstance(path, str | os.PathLike) and os.path.lexists(path)


def _copy(original: Callable[..., Any], source: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
    """Copy, unless it has been copied."""
    place = target
    if original is not shutil.copytree and _there(target) and Path(target).is_dir():
        place = Path(target) / Path(source).name
    return place if _there(place) else original(source, target, *args, **kwargs)


def _move(original: Callable[..., Any], source: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
    """Move, unless it has been moved."""
    if not _there(source) and _there(target):
        return target
    return original(source, target, *args, **kwargs)


def _make(original: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> None:
    """Make a folder, unless it is there."""
    with contextlib.suppress(FileExistsError):
        original(path, *args, **kwargs)


def _remove(original: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> None:
    """Delete nothing: rank 0 has deleted what was old, and what is there now is new."""


def _unpack(
    original: Callable[..., Any], archive: Any, target: Any = None, *args: Any, **kwargs: Any
) -> None:
    """Unpack, unless there is something in that folder."""
    place = Path(target) if target is not None else Path()
    if not (place.is_dir() and any(place.iterdir())):
        original(archive, target, *args, **kwargs)


_HOOKS: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    (shutil, "copytree", _copy),
    (shutil, "copy", _copy),
    (shutil, "copy2", _copy),
    (shutil, "copyfile", _copy),
    (shutil, "move", _move),
    (shutil, "rmtree", _remove),
    (shutil, "unpack_archive", _unpack),
    (os, "mkdir", _make),
    (os, "rename", _move),
)


class AlreadyPrepared:
    """Skips what rank 0 has done, from `begin` to `end`."""

    def __init__(self) -> None:
        self._originals: list[tuple[Any, str, Any]] = []

    def begin(self) -> None:
        """Replace the functions that make, move and delete files."""
        self._originals = [(owner, name, getattr(owner, name)) for owner, name, _ in _HOOKS]
        for owner, name, hook in _HOOKS:
            original = getattr(owner, name)
            setattr(owner, name, functools.wraps(original)(functools.partial(hook, original)))

    def end(self) -> None:
        """Put the functions back."""
        for owner, name, original in self._originals:
            setattr(owner, name, original)
        self._originals = []
