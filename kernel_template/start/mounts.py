"""Finds datasets, models and notebooks below /kaggle/input, in every layout of mounts that Kaggle has used.

Layouts, newest first: `datasets/<owner>/<slug>`,
`models/<owner>/<model>/<framework>/<variation>/<version>`, `notebooks/<owner>/<slug>`; before that `<slug>`
and `<model>/<framework>/<variation>/<version>`. Which one is used depends on the account.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kernel_template.tools.report import MessageSink

_MAX_FILES = 500_000  # The inventory is for people and for near matches: it need not be complete.
_MAX_FOLDERS_LISTED = 40
_MAX_EXTENSIONS_LISTED = 6
_KINDS = ("datasets", "models", "notebooks")


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder in which a source is mounted; `known` if it is one of the known layouts."""

    path: Path
    known: bool


@dataclass(slots=True)
class Inventory:
    """The files below `root`: how many of each extension in each folder, and where the wanted names are."""

    root: Path
    folders: dict[Path, Counter[str]] = field(default_factory=dict)
    named: dict[str, list[Path]] = field(default_factory=dict)
    files: int = 0
    complete: bool = True

    def lines(self) -> list[str]:
        """The inventory for people: one line for each folder."""
        if not self.files:
            return [f"  nothing: there are no files in {self.root}"]
        lines = []
        for folder, kinds in list(self.folders.items())[:_MAX_FOLDERS_LISTED]:
            common = kinds.most_common(_MAX_EXTENSIONS_LISTED)
            extensions = ", ".join(f"{count} {name}" for name, count in common)
            rest = sum(kinds.values()) - sum(count for _, count in common)
            more = f", {rest} others" if rest else ""
            lines.append(f"  {folder}: {extensions}{more}")
        if len(self.folders) > _MAX_FOLDERS_LISTED:
            lines.append(f"  … and {len(self.folders) - _MAX_FOLDERS_LISTED} more folders")
        if not self.complete:
            lines.append(f"  … and more: only the first {self.files} files were counted")
        return lines


def take_inventory(root: Path, names: Sequence[str], *, max_files: int = _MAX_FILES) -> Inventory:
    """Walk the input folder once, in a fixed order, and note every place of a file called one of `names`."""
    found = Inventory(root)
    wanted = {name.casefold() for name in names}
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        if not files:
            continue
        found.files += len(files)
        found.folders[Path(folder)] = Counter(
            Path(name).suffix.lower() or "without extension" for name in files
        )
        for name in sorted(files):
            if name.casefold() in wanted:
                found.named.setdefault(name.casefold(), []).append(Path(folder, name))
        if found.files >= max_files:
            found.complete = False
            break
    return found


def print_inventory(inventory: Inventory, report: MessageSink) -> None:
    """Print what is mounted."""
    report.say(f"Mounted under {inventory.root}:")
    for line in inventory.lines():
        report.say(line)


def child_ignoring_case(folder: Path, name: str) -> Path | None:
    """`folder/name`, or the entry that differs from it only in case: Kaggle lowers some parts of paths."""
    exact = folder / name
    if os.path.lexists(exact):
        return exact
    try:
        similar = sorted(entry for entry in folder.iterdir() if entry.name.casefold() == name.casefold())
    except OSError:
        return None
    return similar[0] if similar else None


def descend(folder: Path, parts: Sequence[str]) -> Path | None:
    """The entry at `parts` below `folder`, whatever the case of its names; None if there is none."""
    place: Path | None = folder
    for part in parts:
        place = child_ignoring_case(place, part) if place is not None else None
    return place


def find_mounts(root: Path, kind: str, source: str) -> list[Mount]:
    """Find the folders in which `source` is mounted; the current layout comes first.

    Args:
        root: the input folder.
        kind: `datasets`, `models` or `notebooks`.
        source: `owner/slug` or `owner/model/framework/variation/version`.
    """
    owner, *parts = source.split("/")
    candidates = [descend(root, [kind, owner, *parts]), descend(root, parts)]
    found = [Mount(path, known=True) for path in candidates if path is not None and path.is_dir()]
    if found:
        return found
    # An unknown layout: a folder whose path ends with the same parts, and that is not of another owner.
    tail = [part.casefold() for part in parts]
    depth_limit = len(parts) + 3
    for folder, subfolders, _ in os.walk(root):
        place = Path(folder).relative_to(root).parts
        subfolders.sort()
        if len(place) >= depth_limit:
            subfolders.clear()
        lowered = [part.casefold() for part in place]
        foreign = len(place) > 1 and place[0] in _KINDS and lowered[1] != owner.casefold()
        if not foreign and lowered[-len(tail) :] == tail:
            found.append(Mount(Path(folder), known=False))
            subfolders.clear()
    return found
