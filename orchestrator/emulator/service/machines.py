"""The machine shapes of Kaggle, and which machine a push really gets.

Names from the client's documentation (docs/kernels.md of kaggle-cli, 2026). Which of them an ordinary account
may use, and the words of the refusal, are `[?]`: nobody outside could check all of them.
"""

DEFAULT_GPU = "NvidiaTeslaT4"
# Retired shapes are answered by another machine, and nothing in the answer says so.
_RETIRED = {"NvidiaTeslaP100": DEFAULT_GPU}
_RESTRICTED = frozenset(
    {
        "NvidiaH100",
        "NvidiaL4",
        "NvidiaL4X1",
        "NvidiaRtxPro6000",
        "NvidiaTeslaA100",
        "NvidiaTeslaT4Highmem",
        "Tpu1VmV38",
        "TpuV38",
        "TpuV5E8",
        "TpuV6E8",
    }
)


class MachineRefusedError(ValueError):
    """The push asks for a machine that it cannot have; the text is the answer's `error`."""


def machine_for(shape: str | None, *, enable_gpu: bool) -> str | None:
    """The shape that a push is given; None is a machine without accelerator.

    `machine_shape` goes before the deprecated `enable_gpu`.

    Raises:
        MachineRefusedError: the shape is unknown, or not for ordinary accounts.
    """
    if shape in (None, ""):
        return DEFAULT_GPU if enable_gpu else None
    if shape == "None":
        return None
    if shape in (DEFAULT_GPU, "Gpu"):
        return DEFAULT_GPU
    if shape in _RETIRED:
        return _RETIRED[shape]
    if shape in _RESTRICTED:
        raise MachineRefusedError(f"You do not have permission to use the accelerator {shape}.")
    raise MachineRefusedError(f"{shape!r} is not a valid machine shape.")
