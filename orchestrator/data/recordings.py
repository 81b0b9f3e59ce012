"""Find the recordings in a folder, and which of them a name in a transcript means."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kernel_template.text.metadata import QUOTES, normal

# What libsndfile reads; the others need ffmpeg.
SNDFILE_ENDINGS = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"}
)
FFMPEG_ENDINGS = frozenset(
    {".m4a", ".aac", ".mp4", ".m4b", ".3gp", ".amr", ".wma", ".webm", ".mka", ".mov", ".ac3"}
)
ENDINGS = SNDFILE_ENDINGS | FFMPEG_ENDINGS
STATE_FOLDER = ".kgtts"  # In a folder that `prepare` makes.
_SKIPPED_FOLDERS = frozenset({"__MACOSX"})
# How a written name may differ from the recording's, from the least difference to the greatest.
_DIFFERENCES = (
    "its folder or extension differs",
    "its case, white space or Unicode form differs",
    "its leading zeros are missing",
)
_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording: its path relative to the folder, with forward slashes, and where it is."""

    name: str
    path: Path

    @property
    def stem(self) -> str:
        """The relative path without the extension."""
        return self.name[: -len(PurePosixPath(self.name).suffix)]

    @property
    def folder(self) -> str:
        """The folder within the one that was searched; empty at its top."""
        parent = PurePosixPath(self.name).parent.as_posix()
        return "" if parent == "." else parent


@dataclass(frozen=True, slots=True)
class Folder:
    """What is in a folder of recordings.

    Attributes:
        path: the folder.
        recordings: sorted by name.
        files: all other files, as relative paths.
        skipped: what only looks like a recording, and why: hidden files (macOS writes `._NAME` beside each
            file on foreign disks), and links to other folders.
    """

    path: Path
    recordings: tuple[Recording, ...]
    files: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def scan(folder: Path, leave_out: Path | None = None) -> Folder:
    """Look for recordings in a folder and all below it.

    Args:
        folder: where to look.
        leave_out: a folder that is not looked into: the one that the dataset is made in.

    Raises:
        OSError: the folder cannot be read.
    """
    recordings, files, skipped = [], [], list[tuple[str, str]]()
    avoided = leave_out.resolve() if leave_out is not None else None
    for path in _walk(folder, avoided):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            skipped.append((name, "a link to another folder, which is not looked into"))
        elif path.suffix.lower() not in ENDINGS:
            files.append(name)
        elif path.name.startswith(".") or _SKIPPED_FOLDERS & set(path.relative_to(folder).parts):
            skipped.append((name, "a hidden file, as macOS writes them beside others"))
        else:
            recordings.append(Recording(name, path))
    recordings.sort(key=lambda item: item.name)
    return Folder(folder, tuple(recordings), tuple(sorted(files)), tuple(sorted(skipped)))


def _walk(folder: Path, avoided: Path | None) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=stop):
        here = Path(place)
        folders[:] = [name for name in folders if not _is_made((here / name), avoided)]
        yield from (path for name in folders if (path := here / name).is_symlink())
        for name in files:
            path = here / name
            if path.is_file():  # No device, no pipe, no broken link.
                yield path


def _is_made(folder: Path, avoided: Path | None) -> bool:
    """Whether `prepare` made or makes a folder: what is in it are not the recordings that it is made of."""
    return (folder / STATE_FOLDER).is_dir() or (avoided is not None and folder.resolve() == avoided)


@dataclass(frozen=True, slots=True)
class Match:
    """What a written name means.

    Attributes:
        found: the recordings that it fits; one if all is well.
        why: how the name differs from the recording's, in words; empty if it does not.
    """

    found: tuple[Recording, ...]
    why: str = ""


class Names:
    """Tells which recording a transcript's name means.

    The comparison becomes looser step by step: as written; another folder or none, with or without an
    extension; another case or Unicode form or white space; leading zeros, which spreadsheets remove.
    """

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._exact: dict[str, Recording] = {}
        self._steps: tuple[dict[str, list[Recording]], ...] = tuple({} for _ in _DIFFERENCES)
        for item in recordings:
            self._exact[item.name] = item
            for form in dict.fromkeys((*_tails(item.name), *_tails(item.stem))):
                for step, known in enumerate(self._steps):
                    known.setdefault(_key(form, step), []).append(item)

    def find(self, written: str) -> Match:
        """Return the recordings that a name fits, at the first step at which it fits any."""
        if written in self._exact:
            return Match((self._exact[written],))
        name = written.strip().strip("".join(QUOTES)).strip().replace("\\", "/").rstrip("/")
        suffix = PurePosixPath(name).suffix
        bare = name[: -len(suffix)] if suffix.lower() in ENDINGS else name
        for step, (known, why) in enumerate(zip(self._steps, _DIFFERENCES, strict=True)):
            # The whole path counts more than a part of it, and the name with its extension more than without.
            for forms in zip(_tails(name), _tails(bare), strict=True):
                for form in dict.fromkeys(forms):
                    if found := known.get(_key(form, step)):
                        unique = tuple(dict.fromkeys(found))
                        return Match(unique, "" if unique[0].stem == written else why)
        return Match(())


def _key(form: str, step: int) -> str:
    if not step:
        return form
    loose = " ".join(normal(form).replace("_", " ").split())
    return loose if step == 1 else _ZEROS.sub("", loose)


def _tails(name: str) -> list[str]:
    """`a/b/c`, `b/c` and `c`."""
    parts = PurePosixPath(name).parts
    return ["/".join(parts[start:]) for start in range(len(parts))]
