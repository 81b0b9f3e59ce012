"""What the session runs on: Python, image, processors, memory, disks and the versions that matter."""

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.start.gpu import Gpu
from kernel_template.tools.files import human_size
from kernel_template.tools.report import Reporter

# The distributions whose versions are reported; the GPU stack among them belongs to the image.
REPORTED = (
    "torch",
    "torchaudio",
    "torchcodec",
    "numpy",
    "transformers",
    "coqui-tts",
    "TTS",
    "coqui-tts-trainer",
)
# Variables by which Kaggle's image names itself.
_IMAGE_VARIABLES = ("KAGGLE_DOCKER_IMAGE", "BUILD_DATE", "GIT_COMMIT")


@dataclass(frozen=True, slots=True)
class Paths:
    """The session's folders and the files that it leaves, as Kaggle lays them out below `root`."""

    root: Path

    @property
    def input(self) -> Path:
        """Where the sources are mounted, read-only."""
        return self.root / "input"

    @property
    def working(self) -> Path:
        """What is kept as the session's output."""
        return self.root / "working"

    @property
    def temp(self) -> Path:
        """What is thrown away with the session."""
        return self.root / "temp"

    @property
    def training(self) -> Path:
        """Coqui's output_path: the run folder is made in it."""
        return self.working / "training"

    @property
    def config(self) -> Path:
        """The configuration that the training is started with, and in the end the one that it used."""
        return self.working / "config.json"

    @property
    def log(self) -> Path:
        """All that the training wrote."""
        return self.working / "train_log.txt"

    @property
    def samples(self) -> Path:
        """The spoken test sentences."""
        return self.working / "validation_samples"

    @property
    def base_samples(self) -> Path:
        """Those of the voice that the run began with."""
        return self.samples / "base"

    @property
    def voice(self) -> Path:
        """The exported voice and its description."""
        return self.working / "voice"

    @property
    def state(self) -> Path:
        """What the next session and the laptop read first."""
        return self.working / "state.json"

    @property
    def metrics(self) -> Path:
        """The events, one JSON object a line."""
        return self.working / "metrics.jsonl"

    @property
    def manifest(self) -> Path:
        """Sizes and hashes of all outputs."""
        return self.working / "manifest.json"

    def relative(self, path: Path) -> str:
        """`path` as outputs are named: relative to the working folder, with forward slashes."""
        return path.relative_to(self.working).as_posix() if path.is_relative_to(self.working) else str(path)


def installed_versions(names: tuple[str, ...] = REPORTED) -> dict[str, str]:
    """The versions of those of `names` that are installed, read from their metadata: nothing is imported."""
    importlib.invalidate_caches()  # A pip run may lie between two calls.
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def tts_version(versions: Mapping[str, str]) -> str | None:
    """Coqui's version under either of its distribution names."""
    return versions.get("coqui-tts") or versions.get("TTS")


def memory_bytes() -> int | None:
    """The machine's memory, or the container's limit where that is lower."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def cpu_count() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_environment(paths: Paths, gpus: tuple[Gpu, ...], report: Reporter) -> dict[str, Any]:
    """Say what the session runs on. Returns the `environment` of state.json."""
    versions = installed_versions()
    report.say(f"Python {platform.python_version()} on {platform.platform()} ({sys.executable})")
    image = ", ".join(f"{name}={os.environ[name]}" for name in _IMAGE_VARIABLES if os.environ.get(name))
    if image:
        report.say(f"Image: {image}")
    memory = memory_bytes()
    report.say(
        f"Machine: {cpu_count()} CPU cores, {human_size(memory) if memory else 'unknown'} memory, "
        f"{len(gpus)} GPU{'s' if len(gpus) != 1 else ''}"
    )
    for name, folder in (("working", paths.working), ("temp", paths.temp)):
        try:
            disk = shutil.disk_usage(folder)
        except OSError as error:
            report.say(f"Disk {name}: {folder} cannot be read ({error.strerror})")
        else:
            report.say(f"Disk {name}: {human_size(disk.free)} free of {human_size(disk.total)} at {folder}")
    report.say(
        "Packages: " + (", ".join(f"{name} {version}" for name, version in versions.items()) or "none")
    )
    return environment_record(versions, gpus)


def environment_record(versions: Mapping[str, str], gpus: tuple[Gpu, ...]) -> dict[str, Any]:
    """The `environment` of state.json."""
    return {
        "python": platform.python_version(),
        "torch": versions.get("torch"),
        "tts": tts_version(versions),
        "gpus": [gpu.name for gpu in gpus],
        "cpu_count": cpu_count(),
    }
