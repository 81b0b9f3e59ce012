"""The machines that Kaggle has names for, and whether a run can have them.

The names are those of kaggle-cli's documentation of February 2026 (Kaggle/kaggle-cli#916); what became of
them since is in Kaggle/kaggle-cli#1156 (P100) and #1198 (T4). GPU counts are those of Kaggle's own menu.
"""

from dataclasses import dataclass

from orchestrator.settings.text import closest

_COMPETITIONS = "Kaggle lends it only to the participants of certain competitions"
_ADMINS = "it is an internal pool of Kaggle's own staff"
_TPU = "Coqui trains on CUDA GPUs or on the CPU, never on a TPU"
DEFAULT = "NvidiaTeslaT4"
NONE = "none"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One machine: its name at Kaggle, the GPUs in it, and why a run cannot have it, if so."""

    name: str
    gpu_name: str | None  # A part of the name that the driver gives each GPU; None without one.
    gpus: int
    refused: str | None = None

    @property
    def machine_shape(self) -> str | None:
        """The name that a push sends; None for a machine without an accelerator."""
        return None if self.name == NONE else self.name

    @property
    def has_gpu(self) -> bool:
        """Whether the machine has a CUDA card."""
        return self.gpu_name is not None


ACCELERATORS: dict[str, Accelerator] = {
    each.name: each
    for each in (
        Accelerator(DEFAULT, "T4", 2),
        Accelerator(NONE, None, 0),
        Accelerator(
            "NvidiaTeslaP100",
            "P100",
            1,
            "Kaggle retired it in September 2026 and silently gives another machine in its place",
        ),
        Accelerator("NvidiaTeslaT4Highmem", "T4", 2, _ADMINS),
        Accelerator("NvidiaL4", "L4", 4, _COMPETITIONS),
        Accelerator("NvidiaL4X1", "L4", 1, _COMPETITIONS),
        Accelerator("NvidiaTeslaA100", "A100", 1, _COMPETITIONS),
        Accelerator("NvidiaH100", "H100", 1, _COMPETITIONS),
        Accelerator("NvidiaRtxPro6000", "RTX PRO 6000", 1, _COMPETITIONS),
        Accelerator("TpuV38", None, 0, _TPU),
        Accelerator("Tpu1VmV38", None, 0, _TPU),
        Accelerator("TpuV5E8", None, 0, _TPU),
        Accelerator("TpuV6E8", None, 0, _TPU),
    )
}
AVAILABLE = tuple(name for name, each in ACCELERATORS.items() if each.refused is None)


def find_accelerator(name: str) -> Accelerator:
    """Return the accelerator of that exact name.

    Raises:
        ValueError: there is none (the message names the most similar one), or a run cannot have it.
    """
    usable = " or ".join(f'"{each}"' for each in AVAILABLE)
    found = ACCELERATORS.get(name)
    if found is None:
        nearest = _nearest(name)
        meant = f' (did you mean "{nearest}"?)' if nearest else ""
        raise ValueError(f"is not an accelerator that Kaggle knows{meant}; use {usable}")
    if found.refused is not None:
        raise ValueError(f"is not available: {found.refused}; use {usable}")
    return found


def _nearest(name: str) -> str | None:
    lowered = {each.lower(): each for each in ACCELERATORS}
    text = "".join(name.lower().split()).removeprefix("gpu").removesuffix("x2")
    found = closest(text, lowered) or next((each for each in lowered if text and text in each), None)
    return None if found is None else lowered[found]
