"""Checks that the machine has the GPUs that were asked for.

If an accelerator is retired or not available, Kaggle silently gives another machine. A session on the wrong
one would waste quota, so it stops at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kernel_template.contract import EndReason
from kernel_template.settings import SessionSettings
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.process import Capture
from kernel_template.tools.report import MessageSink

_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_SMI_TIMEOUT_S = 30.0
_SMI_FIELDS = 3


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as nvidia-smi lists it."""

    name: str
    memory: str
    driver: str

    def __str__(self) -> str:
        return f"{self.name} ({self.memory}, driver {self.driver})"


def visible_gpus(env: Mapping[str, str], here: int) -> list[str] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves of those that are here, as it names them; None without it.

    CUDA ignores what follows a number that no GPU has.
    """
    asked = env.get("CUDA_VISIBLE_DEVICES")
    if asked is None:
        return None
    names = []
    for name in (part.strip() for part in asked.split(",")):
        if not name or (name.lstrip("-").isdecimal() and not 0 <= int(name) < here):
            break
        names.append(name)
    return names


def list_gpus(capture: Capture, env: Mapping[str, str]) -> tuple[Gpu, ...]:
    """List the GPUs with nvidia-smi; none if it is missing or finds no driver. Does not import torch.

    Those that CUDA_VISIBLE_DEVICES hides, on a machine of one's own, are left out.
    """
    answer = capture(_NVIDIA_SMI, env, _SMI_TIMEOUT_S)
    if answer is None or answer.returncode != 0:
        return ()
    found = []
    for line in answer.output.splitlines():
        fields = [part.strip() for part in line.split(",")]
        if len(fields) == _SMI_FIELDS and fields[0]:
            found.append(Gpu(*fields))
    visible = visible_gpus(env, len(found))
    if visible is None:
        return tuple(found)
    numbered = [found[int(name)] for name in visible if name.isdecimal()]
    return tuple(numbered) if len(numbered) == len(visible) else tuple(found[: len(visible)])


def _counted(gpus: tuple[Gpu, ...]) -> str:
    """Name GPUs for people: `2 × Tesla T4, 1 × Tesla P100-PCIE-16GB`, or `no GPU`."""
    names = [gpu.name for gpu in gpus]
    return ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names)) or "no GPU"


def missing_gpus(settings: SessionSettings, gpus: tuple[Gpu, ...]) -> str | None:
    """Name what was asked for and is missing; None if the machine is the one asked for."""
    accelerator = settings["accelerator"]
    if accelerator is None:
        return None
    wanted_name, wanted_count = settings["gpu_name"] or "", settings["gpus"] or 1
    fitting = [gpu for gpu in gpus if wanted_name.casefold() in gpu.name.casefold()]
    if len(fitting) >= wanted_count:
        return None
    return f"{wanted_count} × {wanted_name or 'GPU'} ({accelerator})"


def check_gpus(settings: SessionSettings, gpus: tuple[Gpu, ...], report: MessageSink) -> None:
    """Print the GPUs, and compare them with what the settings ask for.

    Raises:
        KernelFailure: the accelerator that was asked for is not there.
    """
    accelerator = settings["accelerator"]
    if gpus:
        report.say(f"✓ CUDA available - Device count: {len(gpus)}")
        for index, gpu in enumerate(gpus):
            report.say(f"  GPU {index}: {gpu}")
    else:
        report.say("⚠ CUDA not available - using CPU" if accelerator is None else "✗ CUDA not available")
    if accelerator is None:
        if gpus:
            report.say('  kernel.accelerator is "none": the GPUs are not used.')
        return
    asked = missing_gpus(settings, gpus)
    if asked is None:
        return
    raise KernelFailure(
        EndReason.NO_GPU,
        f"The session was to run on {asked}, but this machine has {_counted(gpus)}. It stops here so that "
        "no quota is spent on the wrong machine. Check that your account may use this accelerator and that "
        'the weekly quota is not used up, or set kernel.accelerator = "none" to train on the CPU.',
    )
