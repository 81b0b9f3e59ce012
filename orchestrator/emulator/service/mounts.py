"""The inputs that a push names: which of them exist, and where a session finds each below /kaggle/input.

To add a kind of input: a field in `InputSources` and `MountLayout`, a method here, a field in `Version`, and
the fields of request and response in `wire.kernels`.
"""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.emulator.options import MountLayout
from orchestrator.emulator.service.bundles import BundleVersion
from orchestrator.emulator.service.datasets import Datasets
from orchestrator.emulator.service.exceptions import ApiError
from orchestrator.emulator.service.kernels import Kernels, Version
from orchestrator.emulator.service.model_records import Model, Variation, VariationRef
from orchestrator.emulator.service.models import Models

_OWNER_SLUG_VERSION = (2, 3)  # Parts of owner/slug and owner/slug/version.
_MODEL_PARTS = 5


@dataclass(frozen=True, slots=True)
class InputSources:
    """The inputs of a push as they are written in kernel-metadata.json, by kind."""

    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    competitions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BindMount:
    """A folder of ROOT, and the path below /kaggle/input where a session sees it."""

    source: Path
    below: str


class Mounts:
    """Finds the folder behind each input, and the place that the layout gives it.

    Args:
        layout: where inputs are mounted.
        datasets: all datasets.
        models: all models.
        kernels: all kernels.
    """

    def __init__(self, layout: MountLayout, datasets: Datasets, models: Models, kernels: Kernels) -> None:
        self._layout = layout
        self._datasets = datasets
        self._models = models
        self._kernels = kernels

    def dataset(self, source: str) -> BindMount | None:
        """The mount of `owner/slug[/version]`: its newest ready version, or the given one if it is ready."""
        parts = source.split("/")
        found = self._datasets.find(parts[0], parts[1]) if len(parts) in _OWNER_SLUG_VERSION else None
        ready = [
            version
            for version in (found.versions if found is not None else ())
            if parts[2:] in ([], [str(version.number)]) and self._datasets.bundles.is_ready(version)
        ]
        if found is None or not ready:
            return None
        below = self._layout.dataset.format(owner=parts[0], slug=parts[1])
        return BindMount(self._datasets.folder(found, ready[-1].number), below)

    def model(self, source: str) -> BindMount | None:
        """The mount of `owner/model/framework/variation/version`, if that is ready."""
        parts = source.split("/")
        if len(parts) != _MODEL_PARTS:
            return None
        owner, slug, framework, name, number = parts
        found = self._find_model(source)
        if found is None or not self._models.bundles.is_ready(found[2]):
            return None
        below = self._layout.model.format(
            owner=owner, model=slug, framework=framework.lower(), variation=name, version=number
        )
        return BindMount(self._models.folder(found[0], found[1], found[2].number), below)

    def kernel(self, source: str) -> BindMount | None:
        """The mount of `owner/slug[/version]`: outputs of its last COMPLETE version, or of the given one."""
        parts = source.split("/")
        if len(parts) not in _OWNER_SLUG_VERSION:
            return None
        kernel = self._kernels.find(parts[0], parts[1])
        if kernel is None or kernel.latest_complete is None:
            return None
        version: Version | None = kernel.latest_complete
        if parts[2:]:
            version = next((v for v in kernel.versions if str(v.number) == parts[2]), None)
        folder = None if version is None else self._kernels.paths(kernel, version.number).output
        below = self._layout.kernel.format(owner=kernel.owner, slug=kernel.slug)
        return BindMount(folder, below) if folder is not None and folder.is_dir() else None

    def invalid(self, sources: InputSources, own_ref: str) -> InputSources:
        """The inputs that cannot be mounted: unknown ones, the kernel itself, and every competition.

        Args:
            sources: the inputs of a push.
            own_ref: `owner/slug` of the pushed kernel.
        """
        return InputSources(
            datasets=tuple(s for s in sources.datasets if not self._has_dataset(s)),
            models=tuple(s for s in sources.models if self._find_model(s) is None),
            kernels=tuple(
                s
                for s in sources.kernels
                if "/".join(s.lower().split("/")[:2]) == own_ref.lower() or self.kernel(s) is None
            ),
            competitions=sources.competitions,
        )

    def of_version(self, version: Version) -> tuple[BindMount, ...]:
        """What a session of `version` would mount if it started now: only what exists."""
        found = (
            *map(self.dataset, version.dataset_sources),
            *map(self.model, version.model_sources),
            *map(self.kernel, version.kernel_sources),
        )
        return tuple({mount.below: mount for mount in found if mount is not None}.values())

    def _find_model(self, source: str) -> tuple[Model, Variation, BundleVersion] | None:
        """The version `owner/model/framework/variation/version`, ready or not; None if there is none."""
        parts = source.split("/")
        if len(parts) != _MODEL_PARTS or not parts[4].isdecimal() or int(parts[4]) < 1:
            return None
        try:
            return self._models.get_version(VariationRef(*parts[:4]), int(parts[4]))
        except ApiError:
            return None

    def _has_dataset(self, source: str) -> bool:
        """Whether there is a dataset `owner/slug[/version]`, ready or not."""
        parts = source.split("/")
        found = self._datasets.find(parts[0], parts[1]) if len(parts) in _OWNER_SLUG_VERSION else None
        return found is not None and (
            not parts[2:] or parts[2] in [str(version.number) for version in found.versions]
        )
