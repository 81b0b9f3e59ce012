"""The GPUs that the session has against those that were asked for."""

from pathlib import Path

import pytest

from kernel_template.contract import EndReason
from kernel_template.start.environment import describe_environment, tts_version
from kernel_template.start.gpu import Gpu, check_gpus, list_gpus
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.process import Captured
from kernel_template.train.command import training_environment
from kernel_template.usage.readings import GpuReading, read_gpus
from tests.kernel.kit import Capture, Log, paths_in, reporter, settings

_T4 = Gpu("Tesla T4", "15360 MiB", "580.1")
_P100 = Gpu("Tesla P100-PCIE-16GB", "16384 MiB", "580.1")
_ASKED = {"accelerator": "NvidiaTeslaT4", "gpu_name": "T4", "gpus": 2}


def test_cards_are_listed_without_torch() -> None:
    """Each line of nvidia-smi is a GPU; other lines are ignored."""
    said = "Tesla T4, 15360 MiB, 580.1\nTesla T4, 15360 MiB, 580.1\nsome warning\n\n"
    capture = Capture({"nvidia-smi": Captured(0, said)})
    assert list_gpus(capture, {}) == (_T4, _T4)


def test_what_a_real_driver_answers() -> None:
    """The lines of one H100 under driver 580, as nvidia-smi printed them."""
    capture = Capture({"nvidia-smi": Captured(0, "NVIDIA H100 80GB HBM3, 81559 MiB, 580.159.04\n")})
    (found,) = list_gpus(capture, {})
    assert str(found) == "NVIDIA H100 80GB HBM3 (81559 MiB, driver 580.159.04)"
    assert read_gpus(Capture({"nvidia-smi": Captured(0, "0, 0, 81559\n")}), {}) == (
        GpuReading(utilisation=0.0, memory_used_mb=0.0, memory_total_mb=81559.0),
    )


@pytest.mark.parametrize(
    "answer", [None, Captured(9, "NVIDIA-SMI has failed"), Captured(0, "No devices were found\n")]
)
def test_no_driver_is_no_card(answer: Captured | None) -> None:
    """A missing or failing nvidia-smi means that there is no GPU."""
    assert list_gpus(Capture({"nvidia-smi": answer}), {}) == ()


def test_the_cards_that_were_asked_for(log: Log) -> None:
    """The log names the number of GPUs in the guide's words."""
    check_gpus(settings(**_ASKED), (_T4, _T4), reporter(log))
    assert log.lines[0] == "✓ CUDA available - Device count: 2"


@pytest.mark.parametrize(
    ("gpus", "has"), [((), "no GPU"), ((_P100,), "1 × Tesla P100"), ((_T4,), "1 × Tesla T4")]
)
def test_other_cards_stop_the_session(log: Log, gpus: tuple[Gpu, ...], has: str) -> None:
    """If GPUs are missing or of another model, the error names what was asked for and what is there."""
    with pytest.raises(KernelFailure) as caught:
        check_gpus(settings(**_ASKED), gpus, reporter(log))
    assert caught.value.reason is EndReason.NO_GPU
    assert "2 × T4 (NvidiaTeslaT4)" in caught.value.message
    assert has in caught.value.message


def test_the_cpu_when_it_was_asked_for(log: Log) -> None:
    """Without an accelerator no GPU is needed, and an existing one stays unused."""
    check_gpus(settings(), (), reporter(log))
    check_gpus(settings(), (_T4,), reporter(log))
    assert log.lines[0] == "⚠ CUDA not available - using CPU"
    assert "are not used" in log.text


def test_the_environment_is_described(root: Path, log: Log) -> None:
    """The record for state.json is complete; a missing folder is reported, but not fatal."""
    paths = paths_in(root)
    paths.temp.rmdir()
    record = describe_environment(paths, (_T4,), reporter(log))
    assert record["gpus"] == ["Tesla T4"]
    assert record["cpu_count"] >= 1
    assert "Disk working:" in log.text
    assert "cannot be read" in log.text


def test_coqui_under_both_names() -> None:
    """The version is found for both names of the distribution."""
    assert tts_version({"TTS": "0.22.0"}) == "0.22.0"
    assert tts_version({"coqui-tts": "0.28.0", "TTS": "0.22.0"}) == "0.28.0"
    assert tts_version({}) is None


@pytest.mark.parametrize(
    ("visible", "found", "given"),
    [
        ("1", (_P100,), "1"),
        ("1,0", (_P100, _T4), "1,0"),
        ("", (), ""),
        ("-1", (), ""),
        ("0,7,1", (_T4,), "0"),
        ("GPU-abc", (_T4,), "GPU-abc"),
    ],
)
def test_a_machine_may_hide_some_of_its_cards(visible: str, found: tuple[Gpu, ...], given: str) -> None:
    """What CUDA_VISIBLE_DEVICES leaves is counted, and each rank gets one of those."""
    said = "Tesla T4, 15360 MiB, 580.1\nTesla P100-PCIE-16GB, 16384 MiB, 580.1\n"
    env = {"CUDA_VISIBLE_DEVICES": visible}
    assert list_gpus(Capture({"nvidia-smi": Captured(0, said)}), env) == found
    if found:
        assert training_environment(env, gpu=True, ranks=len(found))["CUDA_VISIBLE_DEVICES"] == given
