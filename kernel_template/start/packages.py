"""Which packages an interpreter has, told by their folders: nothing is imported; and folders of wheels."""

import csv
import functools
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.start.mounts import find_mounts

_DIST_INFO = ".dist-info"


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed distribution."""

    name: str
    version: str
    folder: Path

    @property
    def size(self) -> int:
        """Bytes of its files by its own record; 0 when it has none."""
        try:
            with (self.folder / "RECORD").open(encoding="utf-8", newline="") as file:
                return sum(int(row[2]) for row in csv.reader(file) if len(row) > 2 and row[2].isdecimal())  # noqa: PLR2004 - path, hash, size.
        except (OSError, ValueError, csv.Error):
            return 0


class SitePackages:
    """The distributions in the folders that an interpreter imports from.

    Names and versions are those of the `.dist-info` folders' names (the wheel format's own rule): a thousand
    packages are told in milliseconds, where reading the metadata of each takes seconds.

    Args:
        folders: where to look; None for this interpreter's `sys.path`.
    """

    def __init__(self, folders: tuple[Path, ...] | None = None) -> None:
        self._folders = folders

    def found(self) -> dict[str, Installed]:
        """By normalised name; of two with the same name the first is the one that is imported."""
        folders = self._folders if self._folders is not None else tuple(Path(item) for item in sys.path)
        found: dict[str, Installed] = {}
        for folder in folders:
            try:
                entries = list(folder.iterdir())
            except OSError:
                continue
            for entry in entries:
                if entry.name.endswith(_DIST_INFO):
                    name, _, version = entry.name.removesuffix(_DIST_INFO).partition("-")
                    name = normal_name(name)
                    found.setdefault(name, Installed(name, version, entry))
        return found

    def versions(self, names: tuple[str, ...]) -> dict[str, str]:
        """The versions of those of `names` that are installed, under the names as given."""
        found = self.found()
        return {name: found[key].version for name in names if (key := normal_name(name)) in found}


def normal_name(name: str) -> str:
    """A distribution's name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required_name(requirement: str) -> str:
    """The distribution that a requirement such as `onnx>=1.16` names, normalised."""
    return normal_name(re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0])


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    """A mounted dataset of wheels: the folders that hold them, how many, and their bytes."""

    source: str
    folders: tuple[Path, ...]
    count: int
    size: int


def find_wheels(root: Path, source: str) -> Wheelhouse | None:
    """The wheels (and source archives) in a dataset; None when it is not mounted."""
    mounts = find_mounts(root, "datasets", source)
    if not mounts:
        return None
    folders: dict[Path, None] = {}
    count = size = 0
    for folder, subfolders, names in os.walk(mounts[0].path):
        subfolders.sort()
        for name in sorted(names):
            if name.endswith((".whl", ".tar.gz")):
                folders[Path(folder)] = None
                count += 1
                size += Path(folder, name).stat().st_size
    return Wheelhouse(source, tuple(folders), count, size)


def wheelhouse_of(settings: Mapping[str, Any], root: Path) -> Callable[[], Wheelhouse | None] | None:
    """What finds the wheels of the kernel's settings below `root`; None where they name none."""
    source = settings["install"].get("wheelhouse")
    return functools.partial(find_wheels, root, str(source)) if source else None
