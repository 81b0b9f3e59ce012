"""Accelerators are known by name, and unavailable ones are refused with the reason."""

import pytest

from orchestrator.settings import ACCELERATORS, find_accelerator

REASONS = {
    "NvidiaTeslaP100": "retired it in September 2026",
    "NvidiaTeslaT4Highmem": "Kaggle's own staff",
    "NvidiaL4": "certain competitions",
    "NvidiaL4X1": "certain competitions",
    "NvidiaTeslaA100": "certain competitions",
    "NvidiaH100": "certain competitions",
    "NvidiaRtxPro6000": "certain competitions",
    "TpuV38": "never on a TPU",
    "Tpu1VmV38": "never on a TPU",
    "TpuV5E8": "never on a TPU",
    "TpuV6E8": "never on a TPU",
}


def test_t4_is_a_machine_with_two_cards() -> None:
    """Kaggle's T4 machine has two GPUs, and its name is the machine shape."""
    machine = find_accelerator("NvidiaTeslaT4")
    assert (machine.machine_shape, machine.gpu_name, machine.gpus, machine.has_gpu) == (
        "NvidiaTeslaT4",
        "T4",
        2,
        True,
    )


def test_none_is_a_machine_without_cards() -> None:
    """With `none` there is no machine shape, and no GPU is expected."""
    machine = find_accelerator("none")
    assert (machine.machine_shape, machine.gpu_name, machine.gpus, machine.has_gpu) == (None, None, 0, False)


@pytest.mark.parametrize(("name", "reason"), REASONS.items())
def test_refusal_says_why_and_what_to_use(name: str, reason: str) -> None:
    """Each unavailable machine has its own reason, and the error lists the usable names."""
    with pytest.raises(ValueError, match=reason) as refusal:
        find_accelerator(name)
    assert '"NvidiaTeslaT4" or "none"' in str(refusal.value)


def test_every_refused_machine_is_tested_here() -> None:
    """Every unavailable machine in the table has a test of its reason."""
    assert {name for name, each in ACCELERATORS.items() if each.refused} == set(REASONS)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("nvidiateslat4", "NvidiaTeslaT4"),
        ("NvidiaTelsaT4", "NvidiaTeslaT4"),
        ("T4", "NvidiaTeslaT4"),
        ("GPU T4 x2", "NvidiaTeslaT4"),
        ("P100", "NvidiaTeslaP100"),
        ("None", "none"),
    ],
)
def test_unknown_name_names_the_nearest(name: str, nearest: str) -> None:
    """A misspelt or shortened name gets the known one."""
    with pytest.raises(ValueError, match=f'did you mean "{nearest}"'):
        find_accelerator(name)


@pytest.mark.parametrize("name", ["", "quantum", "\x00", "🚀"])
def test_name_like_no_other_gets_the_usable_ones(name: str) -> None:
    """If no name is near, the error still lists the usable names."""
    with pytest.raises(ValueError, match='is not an accelerator that Kaggle knows; use "NvidiaTeslaT4"'):
        find_accelerator(name)
