"""The three files that a training needs, looked for under every mount layout, named as found or missing."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kernel_template.start.mounts import Inventory, Mount, descend, find_mounts, say_inventory, take_inventory
from kernel_template.tools.failure import EndReason, KernelFailure
from kernel_template.tools.files import human_size
from kernel_template.tools.report import Reporter

# A script of this name is a module of the installed package, run with `-m`: the way out for scripts written
# for an older Coqui.
MODULE_SCRIPTS = "TTS.bin."
_MAX_NEAR = 5
_PICKLE_MARK = b"\x80"
_ZIP_MARK = b"PK"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that is needed: what it is, the setting that names it, its source and its path in the source."""

    what: str
    setting: str
    kind: str
    source: str
    path: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of a training. `script` is None when a module of the installed package trains."""

    script: Path | None
    module: str | None
    config: Path
    checkpoint: Path
    dataset: Path


def is_module(script: str) -> bool:
    """Whether the `script` setting names a module of the installed TTS package."""
    return script.startswith(MODULE_SCRIPTS)


def damage(path: Path) -> str | None:
    """Why `path` cannot be a checkpoint of torch, or None. Only its ends are read: it may be 1 GB.

    A current checkpoint is a ZIP archive, whose directory stands at its end: a truncated one has none. Older
    ones are pickles, of which only the beginning can be checked.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not head:
        return "is empty"
    if head.startswith(_ZIP_MARK):
        return None if zipfile.is_zipfile(path) else "is truncated: its end is missing"
    if head.startswith(_PICKLE_MARK):
        return None
    return f"is not a PyTorch checkpoint: it begins with {head[:24]!r}"


def _places(mount: Path, path: str) -> list[Path]:
    """Where `path` may lie in a mount: as given, or without its leading folders.

    The guide names `model/config.json`; the real model holds `config.json` directly in its version's folder.
    """
    parts = PurePosixPath(path).parts
    found = []
    for start in range(len(parts)):
        place = descend(mount, parts[start:])
        if place is not None and place.is_file():
            found.append(place)
    # A data set that was zipped as a folder has everything one folder deeper.
    if not found and mount.is_dir():
        for folder in sorted(entry for entry in mount.iterdir() if entry.is_dir()):
            place = descend(folder, parts)
            if place is not None and place.is_file():
                found.append(place)
    return found


def _near(wanted: Wanted, inventory: Inventory) -> list[Path]:
    return inventory.named.get(PurePosixPath(wanted.path).name.casefold(), [])


def _setting_for(near: Path, mounts: list[Mount]) -> str | None:
    """What to write in the settings to mean `near`, when it lies in the source's own mount."""
    for mount in mounts:
        if near.is_relative_to(mount.path):
            return near.relative_to(mount.path).as_posix()
    return None


class InputFinder:
    """Finds files in the mounts and collects what is wrong, so that one session tells all of it."""

    def __init__(self, root: Path, inventory: Inventory, report: Reporter) -> None:
        self.problems: list[str] = []
        self._root = root
        self._inventory = inventory
        self._report = report

    def mounts(self, kind: str, source: str) -> list[Mount]:
        """The mounts of a source; an unknown layout and more than one mount are said."""
        found = find_mounts(self._root, kind, source)
        if found and not found[0].known:
            self._report.warn(f"{source} is mounted at {found[0].path}, in a layout that is not known.")
        if len(found) > 1:
            others = ", ".join(str(mount.path) for mount in found[1:])
            self._report.say(f"  {source} is mounted more than once: {found[0].path} is used, not {others}.")
        return found

    def file(self, wanted: Wanted) -> Path | None:
        """The file, said as found or missing; a missing one is a problem with its fix."""
        mounts = self.mounts(wanted.kind, wanted.source)
        for mount in mounts:
            places = _places(mount.path, wanted.path)
            if not places:
                continue
            place = places[0]
            if place.stat().st_size == 0:
                self._report.say(f"✗ Missing: {place} (the file is there but empty)")
                self.problems.append(f"{wanted.what}: {place} is empty; upload it to {wanted.source} again.")
                return None
            self._report.say(f"✓ Found: {place} ({wanted.what}, {human_size(place.stat().st_size)})")
            if place != mount.path / wanted.path:
                self._report.say(f"  It was looked for as {wanted.path} in {mount.path}.")
            for other in places[1:]:
                self._report.say(f"  {other} matches too and is not used.")
            return place
        self._missing(wanted, mounts)
        return None

    def _missing(self, wanted: Wanted, mounts: list[Mount]) -> None:
        expected = (mounts[0].path if mounts else self._root / wanted.kind / wanted.source) / wanted.path
        self._report.say(f"✗ Missing: {expected} ({wanted.what})")
        near = _near(wanted, self._inventory)
        for path in near[:_MAX_NEAR]:
            self._report.say(f"  There is: {path}")
        if not mounts:
            fix = (
                f"{wanted.source} is not mounted at all: "
                f"check that the {wanted.kind[:-1]} exists and that its name is right"
            )
        else:
            named = next((name for path in near if (name := _setting_for(path, mounts))), None)
            fix = f"{wanted.source} is mounted but has no {wanted.path}: " + (
                f'set {wanted.setting} = "{named}"' if named else "upload it there"
            )
        self.problems.append(f"{wanted.what}: {fix}.")


def find_inputs(root: Path, settings: Mapping[str, Any], report: Reporter) -> Inputs:
    """Find the training script, the base voice's config and checkpoint, and the data set's folder.

    Raises:
        KernelFailure: something is missing or unusable; all of it is said, with what is mounted.
    """
    dataset, model = settings["dataset"], settings["model"]
    script = str(dataset["script"])
    wanted = [
        Wanted("base voice's configuration", "inputs.config", "models", model["source"], model["config"]),
        Wanted(
            "base voice's checkpoint", "inputs.checkpoint", "models", model["source"], model["checkpoint"]
        ),
    ]
    if not is_module(script):
        wanted.insert(0, Wanted("training script", "inputs.script", "datasets", dataset["source"], script))
    inventory = take_inventory(root, [PurePosixPath(item.path).name for item in wanted])
    say_inventory(inventory, report)
    finder = InputFinder(root, inventory, report)
    found = {item.setting: finder.file(item) for item in wanted}
    mounts = find_mounts(root, "datasets", dataset["source"])
    if is_module(script):
        report.say(f"✓ Training script: {script} of the installed TTS package")
        if not mounts:
            report.say(f"✗ Missing: {root / 'datasets' / dataset['source']} (data set)")
            finder.problems.append(f"data set: {dataset['source']} is not mounted at all; check its name.")
    checkpoint = found["inputs.checkpoint"]
    if checkpoint is not None and (why := damage(checkpoint)):
        report.say(f"✗ {checkpoint} {why}")
        finder.problems.append(
            f"base voice's checkpoint: {checkpoint} {why}; upload it to {model['source']} again."
        )
    if finder.problems:
        raise KernelFailure(
            EndReason.MISSING_INPUT, "The inputs are not complete. " + " ".join(finder.problems)
        )
    config = found["inputs.config"]
    assert config is not None
    assert checkpoint is not None
    module = script if is_module(script) else None
    return Inputs(found.get("inputs.script"), module, config, checkpoint, mounts[0].path)
