"""The outputs of a session: the files of /kaggle/working without symlinks and empty folders, hashed once."""

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
from pydantic import TypeAdapter

from orchestrator.emulator.service.files import write_bytes_atomically
from orchestrator.emulator.service.state import VersionPaths
from orchestrator.files import make_writable, remove_tree

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """One file: its path below the output folder, its size in bytes, and its hashes in base64."""

    name: str
    size: int
    md5: str
    crc32c: str


_INDEX = TypeAdapter(tuple[StoredOutput, ...])


def _hashed(path: Path, name: str) -> StoredOutput:
    md5 = hashlib.md5(usedforsecurity=False)
    crc = google_crc32c.Checksum()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            md5.update(chunk)
            crc.update(chunk)
            size += len(chunk)
    return StoredOutput(
        name, size, base64.b64encode(md5.digest()).decode(), base64.b64encode(crc.digest()).decode()
    )


def _drop_unkept(folder: Path) -> list[str]:
    """Delete what Kaggle drops (symlinks, empty folders, sockets); return the names that remain.

    Names that Google's storage does not accept (not UTF-8, or with line breaks) are deleted as well `[?]`.
    """
    names = []
    for current, folders, files in os.walk(folder, topdown=False):
        for name in files + folders:
            path = Path(current, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                path.unlink()
            elif path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif _is_storable(name):
                names.append(path.relative_to(folder).as_posix())
            else:
                path.unlink()
    return sorted(names)


def _is_storable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not {"\r", "\n"} & set(name)


def keep_outputs(working: Path, paths: VersionPaths) -> None:
    """Move a session's working folder to the outputs of its version, and index them.

    Raises:
        OSError: the disk is full, or the folder cannot be moved.
    """
    make_writable(working)
    names = _drop_unkept(working)
    remove_tree(paths.output)
    working.rename(paths.output)
    index = tuple(_hashed(paths.output / name, name) for name in names)
    write_bytes_atomically(paths.index, _INDEX.dump_json(index))


def read_outputs(paths: VersionPaths) -> tuple[StoredOutput, ...]:
    """The outputs of a version, sorted by name; none while it runs or if none were kept."""
    return _INDEX.validate_json(paths.index.read_bytes()) if paths.index.exists() else ()
