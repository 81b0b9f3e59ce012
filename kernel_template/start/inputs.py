"""Finds the files that a training needs in the mounts, and reports each as found or missing."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kernel_template.contract import DATASET_SCRIPT, FIND_SCRIPT, OWN_SCRIPT, EndReason
from kernel_template.settings import SessionSettings
from kernel_template.start.mounts import (
    Inventory,
    Mount,
    descend,
    find_mounts,
    print_inventory,
    take_inventory,
)
from kernel_template.start.voice_of import find_voice_of
from kernel_template.tools.files import human_size
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.report import MessageSink

# A script of this name is a module of the installed package, run with `-m`. It replaces scripts that were
# written for an older Coqui TTS.
MODULE_SCRIPTS = "TTS.bin."
OWN = Path(__file__).resolve().parents[1] / "train" / "script" / "train_tts.py"
_MAX_NEAR = 5
_DEEPEST, _MOST_SCRIPTS, _MOST_READ = 3, 20, 1 << 20  # Where, and how much, scripts are looked for.
_PICKLE_MARK = b"\x80"
_ZIP_MARK = b"PK"


@dataclass(frozen=True, slots=True)
class RequiredFile:
    """A file that the training needs.

    Attributes:
        what: what it is, for people.
        setting: the setting that names it.
        kind: `datasets` or `models`.
        source: the source that has it.
        path: its path in the source.
    """

    what: str
    setting: str
    kind: str
    source: str
    path: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of a training.

    `script` is None if `module`, an installed one, trains; `own` says that it is the one that kgtts brings.
    """

    script: Path | None
    module: str | None
    config: Path
    checkpoint: Path
    dataset: Path
    own: bool = False

    @property
    def folders(self) -> list[Path]:
        """Where a path of a script may mean something: the dataset, and the base voice's folders."""
        voice = self.checkpoint.parent
        return [self.dataset, voice, voice.parent]


def is_module(script: str) -> bool:
    """Whether inputs.script names a module of the installed TTS package."""
    return script.startswith(MODULE_SCRIPTS)


def damage(path: Path) -> str | None:
    """Say why `path` cannot be a whole checkpoint of torch; None if it can. Reads only its beginning and end.

    A current checkpoint is a ZIP archive, which has its directory at the end; a truncated one has none. An
    older checkpoint is a pickle, of which only the beginning can be checked.
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
    """The files in a mount that `path` can mean: as given, or without its leading folders.

    The guide says `model/config.json`, but the real model has `config.json` in its version's folder.
    """
    parts = PurePosixPath(path).parts
    found = []
    for start in range(len(parts)):
        place = descend(mount, parts[start:])
        if place is not None and place.is_file():
            found.append(place)
    # A dataset that was zipped as a folder has everything one folder deeper.
    if not found and mount.is_dir():
        for folder in sorted(entry for entry in mount.iterdir() if entry.is_dir()):
            place = descend(folder, parts)
            if place is not None and place.is_file():
                found.append(place)
    return found


def _near(wanted: RequiredFile, inventory: Inventory) -> list[Path]:
    return inventory.named.get(PurePosixPath(wanted.path).name.casefold(), [])


def _setting_for(near: Path, mounts: list[Mount]) -> str | None:
    """The setting that would name `near`; None if it lies outside the source's mounts."""
    for mount in mounts:
        if near.is_relative_to(mount.path):
            return near.relative_to(mount.path).as_posix()
    return None


class InputFinder:
    """Finds files in the mounts, and collects all problems so that one session reports every one."""

    def __init__(self, root: Path, inventory: Inventory, report: MessageSink) -> None:
        self.problems: list[str] = []
        self._root = root
        self._inventory = inventory
        self._report = report

    def mounts(self, kind: str, source: str) -> list[Mount]:
        """Find the mounts of a source; report an unknown layout, or several mounts."""
        found = find_mounts(self._root, kind, source)
        if found and not found[0].known:
            self._report.warn(
                f"{source} is mounted at {found[0].path}, a layout that kgtts does not know; it is used."
            )
        if len(found) > 1:
            others = ", ".join(str(mount.path) for mount in found[1:])
            self._report.say(f"  {source} is mounted more than once: using {found[0].path}, not {others}.")
        return found

    def has(self, kind: str, source: str, path: str) -> bool:
        """Whether a source has a file; nothing is reported."""
        return any(_places(mount.path, path) for mount in find_mounts(self._root, kind, source))

    def file(self, wanted: RequiredFile) -> Path | None:
        """Find a file and report it; a missing one becomes a problem that says what to do."""
        mounts = self.mounts(wanted.kind, wanted.source)
        for mount in mounts:
            places = _places(mount.path, wanted.path)
            if not places:
                continue
            place = places[0]
            if place.stat().st_size == 0:
                self._report.say(f"✗ Missing: {place} (the file is empty)")
                self.problems.append(
                    f"The {wanted.what} {place} is empty: upload it to {wanted.source} again."
                )
                return None
            self._report.say(f"✓ Found: {place} ({wanted.what}, {human_size(place.stat().st_size)})")
            if place != mount.path / wanted.path:
                self._report.say(f"  It was expected at {wanted.path} in {mount.path}.")
            for other in places[1:]:
                self._report.say(f"  {other} matches too, but is not used.")
            return place
        self._missing(wanted, mounts)
        return None

    def _missing(self, wanted: RequiredFile, mounts: list[Mount]) -> None:
        expected = (mounts[0].path if mounts else self._root / wanted.kind / wanted.source) / wanted.path
        self._report.say(f"✗ Missing: {expected} ({wanted.what})")
        near = _near(wanted, self._inventory)
        for path in near[:_MAX_NEAR]:
            self._report.say(f"  A file of that name: {path}")
        if not mounts:
            fix = (
                f"{wanted.source} is not mounted: check that this {wanted.kind[:-1]} exists and that you may "
                "read it"
            )
        else:
            named = next((name for path in near if (name := _setting_for(path, mounts))), None)
            fix = f"{wanted.source} has no {wanted.path}: " + (
                f'set {wanted.setting} = "{named}"' if named else "upload it there"
            )
        self.problems.append(f"The {wanted.what} is missing. {fix}.")


def _name_scripts(mounts: list[Mount], report: MessageSink) -> None:
    """Say which training scripts a dataset has under other names, since none of them will run."""
    found = []
    for folder, subfolders, names in os.walk(mounts[0].path) if mounts else ():
        place = Path(folder)
        if len(place.relative_to(mounts[0].path).parts) >= _DEEPEST:
            subfolders.clear()
        found += [place / name for name in sorted(names) if name.endswith((".py", ".ipynb"))]
    named = [path.relative_to(mounts[0].path).as_posix() for path in found[:_MOST_SCRIPTS] if _trains(path)]
    if named:
        report.warn(
            f"The dataset has no {DATASET_SCRIPT}, so kgtts trains with its own script, not with "
            f"{', '.join(named)}. To run a script of the dataset, name it in inputs.script; save a notebook "
            "as .py first."
        )


def _trains(path: Path) -> bool:
    """Whether a file seems to train with Coqui."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_MOST_READ)
    except OSError:
        return False
    return "trainer" in text.lower() and "TTS" in text


def find_inputs(root: Path, settings: SessionSettings, report: MessageSink) -> Inputs:
    """Find the training script, the base voice's configuration and checkpoint, and the dataset's folder.

    Raises:
        KernelFailure: files are missing or unusable; the message names them all.
    """
    dataset, model = settings["dataset"], settings["model"]
    script = dataset["script"]
    voice_of = model.get("voice_of")
    files = (("configuration", "config", model["config"]), ("checkpoint", "checkpoint", model["checkpoint"]))
    wanted = [
        RequiredFile(f"base voice's {what}", f"inputs.{key}", "models", model["source"], path)
        for what, key, path in files
        if voice_of is None
    ]
    names = [PurePosixPath(item.path).name for item in wanted]
    inventory = take_inventory(root, [PurePosixPath(DATASET_SCRIPT).name, PurePosixPath(script).name, *names])
    print_inventory(inventory, report)
    finder = InputFinder(root, inventory, report)
    if script == FIND_SCRIPT:
        has = finder.has("datasets", dataset["source"], DATASET_SCRIPT)
        script = DATASET_SCRIPT if has else OWN_SCRIPT
        if not has:
            _name_scripts(find_mounts(root, "datasets", dataset["source"]), report)
    own = script == OWN_SCRIPT
    if not is_module(script) and not own:
        wanted.insert(
            0, RequiredFile("training script", "inputs.script", "datasets", dataset["source"], script)
        )
    found = {item.setting: finder.file(item) for item in wanted}
    mounts = find_mounts(root, "datasets", dataset["source"])
    if is_module(script) or own:
        whose = "the one that kgtts brings along" if own else f"{script} of the installed TTS package"
        report.say(f"✓ Training script: {whose}")
        if not mounts:
            place = root / "datasets" / dataset["source"]
            report.say(f"✗ Missing: {place} (dataset)")
            finder.problems.append(
                f"The dataset {dataset['source']} is not mounted: "
                "check that it exists and that you may read it."
            )
    config, checkpoint = found.get("inputs.config"), found.get("inputs.checkpoint")
    if voice_of is not None:
        config, checkpoint = find_voice_of(root, voice_of, report)
    if checkpoint is not None and (why := damage(checkpoint)):
        report.say(f"✗ {checkpoint} {why}")
        finder.problems.append(
            f"The base voice's checkpoint {checkpoint} {why}: upload it to {model['source']} again."
        )
    if finder.problems:
        raise KernelFailure(
            EndReason.MISSING_INPUT, "Inputs are missing or damaged. " + " ".join(finder.problems)
        )
    assert config is not None
    assert checkpoint is not None
    file, module = OWN if own else found.get("inputs.script"), script if is_module(script) else None
    return Inputs(file, module, config, checkpoint, mounts[0].path, own)
