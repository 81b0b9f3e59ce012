"""The inputs that kernels name: which exist, where they lie in ROOT, and where a session finds them."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.emulator.service.datasets import Datasets
from orchestrator.emulator.service.options import Layout
from orchestrator.emulator.service.records import Kernel, Version
from orchestrator.emulator.service.store import Store, is_safe_name

_DATASET_PARTS = (2, 3)
_MODEL_PARTS = 5
FindKernel = Callable[[str, str], Kernel | None]


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of ROOT and the path below /kaggle/input where a session sees it."""

    source: Path
    below: str


@dataclass(frozen=True, slots=True)
class InputEntry:
    """A file of a dataset or a model: its path inside it, and its size in bytes."""

    name: str
    size: int


def plain(framework: str) -> str:
    """A framework's name without case and separators: `pyTorch`, `PY_TORCH` and `pytorch` are one."""
    return framework.replace("_", "").replace("-", "").lower()


class Sources:
    """Resolves source strings as written in a push.

    Args:
        store: the emulator's folder.
        layout: how mounts are laid out.
        find_kernel: gives a kernel by owner and slug, or None.
        datasets: knows the datasets and their versions.
    """

    def __init__(self, store: Store, layout: Layout, find_kernel: FindKernel, datasets: Datasets) -> None:
        self._store = store
        self._layout = layout
        self._find_kernel = find_kernel
        self._datasets = datasets

    def model_folder(
        self, owner: str, model: str, framework: str, variation: str, version: int
    ) -> Path | None:
        """The folder of a model version; the framework is matched as the wire's enum spells it too."""
        above = self._folder("models", owner, model)
        for folder in sorted(above.iterdir()) if above else ():
            if plain(folder.name) == plain(framework):
                return self._folder("models", owner, model, folder.name, variation, str(version))
        return None

    def latest_model_version(self, owner: str, model: str, framework: str, variation: str) -> int | None:
        """The highest version number of a model's variation; None when there is none."""
        above = self._folder("models", owner, model)
        numbers = [
            int(folder.name)
            for folder in (above.glob("*/*/*") if above else ())
            if plain(folder.parts[-3]) == plain(framework)
            and folder.parts[-2] == variation
            and folder.name.isdecimal()
        ]
        return max(numbers, default=None)

    def dataset(self, source: str) -> Mount | None:
        """The mount of `owner/slug[/version]`: its newest version that is ready, or that one if it is."""
        parts = source.split("/")
        found = self._datasets.find(parts[0], parts[1]) if len(parts) in _DATASET_PARTS else None
        ready = [
            version
            for version in (found.versions if found is not None else ())
            if parts[2:] in ([], [str(version.number)]) and self._datasets.is_ready(version)
        ]
        below = f"datasets/{parts[0]}/{parts[1]}" if self._layout == "current" else parts[1]
        return Mount(self._datasets.folder(found, ready[-1].number), below) if found and ready else None

    def has_dataset(self, source: str) -> bool:
        """Whether there is a dataset `owner/slug[/version]`, ready or not."""
        parts = source.split("/")
        found = self._datasets.find(parts[0], parts[1]) if len(parts) in _DATASET_PARTS else None
        return found is not None and (
            not parts[2:] or parts[2] in [str(version.number) for version in found.versions]
        )

    def model(self, source: str) -> Mount | None:
        """The mount of `owner/model/framework/variation/version`."""
        parts = source.split("/")
        if len(parts) != _MODEL_PARTS or not parts[4].isdecimal():
            return None
        folder = self.model_folder(parts[0], parts[1], parts[2], parts[3], int(parts[4]))
        tail = "/".join([parts[1], parts[2].lower(), parts[3], parts[4]])
        below = f"models/{parts[0]}/{tail}" if self._layout == "current" else tail
        return None if folder is None else Mount(folder, below)

    def kernel(self, source: str) -> Mount | None:
        """The mount of `owner/slug[/version]`: the outputs of its last COMPLETE version, or of that one."""
        parts = source.split("/")
        if len(parts) not in _DATASET_PARTS:
            return None
        kernel = self._find_kernel(parts[0], parts[1])
        if kernel is None or kernel.latest_complete is None:
            return None
        version: Version | None = kernel.latest_complete
        if parts[2:]:
            version = next((v for v in kernel.versions if str(v.number) == parts[2]), None)
        folder = None if version is None else self._store.version(kernel, version.number).output
        below = f"notebooks/{kernel.owner}/{kernel.slug}" if self._layout == "current" else kernel.slug
        return Mount(folder, below) if folder is not None and folder.is_dir() else None

    def mounts(self, version: Version) -> tuple[Mount, ...]:
        """What a session of `version` mounts if it starts now: only what exists."""
        found: Iterable[Mount | None] = (
            *map(self.dataset, version.dataset_sources),
            *map(self.model, version.model_sources),
            *map(self.kernel, version.kernel_sources),
        )
        return tuple({mount.below: mount for mount in found if mount is not None}.values())

    def _folder(self, *parts: str) -> Path | None:
        folder = self._store.root.joinpath(*parts)
        return folder if all(map(is_safe_name, parts)) and folder.is_dir() else None


def list_entries(folder: Path) -> list[InputEntry]:
    """Every file below `folder`, by name."""
    return sorted(
        (
            InputEntry(path.relative_to(folder).as_posix(), path.stat().st_size)
            for current, _, files in os.walk(folder)
            for path in (Path(current, name) for name in files)
            if path.is_file()
        ),
        key=lambda entry: entry.name,
    )
