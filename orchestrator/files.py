"""Write files completely or not at all, remove trees whatever their modes, and tell what is there."""

import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import LocalError

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP}
_ABSENT_ON_WINDOWS = {21, 123, 1921}  # An empty drive, a name that no file can have, a link to nowhere.
_HELD_FOR_S = (0.05, 0.1, 0.2, 0.4, 0.8)  # Between tries to rename what another program holds.
_LONGEST_STEM = 200  # In bytes; file systems take names of 255.


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that replaces it when the block ends; until then `path` stays.

    The file gets the permissions that the user's umask gives to any new file.

    Raises:
        LocalError: the folder cannot be written to, or is full.
    """
    stem = path.name.encode()[:_LONGEST_STEM].decode(errors="ignore")
    temporary = path.with_name(f".{stem}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file
            rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LocalError(f"Could not write {path}: {error.strerror or error}.") from error


def rename(source: Path, target: Path, sleep: Callable[[float], None] = time.sleep) -> None:
    """Rename a file or folder over another.

    On Windows a virus scanner, the search index or OneDrive may hold either of them for some milliseconds: of
    4,000 renames, 155 to 171 were refused (zarr-developers/zarr-python #4358).

    Raises:
        OSError: it cannot be replaced.
    """
    for wait in _HELD_FOR_S:
        try:
            source.replace(target)
        except PermissionError as error:
            if getattr(error, "winerror", None) is None:
                raise  # Elsewhere it stays refused.
            sleep(wait)
        else:
            return
    source.replace(target)


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader finds the old file or the new one, never a part.

    Raises:
        LocalError: as `replacing`.
    """
    with replacing(path) as file:
        file.write(text.encode())


def is_there(path: Path) -> bool:
    """Whether a path exists; from Python 3.14 on, `Path.exists` and its like say no even if they cannot tell.

    Raises:
        OSError: it cannot be found out, for example because its folder may not be entered.
    """
    try:
        path.stat()
    except ValueError:  # A NUL byte, which no name has.
        return False
    except OSError as error:
        if error.errno in _ABSENT or getattr(error, "winerror", None) in _ABSENT_ON_WINDOWS:
            return False
        raise
    return True


def home_folder() -> Path:
    """Give the user's home.

    Raises:
        LocalError: they have none, like a user in a container who is only a number.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise LocalError("This user has no home folder.", hint="set HOME to one") from error


def expanded(text: str) -> Path:
    """Return a path with `~` or `~NAME` replaced by that home; as in a shell, only if there is one."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path's raises for such a name.


def make_writable(folder: Path) -> None:
    """Give the owner access to everything below `folder`: a script may have left any mode."""
    folder.chmod(folder.stat().st_mode | stat.S_IRWXU)
    for current, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(current, name)
            if not path.is_symlink():
                needed = stat.S_IRWXU if path.is_dir() else stat.S_IRUSR | stat.S_IWUSR
                path.chmod(path.stat().st_mode | needed)


def remove_tree(folder: Path) -> None:
    """Remove a folder and everything in it, read-only or not; do nothing if it is missing."""
    if folder.is_dir() and not folder.is_symlink():
        make_writable(folder)
        shutil.rmtree(folder)
