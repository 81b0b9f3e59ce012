"""The packages that an interpreter has, without importing any, and datasets of wheels to install from."""

import contextlib
import csv
import functools
import importlib.metadata
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.settings import InstallSettings
from kernel_template.start.mounts import find_mounts

_DIST_INFO = ".dist-info"
_ASKS_FOR_PHONEMES = re.compile(r"""\buse_phonemes["']?\s*[=:]\s*True\b""")
_NAMES_PHONEMIZER = re.compile(r"""\bphonemizer["']?\s*[=:]\s*["'](\w+)["']""")
_ESPEAK = ("espeakng-loader>=0.2.4",)
_BY_ESPEAK = ("espeak", "multi_phonemizer")
_BANGLA_PHONEMIZER = ("bangla", "bnnumerizer", "bnunicodenormalizer")  # coqui-tts[bn]
_COQUI = frozenset({"coqui-tts", "tts"})


@dataclass(frozen=True, slots=True)
class Installed:
    """An installed distribution."""

    name: str
    version: str
    folder: Path

    @property
    def size(self) -> int:
        """The size of its files in bytes, by its own RECORD; 0 if it has none."""
        try:
            with (self.folder / "RECORD").open(encoding="utf-8", newline="") as file:
                return sum(int(row[2]) for row in csv.reader(file) if len(row) > 2 and row[2].isdecimal())  # noqa: PLR2004 - path, hash, size.
        except (OSError, ValueError, csv.Error):
            return 0


class SitePackages:
    """The distributions in the folders that an interpreter imports from.

    Names and versions come from the names of the `.dist-info` folders, whose form the wheel format fixes:
    listing a thousand packages takes milliseconds, while reading the metadata of each takes seconds.

    Args:
        folders: where to look; None for this interpreter's `sys.path`.
    """

    def __init__(self, folders: tuple[Path, ...] | None = None) -> None:
        self._folders = folders

    def found(self) -> dict[str, Installed]:
        """The distributions by normalised name; of two with one name the first, which Python imports."""
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
        """The versions of those of `names` that are installed, by the names as given."""
        found = self.found()
        return {name: found[key].version for name in names if (key := normal_name(name)) in found}


def normal_name(name: str) -> str:
    """Normalise a distribution's name as the package index does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required_name(requirement: str) -> str:
    """The normalised name of the distribution in a requirement such as `onnx>=1.16`."""
    return normal_name(re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0])


def unsatisfied(requirements: Sequence[str], there: Mapping[str, Installed]) -> list[str]:
    """Return those of `requirements` that are missing or installed in another release.

    Coqui itself may come from elsewhere than a distribution; that it can be imported is enough.
    """
    try:
        from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - not everywhere.
    except ImportError:
        return [item for item in requirements if required_name(item) not in {*there, *_COQUI}]
    found = []
    for item in requirements:
        installed = there.get(required_name(item))
        if installed is None:
            if required_name(item) not in _COQUI:
                found.append(item)
            continue
        with contextlib.suppress(InvalidRequirement):  # An address: it is there under its name.
            if not Requirement(item).specifier.contains(installed.version, prereleases=True):
                found.append(item)
    return found


def lacks(installed: Installed, there: Mapping[str, Installed]) -> list[str]:
    """Return what an installed distribution needs by its own metadata, and what is not there in that release.

    An image that fixes one package after it has installed others may have such. With protobuf 5.29, for
    example, onnx 1.23 cannot be imported.
    """
    try:
        from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - as above.
    except ImportError:
        return []
    needed = []
    with contextlib.suppress(InvalidRequirement, OSError):
        for text in importlib.metadata.Distribution.at(installed.folder).requires or ():
            marker = Requirement(text).marker
            if marker is None or marker.evaluate({"extra": ""}):
                needed.append(text.partition(";")[0].strip())
    return unsatisfied(needed, there)


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    """A mounted dataset of wheels: the folders that hold them, their number, and their size in bytes."""

    source: str
    folders: tuple[Path, ...]
    count: int
    size: int


def find_wheels(root: Path, source: str) -> Wheelhouse | None:
    """Find the wheels and source archives in a dataset; None if it is not mounted."""
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


def phonemizer_packages(config: Mapping[str, Any], script: str = "", *, has_espeak: bool) -> tuple[str, ...]:
    """Return what makes the phonemes of a training; empty for voices of letters.

    Args:
        config: Coqui's configuration.
        script: the text of the training script, which may ask for phonemes by itself.
        has_espeak: whether eSpeak NG is installed as a program, which Kaggle's image has not.
    """
    phonemizer = config.get("phonemizer")
    if _ASKS_FOR_PHONEMES.search(script):
        named = _NAMES_PHONEMIZER.search(script)
        phonemizer = named[1] if named else phonemizer
    elif not config.get("use_phonemes"):
        return ()
    phonemizer = phonemizer or "espeak"
    if phonemizer == "bn_phonemizer":
        return _BANGLA_PHONEMIZER
    return _ESPEAK if phonemizer in _BY_ESPEAK and not has_espeak else ()


def wheelhouse_finder(settings: InstallSettings, root: Path) -> Callable[[], Wheelhouse | None] | None:
    """A function that finds the wheelhouse of the settings below `root`; None if they name none."""
    source = settings["wheelhouse"]
    return functools.partial(find_wheels, root, source) if source else None
