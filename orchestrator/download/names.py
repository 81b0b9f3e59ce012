"""Which file names of a server may be written: the guard between a hostile listing and this disk.

Nearly all rules are the same on every system, so that results can be copied from Linux to Windows.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from kernel_template.contract import OWN_PREFIX
from orchestrator.models import OutputFile

_LONGEST_PART = 255  # Bytes: NAME_MAX of Linux and macOS.
_LONGEST_NAME = 1024  # Bytes: no object of Google's storage has a longer name.
# Control characters of both kinds and the marks that change the direction of writing (terminals obey them),
# line separators, lone surrogates (no file system takes them), and what Windows reads as a path or a drive.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\\:]")
_NOT_ON_WINDOWS = re.compile(r'[*?"<>|]')
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:\..*)?", re.IGNORECASE)
_JUNCTION = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT: Windows' links between folders.


class UnsafeNameError(ValueError):
    """A server gave a file name that would leave the target folder, or that some file system cannot hold.

    Attributes:
        reason: what is wrong with it, as the end of "it …".
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name if len(name) <= _LONGEST_PART else name[:40] + '…'!r} {reason}")
        self.reason = reason


class Refused(NamedTuple):
    """A name of the listing that is not written, and the reason: "it …"."""

    name: str
    reason: str


def safe_name(name: str, *, on_windows: bool = os.name == "nt") -> PurePosixPath:
    """Return the relative path that a server's file name stands for.

    Args:
        name: the name as the server gives it.
        on_windows: whether the file will be written on Windows, which takes no quotes or wildcards.

    Raises:
        UnsafeNameError: the name is refused.
    """
    path = PurePosixPath(name)
    parts = path.parts
    faults = (
        (not parts, "is empty"),
        (_UNSAFE.search(name), "contains a control character, a backslash or a colon"),
        (
            on_windows and _NOT_ON_WINDOWS.search(name),
            'contains one of * ? " < > |, which Windows does not allow',
        ),
        (path.is_absolute() or ".." in parts, "leads out of the folder"),
        (_bytes(name) > _LONGEST_NAME, f"is longer than {_LONGEST_NAME} bytes"),
        (any(_bytes(part) > _LONGEST_PART for part in parts), f"has a part of over {_LONGEST_PART} bytes"),
        # Windows drops them, which makes it another name.
        (any(part.endswith((".", " ")) for part in parts), "has a part that ends in a dot or a space"),
        (any(map(_DEVICE.fullmatch, parts)), "is a device name on Windows"),
        (any(part.casefold().startswith(OWN_PREFIX) for part in parts), "is a name that kgtts uses itself"),
    )
    for is_wrong, reason in faults:
        if is_wrong:
            raise UnsafeNameError(name, reason)
    return path


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def collision_key(path: PurePosixPath) -> str:
    """Return what two names share if a file system without case or Unicode forms takes them for one.

    This is Unicode's canonical caseless match (The Unicode Standard, definition D145).
    """
    text = unicodedata.normalize("NFD", path.as_posix())
    return unicodedata.normalize("NFD", text.casefold())


def sort_out(
    files: Iterable[OutputFile], target: Path
) -> tuple[dict[PurePosixPath, OutputFile], list[Refused]]:
    """Divide a listing into files that can be written below `target` and refused names.

    If several names collide, the first one is written.
    """
    wanted: dict[PurePosixPath, OutputFile] = {}
    refused: list[Refused] = []
    taken: dict[str, str] = {}  # Files, and folders with a slash behind them, that names of the listing need.
    for file in files:
        try:
            path = safe_name(file.name)
        except UnsafeNameError as error:
            refused.append(Refused(file.name, error.reason))
            continue
        key, *above = [collision_key(part) for part in (path, *path.parents)][:-1]
        if other := next((taken[one] for one in (key, f"{key}/", *above) if one in taken), None):
            refused.append(Refused(file.name, f"collides with {other!r}"))
        elif link := link_below(target, path):
            refused.append(Refused(file.name, f"would be written through the link {link}"))
        else:
            taken |= dict.fromkeys([key, *(f"{folder}/" for folder in above)], file.name)
            wanted[path] = file
    return wanted, refused


def link_below(target: Path, path: PurePosixPath) -> Path | None:
    """Return the first link on the way from `target` to `path`, or None; `target` itself may be a link."""
    place = target
    for part in path.parts:
        place /= part
        try:
            found = place.lstat()
        except OSError:
            return None  # Nothing is there, so nothing is below it either.
        if stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) == _JUNCTION:
            return place
    return None
