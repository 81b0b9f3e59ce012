"""What the session runs on: Python, image, CPU cores, memory, disks, and versions of packages."""

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from kernel_template.contract import Environment
from kernel_template.start.gpu import Gpu
from kernel_template.tools.files import human_size
from kernel_template.tools.paths import Paths
from kernel_template.tools.report import MessageSink

# The distributions whose versions are reported. The GPU stack among them is the image's own.
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
_VERSION = re.compile(r"^Version: *(\S+)", re.MULTILINE)
# Variables that identify Kaggle's image.
_IMAGE_VARIABLES = ("KAGGLE_DOCKER_IMAGE", "BUILD_DATE", "GIT_COMMIT")


def kaggle_session(env: Mapping[str, str]) -> int | None:
    """Kaggle's id of this session: the digits between the last two hyphens of its container's name."""
    number = f"--{env.get('KAGGLE_CONTAINER_NAME', '')}".rsplit("-", 2)[1]
    return int(number) if re.fullmatch("[0-9]{1,15}", number) else None


def installed_versions(names: tuple[str, ...] = REPORTED) -> dict[str, str]:
    """The versions of those of `names` that are installed, from their metadata; nothing is imported."""
    importlib.invalidate_caches()  # A pip run may lie between two calls.
    found = {}
    for name in names:
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        # The field is among the first lines; parsing all of the metadata takes milliseconds for each package.
        stated = _VERSION.search(package.read_text("METADATA") or "")
        found[name] = stated[1] if stated else package.version
    return found


def tts_version(versions: Mapping[str, str]) -> str | None:
    """The version of Coqui TTS, under either of its distribution names."""
    return versions.get("coqui-tts") or versions.get("TTS")


def memory_bytes() -> int | None:
    """The machine's memory in bytes, or the container's limit if that is lower; None if unknown."""
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
    """The number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_environment(paths: Paths, gpus: tuple[Gpu, ...], report: MessageSink) -> Environment:
    """Print what the session runs on. Returns the `environment` of state.json."""
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


def environment_record(versions: Mapping[str, str], gpus: tuple[Gpu, ...]) -> Environment:
    """Make the `environment` of state.json."""
    return {
        "python": platform.python_version(),
        "torch": versions.get("torch"),
        "tts": tts_version(versions),
        "gpus": [gpu.name for gpu in gpus],
        "cpu_count": cpu_count(),
    }
