"""Which file names of a server may be written here: the guard between a hostile listing and this disk."""

import contextlib
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.models import OutputFile

OWN_PREFIX = ".kgtts-"  # Every file that kgtts keeps for itself in a folder of results.
INDEX_NAME = ".kgtts-pull.json"
_LONGEST_PART = 255  # Bytes: NAME_MAX of Linux and macOS.
_LONGEST_NAME = 1024  # Bytes: no object of Google's storage has a longer one.
# Control characters of both kinds and the marks that turn the direction of writing (terminals obey them),
# what breaks lines, lone surrogates (no file system takes them), and what Windows reads as a path.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\\:]")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:\..*)?", re.IGNORECASE)


class UnsafeNameError(ValueError):
    """A server gave a file name that would leave the target folder or trouble a file system.

    Attributes:
        reason: what is wrong with it, as the end of "it …".
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r} {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Refused:
    """A name of the listing that is not written here, and why: "it …"."""

    name: str
    reason: str


def safe_name(name: str) -> PurePosixPath:
    """The relative path that a server's file name stands for.

    Raises:
        UnsafeNameError: it is absolute, has `..`, backslashes, a drive letter or control characters, is too
            long, ends in a dot or a space, is a device of Windows, or a file of kgtts itself.
    """
    path = PurePosixPath(name)
    if not name or not path.parts:
        raise UnsafeNameError(name, "is empty")
    if _UNSAFE.search(name):
        raise UnsafeNameError(name, "has a control character, a backslash or a colon")
    if path.is_absolute() or ".." in path.parts:
        raise UnsafeNameError(name, "leads out of the folder")
    if len(name.encode()) > _LONGEST_NAME:
        raise UnsafeNameError(name[:40] + "…", f"is longer than {_LONGEST_NAME} bytes")
    for part in path.parts:
        _check_part(name, part)
    return path


def _check_part(name: str, part: str) -> None:
    if len(part.encode()) > _LONGEST_PART:
        raise UnsafeNameError(name[:40] + "…", f"has a part of more than {_LONGEST_PART} bytes")
    if part.endswith((".", " ")):  # Windows drops them: the file would be another one.
        raise UnsafeNameError(name, "has a part that ends in a dot or a space")
    if _DEVICE.fullmatch(part):
        raise UnsafeNameError(name, "is a device of Windows")
    if part.casefold().startswith(OWN_PREFIX):
        raise UnsafeNameError(name, "is a name that kgtts keeps for itself")


def collision_key(path: PurePosixPath) -> str:
    """What two names share that are one on a file system without case, or with Unicode's normal forms.

    That is Unicode's canonical caseless match (The Unicode Standard, definition D145).
    """
    text = unicodedata.normalize("NFD", path.as_posix())
    return unicodedata.normalize("NFD", text.casefold())


def sort_out(
    files: Iterable[OutputFile], target: Path
) -> tuple[dict[PurePosixPath, OutputFile], list[Refused]]:
    """The files that can be written below `target`, and those that cannot; of colliding ones, the first."""
    wanted: dict[PurePosixPath, OutputFile] = {}
    refused: list[Refused] = []
    taken: dict[str, str] = {}
    folders: dict[str, str] = {}
    for file in files:
        try:
            path = safe_name(file.name)
        except UnsafeNameError as error:
            refused.append(Refused(file.name, error.reason))
            continue
        key = collision_key(path)
        above = [collision_key(parent) for parent in path.parents][:-1]
        other = (
            taken.get(key) or folders.get(key) or next((taken[one] for one in above if one in taken), None)
        )
        if other is not None:
            refused.append(Refused(file.name, f"collides with {other!r}"))
        elif link := link_below(target, path):
            refused.append(Refused(file.name, f"would be written through the link {link}"))
        else:
            taken[key] = file.name
            folders |= dict.fromkeys(above, file.name)
            wanted[path] = file
    return wanted, refused


def link_below(target: Path, path: PurePosixPath) -> Path | None:
    """The first symbolic link on the way from `target` to `path`, if there is one; `target` may be one."""
    place = target
    for part in path.parts:
        place /= part
        if place.is_symlink():
            return place
    return None


def open_folder(target: Path, folder: PurePosixPath) -> int:
    """Make and open `folder` below `target`; no link below `target` is followed, whoever puts it there.

    Returns:
        A file descriptor for the `dir_fd` of further calls; the caller closes it.

    Raises:
        OSError: a link or a file is in the way, or there is no permission.
    """
    target.mkdir(parents=True, exist_ok=True)
    here = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    for part in folder.parts:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=here)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here
