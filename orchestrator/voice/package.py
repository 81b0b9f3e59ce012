"""A voice package: what people install. A folder or a ZIP archive, whose files a hash list names.

    voice.onnx        the model, with sherpa-onnx's metadata       voice.json       its description (card.py)
    tokens.txt        the vocabulary for sherpa-onnx               bangla.fst       text rules for sherpa-onnx
    voice.onnx.json   the description for Piper                    samples/01.wav   what it sounds like
    README.md, LICENSE.txt, curves.svg                             SHA256SUMS       a line for each other file

To load one: `with open_package(place) as package:` gives a verified copy in a folder, whatever `place` is;
`open_voice(package.card)` speaks with it. What is not in the hash list is not part of the package. The list
finds damage, not intent: trust a package as far as whoever gave it to you.
"""

import hashlib
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kernel_template.contract import VOICE_CARD
from orchestrator import untrusted
from orchestrator.errors import LocalError, UsageError
from orchestrator.files import replacing

HASHES = "SHA256SUMS"
_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_-]{0,40}/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,80}", re.ASCII)
# Windows opens a device by these names, whatever their ending, and drops a dot at the end. There and on macOS
# the hash list's name in any case is the hash list.
_RESERVED = re.compile(rf"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?|.*\.|{HASHES}", re.IGNORECASE)
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.{1,200})", re.ASCII)
_MOST_FILES = 200
_LARGEST_LIST = 64 * 1024
_LARGEST_MODEL, _LARGEST_OTHER = 2 << 30, 16 << 20
_CHUNK = 1 << 20
_TIME = (1980, 1, 1, 0, 0, 0)  # The same files make the same archive.


@dataclass(frozen=True, slots=True)
class Package:
    """A package whose files are verified.

    Attributes:
        folder: where they lie.
        files: each file's SHA-256 by its name; without the hash list.
        identity: the SHA-256 of the hash list, which stands for all of it.
    """

    folder: Path
    files: Mapping[str, str]
    identity: str

    @property
    def card(self) -> Path:
        """The description of the voice, for `open_voice`."""
        return self.folder / VOICE_CARD

    @property
    def about(self) -> "PackageAbout":
        """What its maker says of it."""
        told = untrusted.as_object(untrusted.as_object(untrusted.read_json_object(self.card)).get("package"))
        return PackageAbout(
            title=untrusted.one_line(told.get("title") or "voice", 100),
            licence=untrusted.text(told.get("licence"), 40),
        )

    @property
    def paths(self) -> dict[str, Path]:
        """All files by their names, with the hash list."""
        return {name: self.folder / name for name in (*sorted(self.files), HASHES)}


@dataclass(frozen=True, slots=True)
class PackageAbout:
    """What a package's maker says of it: a title, and the SPDX name of its licence or None."""

    title: str
    licence: str | None


def write_package(out: Path, files: Mapping[str, bytes]) -> str:
    """Write a package as a ZIP archive, completely or not at all; give its identity.

    The same files give the same archive: it has no times, and nothing is compressed, since the releases of
    zlib compress differently and weights hardly shrink.

    Raises:
        LocalError: it cannot be written.
    """
    listed = hash_list({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
    with replacing(out) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (*sorted(files.items()), (HASHES, listed)):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data)
    return hashlib.sha256(listed).hexdigest()


def hash_list(files: Mapping[str, str]) -> bytes:
    """Make the hash list, as `sha256sum --check` reads it."""
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(files.items())).encode()


def is_package(place: Path) -> bool:
    """Whether this looks like a package: a ZIP archive, or a folder with a hash list."""
    return (place / HASHES).is_file() if place.is_dir() else place.suffix.lower() == ".zip"


@contextmanager
def open_package(place: Path) -> Iterator[Package]:
    """Verify a package, and give a private copy of its files until the block ends.

    Args:
        place: the ZIP archive, or the folder that it was unpacked to.

    Raises:
        UsageError: it is no package, a file is missing or damaged, or it is not safe to unpack.
        LocalError: there is no room for the copy.
    """
    with tempfile.TemporaryDirectory(prefix="kgtts-voice-") as made:
        folder = Path(made)
        try:
            if place.is_dir():
                package = _copied(place, folder)
            else:
                with zipfile.ZipFile(place) as archive:
                    package = _unpacked(place, archive, folder)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise _refused(place, "it is not a ZIP archive, or a damaged one") from error
        except FileNotFoundError as error:
            raise _refused(place, f"{Path(error.filename or HASHES).name} is missing") from error
        except OSError as error:
            raise LocalError(f"{place} cannot be copied: {error.strerror or error}.") from error
        yield package


def _copied(place: Path, folder: Path) -> Package:
    data = _small(place / HASHES)
    files = _listed(place, data)
    for name, sha256 in files.items():
        source = place / name
        if source.is_symlink() or (source.exists() and not source.is_file()):
            raise _refused(place, f"{name} is not a plain file")
        with source.open("rb") as file:
            wrong = _take(file, folder / name, sha256, source.stat().st_size)
        if wrong is not None:
            raise _refused(place, wrong)
    (folder / HASHES).write_bytes(data)
    return Package(folder, files, hashlib.sha256(data).hexdigest())


def _unpacked(place: Path, archive: zipfile.ZipFile, folder: Path) -> Package:
    inside = _entries(place, archive)
    with archive.open(inside[HASHES]) as file:
        data = file.read(_LARGEST_LIST)
    files = _listed(place, data)
    for name in (*files, *inside):
        if name not in inside:
            raise _refused(place, f"{name} is missing")
        if name not in files and name != HASHES:
            raise _refused(place, f"{untrusted.file_name(name)} is not in {HASHES}")
    for name, sha256 in files.items():
        with archive.open(inside[name]) as packed:
            wrong = _take(packed, folder / name, sha256, inside[name].file_size)
        if wrong is not None:
            raise _refused(place, wrong)
    (folder / HASHES).write_bytes(data)
    return Package(folder, files, hashlib.sha256(data).hexdigest())


def _entries(place: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Give an archive's files by their names, without the folder that all of them may be in.

    Raises:
        UsageError: there is something in it that a package does not have.
    """
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(archive.infolist()) > 2 * _MOST_FILES:
        raise _refused(place, f"it has more than {_MOST_FILES} files")
    top = next((name.removesuffix(HASHES) for name in archive.namelist() if name.endswith(HASHES)), None)
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        shown, kind = untrusted.file_name(entry.filename), stat.S_IFMT(entry.external_attr >> 16)
        if top is None or not entry.filename.startswith(top):
            raise _refused(place, f"it has no {HASHES}" if top is None else f"{shown} is not in {HASHES}")
        name = entry.filename.removeprefix(top)
        if entry.flag_bits & 1 or kind not in (0, stat.S_IFREG) or name in found:
            raise _refused(place, f"{shown} is in it twice, encrypted, or no plain file")
        found[name] = entry
    if HASHES not in found or found[HASHES].file_size > _LARGEST_LIST:
        raise _refused(place, f"it has no {HASHES}, or one that is too large")
    return found


def _small(place: Path) -> bytes:
    with place.open("rb") as file:
        return file.read(_LARGEST_LIST)


def _listed(place: Path, data: bytes) -> dict[str, str]:
    """Read the hash list.

    Raises:
        UsageError: it is damaged, names a file twice, or one that is not safe, or no voice.
    """
    files: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise _refused(place, f"{HASHES} is damaged")
        sha256, name = match.groups()
        parts = name.split("/")
        if not _NAME.fullmatch(name) or any(_RESERVED.fullmatch(part) for part in parts):
            raise _refused(place, f"{untrusted.file_name(name)} is not a name that a package may have")
        files[name] = sha256
    if len({name.casefold() for name in files}) != len(data.splitlines()):
        raise _refused(place, f"{HASHES} names a file twice")
    if len(files) > _MOST_FILES:
        raise _refused(place, f"it has more than {_MOST_FILES} files")
    if VOICE_CARD not in files:
        raise _refused(place, f"it has no {VOICE_CARD}")
    return files


def _take(source: IO[bytes], target: Path, sha256: str, size: int) -> str | None:
    """Copy a file, and verify what was copied. Returns what is wrong with it."""
    if size > (_LARGEST_MODEL if target.suffix == ".onnx" else _LARGEST_OTHER):
        return f"{target.name} is too large"
    digest, copied = hashlib.sha256(), 0
    target.parent.mkdir(exist_ok=True)
    with target.open("xb") as file:
        while piece := source.read(_CHUNK):
            copied += len(piece)
            if copied > size:
                return f"{target.name} is larger than it says"
            digest.update(piece)
            file.write(piece)
    return (
        None if digest.hexdigest() == sha256 else f"the SHA-256 of {target.name} is not the one in {HASHES}"
    )


def _refused(place: Path, why: str) -> UsageError:
    return UsageError(
        f"{place} is not a whole voice package: {why}.",
        hint="make one with `kgtts voice package`, or download it again",
    )
