"""File work for the emulator's folder: safe names, atomic writes, whole trees."""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

PRIVATE_MODE = 0o600
_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
# Control characters, lone surrogates, and everything that some system reads as part of a path.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\:]")
_NAME_MAX = 255


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file below a folder: its path there, with slashes, and its size in bytes."""

    name: str
    size: int


def is_safe_name(name: str) -> bool:
    """Whether an untrusted name (owner, slug, token) may become one component of a path."""
    return _COMPONENT.fullmatch(name) is not None


def is_file_name(name: str) -> bool:
    """Whether an untrusted name, in any script, may become the name of a file."""
    return name not in ("", ".", "..") and _UNSAFE.search(name) is None and len(name.encode()) <= _NAME_MAX


def write_bytes_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write `content` beside `path` with the given permissions, and rename it into place.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def list_files(folder: Path) -> list[FileEntry]:
    """Every file below `folder`, sorted by name."""
    return sorted(
        (
            FileEntry(path.relative_to(folder).as_posix(), path.stat().st_size)
            for current, _, files in os.walk(folder)
            for path in (Path(current, name) for name in files)
            if path.is_file()
        ),
        key=lambda entry: entry.name,
    )


def copy_read_only(source: Path, target: Path) -> None:
    """Copy a folder, following symlinks, and make the copy read-only.

    A hard link would share mode and content with the user's own file. A copy costs disk space and time, but
    no script can damage the original through it.
    """
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for current, _, files in os.walk(target, topdown=False):
        for name in files:
            Path(current, name).chmod(0o444)
        Path(current).chmod(0o555)
