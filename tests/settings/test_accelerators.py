"""Accelerators are known by name, and those that cannot be had are refused with the reason."""

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
    """Kaggle's T4 machine has two cards and its name is the machine shape."""
    machine = find_accelerator("NvidiaTeslaT4")
    assert (machine.machine_shape, machine.gpu_name, machine.gpus, machine.has_gpu) == (
        "NvidiaTeslaT4",
        "T4",
        2,
        True,
    )


def test_none_is_a_machine_without_cards() -> None:
    """`none` asks for no machine shape and expects no card."""
    machine = find_accelerator("none")
    assert (machine.machine_shape, machine.gpu_name, machine.gpus, machine.has_gpu) == (None, None, 0, False)


@pytest.mark.parametrize(("name", "reason"), REASONS.items())
def test_refusal_says_why_and_what_to_use(name: str, reason: str) -> None:
    """Each machine that cannot be had is refused with its own reason and with the usable names."""
    with pytest.raises(ValueError, match=reason) as refusal:
        find_accelerator(name)
    assert '"NvidiaTeslaT4" or "none"' in str(refusal.value)


def test_every_refused_machine_is_tested_here() -> None:
    """No machine is added to the table without a test of its reason."""
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
    """A misspelt or shortened name is answered with the known one."""
    with pytest.raises(ValueError, match=f'did you mean "{nearest}"'):
        find_accelerator(name)


@pytest.mark.parametrize("name", ["", "quantum", "\x00", "🚀"])
def test_name_like_no_other_gets_the_usable_ones(name: str) -> None:
    """Where nothing is near, the usable names still stand in the message."""
    with pytest.raises(ValueError, match='is not an accelerator that Kaggle knows; use "NvidiaTeslaT4"'):
        find_accelerator(name)
