"""The cards: what is there, and whether it is what was asked for.

Kaggle answers a request for a retired or unavailable accelerator with another machine, in silence; a session
on the wrong card burns quota. So the kernel stops at once unless the CPU was asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernel_template.tools.failure import EndReason, KernelFailure
from kernel_template.tools.process import Capture
from kernel_template.tools.report import Reporter

_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_SMI_TIMEOUT_S = 30.0
_SMI_FIELDS = 3


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card as nvidia-smi names it."""

    name: str
    memory: str
    driver: str

    def __str__(self) -> str:
        return f"{self.name} ({self.memory}, driver {self.driver})"


def list_gpus(capture: Capture, env: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The cards that nvidia-smi sees; none when it is missing or finds no driver. torch is not imported."""
    answer = capture(_NVIDIA_SMI, env, _SMI_TIMEOUT_S)
    if answer is None or answer.returncode != 0:
        return ()
    found = []
    for line in answer.output.splitlines():
        fields = [part.strip() for part in line.split(",")]
        if len(fields) == _SMI_FIELDS and fields[0]:
            found.append(Gpu(*fields))
    return tuple(found)


def _counted(gpus: tuple[Gpu, ...]) -> str:
    """`2 × Tesla T4, 1 × Tesla P100-PCIE-16GB`, or `no GPU`."""
    names = [gpu.name for gpu in gpus]
    return ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names)) or "no GPU"


def missing_gpus(settings: Mapping[str, Any], gpus: tuple[Gpu, ...]) -> str | None:
    """What was asked for and is not there, for people; None when the machine is the one asked for."""
    accelerator = settings.get("accelerator")
    if accelerator is None:
        return None
    wanted_name = str(settings.get("gpu_name") or "")
    wanted_count = int(settings.get("gpus") or 1)
    fitting = [gpu for gpu in gpus if wanted_name.casefold() in gpu.name.casefold()]
    if len(fitting) >= wanted_count:
        return None
    return f"{wanted_count} × {wanted_name or 'GPU'} ({accelerator})"


def check_gpus(settings: Mapping[str, Any], gpus: tuple[Gpu, ...], report: Reporter) -> None:
    """Compare the cards with what the settings ask for.

    Raises:
        KernelFailure: the accelerator that was asked for is not there.
    """
    accelerator = settings.get("accelerator")
    if gpus:
        report.say(f"✓ CUDA available - Device count: {len(gpus)}")
        for index, gpu in enumerate(gpus):
            report.say(f"  GPU {index}: {gpu}")
    else:
        report.say("⚠ CUDA not available - using CPU" if accelerator is None else "✗ CUDA not available")
    if accelerator is None:
        if gpus:
            report.say("  The settings ask for the CPU: the GPUs stay unused.")
        return
    asked = missing_gpus(settings, gpus)
    if asked is None:
        return
    raise KernelFailure(
        EndReason.NO_GPU,
        f"The session was asked to run on {asked}, but this machine has {_counted(gpus)}. "
        "It stops here so that no quota is spent on the wrong machine. Ensure that the accelerator is "
        "one that your account may use and that its weekly quota is not used up, or set "
        'kernel.accelerator = "none" to train on the CPU.',
    )
