"""Corrects the paths in the `datasets` entries of a configuration, so that they exist in this session.

A base voice's config.json has the paths of the machine that wrote it, such as
`/kaggle/input/datahrbn/MyTTSDataset`; the same data is mounted elsewhere for another account or layout.
"""

import os
from pathlib import Path, PurePosixPath
from typing import Any

from kernel_template.contract import EndReason
from kernel_template.start.mounts import descend
from kernel_template.text.metadata import LJSPEECH
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.report import MessageSink

_META_KEYS = ("meta_file_train", "meta_file_val", "meta_file_attn_mask")
_MAX_METADATA_LISTED = 6
_METADATA_SUFFIXES = (".csv", ".txt", ".json", ".tsv")
_METADATA_NAMES = ("metadata.csv", "metadata.txt")


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(path).parts if part not in ("/", ".", ".."))


def _by_tail(mount: Path, path: str) -> Path | None:
    """The folder in `mount` that matches the longest end of `path`; `mount` itself if that is its name."""
    parts = _parts(path)
    for start in range(len(parts)):
        place = descend(mount, parts[start:])
        if place is not None and place.is_dir():
            return place
        if parts[start:] == (mount.name,):
            return mount
    return None


def _by_metadata(mount: Path, meta_file: str) -> Path | None:
    """The folder in `mount` that has `meta_file`: the one nearest to the top, then the first by name."""
    parts = _parts(meta_file)
    if not parts:
        return None
    found = []
    for folder, subfolders, _ in os.walk(mount):
        subfolders.sort()
        # Folders with thousands of recordings lie deep, and have no metadata.
        if len(Path(folder).relative_to(mount).parts) >= 3:  # noqa: PLR2004 - deep enough for every layout seen.
            subfolders.clear()
        place = descend(Path(folder), parts)
        if place is not None and place.is_file():
            found.append(Path(folder))
    return min(found, key=lambda place: (len(place.parts), str(place)), default=None)


def _metadata_like(folder: Path) -> list[str]:
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in _METADATA_SUFFIXES)
    except OSError:
        return []
    return names[:_MAX_METADATA_LISTED]


class DatasetPaths:
    """Corrects the entries of one configuration.

    Args:
        mount: the folder in which the dataset is mounted.
        strict: whether a path that cannot be corrected ends the session. A script that makes its own dataset
            configuration may never read the entry.
        report: prints the changes.
    """

    def __init__(self, mount: Path, *, strict: bool, report: MessageSink) -> None:
        self._mount = mount
        self._strict = strict
        self._report = report

    def correct(self, index: int, entry: dict[str, Any]) -> dict[str, Any]:
        """Return `entry` with a path that exists, and metadata files that exist below it.

        Raises:
            KernelFailure: strict, and the path or a metadata file cannot be found.
        """
        done = dict(entry)
        path = str(entry.get("path") or "")
        meta = str(entry.get("meta_file_train") or "")
        if not (path and Path(path).is_absolute() and Path(path).is_dir()):
            place = (_by_tail(self._mount, path) if path else None) or _by_metadata(self._mount, meta)
            if place is None:
                self._lost(
                    f"datasets[{index}].path in the base voice's configuration is {path!r}, which does not "
                    f"exist here, and the dataset mounted at {self._mount} has nothing like it."
                )
                return done
            if meta and not self._exists(place, meta):
                place = _by_metadata(self._mount, meta) or place
            self._report.say(f"  datasets[{index}].path: {path!r} does not exist here; using {place}")
            done["path"] = str(place)
        for key in _META_KEYS:
            if done.get(key):
                done[key] = self._meta(f"datasets[{index}].{key}", Path(done["path"]), str(done[key]))
        return done

    def discover(self) -> dict[str, Any] | None:
        """Make an entry for the dataset's own metadata, as the guide lays it out; None if it has none."""
        for name in _METADATA_NAMES:
            if (folder := _by_metadata(self._mount, name)) is not None:
                return {"formatter": LJSPEECH, "path": str(folder), "meta_file_train": name}
        return None

    @staticmethod
    def _exists(folder: Path, meta_file: str) -> bool:
        return (folder / meta_file).is_file()

    def _meta(self, name: str, folder: Path, meta_file: str) -> str:
        """Find a metadata file below `folder`: as given, or by the longest end of its path."""
        if self._exists(folder, meta_file):
            return meta_file
        parts = _parts(meta_file)
        for start in range(len(parts)):
            place = descend(folder, parts[start:])
            if place is not None and place.is_file():
                relative = place.relative_to(folder).as_posix()
                self._report.say(f"  {name}: {meta_file!r} does not exist here; using {relative}")
                return relative
        near = _metadata_like(folder)
        there = f"it has {', '.join(near)}" if near else "it has no metadata file"
        self._lost(
            f"{name} is {meta_file!r}, which is not in {folder}; {there}. Set the right one in "
            f'kgtts.toml: [training.coqui] "{name.replace("[", ".").replace("]", "")}" = "…".'
        )
        return meta_file

    def _lost(self, message: str) -> None:
        if self._strict:
            raise KernelFailure(EndReason.BAD_CONFIG, message)
        self._report.warn(
            f"{message} The session continues, since the script seems to make its own dataset configuration."
        )
