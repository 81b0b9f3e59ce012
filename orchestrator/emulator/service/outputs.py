"""What a session leaves: the files of /kaggle/working, without symlinks and empty folders, hashed once."""

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
from pydantic import TypeAdapter

from orchestrator.emulator.service.store import VersionPaths, write_atomically
from orchestrator.emulator.service.trees import make_writable, remove_tree

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Output:
    """One file: its path below the output folder, bytes, and base64 hashes as Google's storage gives them."""

    name: str
    size: int
    md5: str
    crc32c: str


_INDEX = TypeAdapter(tuple[Output, ...])


def _hashed(path: Path, name: str) -> Output:
    md5 = hashlib.md5(usedforsecurity=False)
    crc = google_crc32c.Checksum()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            md5.update(chunk)
            crc.update(chunk)
            size += len(chunk)
    return Output(
        name, size, base64.b64encode(md5.digest()).decode(), base64.b64encode(crc.digest()).decode()
    )


def _tidy(folder: Path) -> list[str]:
    """Drop what Kaggle drops (symlinks, empty folders, sockets and the like); returns the names that stay.

    A name that Google's storage does not take, not UTF-8 or of several lines, is dropped as well `[?]`.
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
    """Move a session's working folder to its version's outputs and index them."""
    make_writable(working)
    names = _tidy(working)
    remove_tree(paths.output)
    working.rename(paths.output)
    index = tuple(_hashed(paths.output / name, name) for name in names)
    write_atomically(paths.index, _INDEX.dump_json(index))


def read_outputs(paths: VersionPaths) -> tuple[Output, ...]:
    """The outputs of a version, by name; none while it runs or where none were kept."""
    return _INDEX.validate_json(paths.index.read_bytes()) if paths.index.exists() else ()
