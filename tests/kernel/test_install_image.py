"""Real installations from tiny wheels, without a network, into an environment like Kaggle's image."""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from kernel_template.contract import EndReason
from kernel_template.start.install import FROZEN, Installer
from kernel_template.start.packages import SitePackages, find_wheels
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import Captured, ChildRunner, capture_output
from tests.kernel.kit import Log, reporter
from tests.kernel.wheels import IMAGE, OFFERED, Image, Made, make_wheels, serve_index

_PACKAGES = ["coqui-tts>=0.27,<0.29", "six>=1.16"]
_KEPT = {made.name: made.version for made in IMAGE}
_BOTH = ["pip", "uv"]


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """An environment with torch, torchaudio and numpy, and no package index."""
    return Image.make(tmp_path)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index with all wheels."""
    with serve_index(tmp_path / "index", OFFERED) as url:
        yield url


def without_uv(command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Captured | None:
    """Run short programs, but hide uv."""
    return None if command[0] == "uv" else capture_output(command, env, timeout_s)


def installer(image: Image, log: Log, tool: str = "pip", **env: str) -> Installer:
    """Make an installer for the image."""
    site = SitePackages((image.site,))
    (image.site.parent / "temp").mkdir(exist_ok=True)
    return Installer(
        capture=capture_output if tool == "uv" else without_uv,
        run=ChildRunner(poll_s=0.02),
        env=image.env | env,
        versions=site.versions,
        programs=PackagePrograms(str(image.python)),
        temp=image.site.parent / "temp",
        report=reporter(log),
        site=site,
    )


@pytest.mark.parametrize("tool", _BOTH)
def test_the_images_own_packages_stay(image: Image, log: Log, index: str, tool: str) -> None:
    """The release that fits the image is installed; bytes and seconds are reported."""
    made = installer(image, log, tool, PIP_INDEX_URL=index)
    assert made.ensure(_PACKAGES, internet=True).ok
    assert made.versions(FROZEN) == _KEPT
    assert made.versions(("coqui-tts", "coqui-tts-trainer", "six")) == {
        "coqui-tts": "0.27.5",
        "coqui-tts-trainer": "0.4.0",
        "six": "1.17.0",
    }
    (told,) = [line for line in log.lines if " installed 3 packages" in line]
    size = re.fullmatch(rf"{tool} installed 3 packages, ([\d.]+) kB, in [\d.]+ s", told)
    assert size is not None
    assert float(size.group(1)) > 30
    assert "✓ Unchanged: torch 2.10.0+cu128, torchaudio 2.10.0+cu128, numpy 2.3.1" in log.lines


def test_without_the_constraints_they_would_not(image: Image, log: Log, index: str) -> None:
    """Without constraints the same installation changes the image, and the session ends."""
    made = installer(image, log, PIP_INDEX_URL=index)
    run = made.run

    def unconstrained(plan, on_line, on_stop=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        at = plan.command.index("--constraint")
        command = [*plan.command[:at], *plan.command[at + 2 :]]
        return run(type(plan)(command, plan.env, None, plan.limit_s, plan.grace_s), on_line, on_stop)

    loose = Installer(
        made.capture, unconstrained, made.env, made.versions, made.programs, made.temp, made.report,
        made.site,
    )  # fmt: skip
    with pytest.raises(KernelFailure, match=r"torch 2\.10\.0\+cu128 → 2\.13\.0"):
        loose.ensure(_PACKAGES, internet=True)
    assert "replaced these packages of the image" in log.text


@pytest.mark.parametrize("tool", _BOTH)
def test_a_release_that_needs_another_torch_is_refused(image: Image, log: Log, index: str, tool: str) -> None:
    """Nothing is changed, and the error says what conflicts; pip decides, not uv."""
    made = installer(image, log, tool, PIP_INDEX_URL=index)
    with pytest.raises(KernelFailure, match="another torch") as caught:
        made.ensure(["coqui-tts==0.28.0"], internet=True)
    assert caught.value.reason is EndReason.INSTALL_FAILED
    assert made.versions((*FROZEN, "coqui-tts")) == _KEPT
    assert ("uv failed (" in log.text) is (tool == "uv")


def test_a_wheelhouse_needs_no_network(image: Image, log: Log, tmp_path: Path) -> None:
    """A mounted dataset with the wheels suffices, whatever its folders are."""
    make_wheels(tmp_path / "input" / "datasets" / "owner" / "tts-wheels" / "wheels", OFFERED)
    made = installer(image, log)
    probe = made.ensure(
        _PACKAGES, internet=False, wheelhouse=lambda: find_wheels(tmp_path / "input", "owner/tts-wheels")
    )
    assert probe.ok
    assert made.versions(FROZEN) == _KEPT
    assert "Wheels: 7 in owner/tts-wheels, " in log.text


def test_a_wheelhouse_that_lacks_something(image: Image, log: Log, tmp_path: Path, index: str) -> None:
    """Without internet the missing package is named; with internet the index provides it."""
    some = [made for made in OFFERED if made.name != "six"]
    make_wheels(tmp_path / "input" / "tts-wheels", some)
    made = installer(image, log)

    def wheels():  # type: ignore[no-untyped-def]  # noqa: ANN202
        return find_wheels(tmp_path / "input", "owner/tts-wheels")

    with pytest.raises(KernelFailure, match=r"among the wheels in owner/tts-wheels there is no six>=1\.16"):
        made.ensure(_PACKAGES, internet=False, wheelhouse=wheels)
    made = installer(image, log, PIP_INDEX_URL=index)
    assert made.ensure(_PACKAGES, internet=True, wheelhouse=wheels).ok
    (warning,) = [event["message"] for event in log.events("warning")]
    assert warning.endswith("Trying the package index instead.")


def test_no_network_is_said(image: Image, log: Log) -> None:
    """A session whose internet does not work says what to do, and changes nothing."""
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    made = installer(image, log, **nowhere)
    with pytest.raises(KernelFailure, match="cannot reach the package index") as caught:
        made.ensure(_PACKAGES, internet=True)
    assert "install.wheelhouse" in caught.value.message
    assert made.versions(FROZEN) == _KEPT


def test_installed_packages_are_told_by_their_folders(image: Image) -> None:
    """The versions read from folders equal those that the interpreter reports."""
    listed = subprocess.run(
        [image.python, "-c", "from importlib.metadata import version as v; print(v('torch'), v('numpy'))"],
        env=image.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert listed.stdout.split() == [_KEPT["torch"], _KEPT["numpy"]]
    assert SitePackages((image.site,)).versions(("torch", "numpy", "nothing")) == {
        "torch": _KEPT["torch"],
        "numpy": _KEPT["numpy"],
    }


def test_what_only_the_export_needs_is_added(image: Image, log: Log, index: str) -> None:
    """Installed packages stay as they are; missing ones are installed under the same constraints."""
    made = installer(image, log, PIP_INDEX_URL=index)
    made.add(["numpy>=2.9", "torch"], internet=False)
    assert "Installing" not in log.text
    made.add(["numpy>=2.9", "coqui-tts-trainer>=0.3"], internet=True)
    assert made.versions((*FROZEN, "coqui-tts-trainer")) == {**_KEPT, "coqui-tts-trainer": "0.4.0"}
    with pytest.raises(KernelFailure, match="no internet to install from"):
        made.add(["six>=1.16"], internet=False)


@pytest.mark.parametrize("tool", _BOTH)
def test_what_the_image_has_broken_is_mended(image: Image, log: Log, index: str, tool: str) -> None:
    """An onnx that needs a newer release of another package than the image's gets it, if that can be had."""
    image.put(Made("onnx", "1.23.2", ("six>=1.17; python_version > '3'", "nothing; extra == 'reference'")))
    image.put(Made("six", "1.16.0"))
    made = installer(image, log, tool, PIP_INDEX_URL=index)
    made.add(["onnx>=1.16"], internet=True, alone=True)
    made.add(["onnx>=1.16"], internet=False)
    assert "Installing" not in log.text
    made.add(["onnx>=1.16"], internet=True)
    assert "onnx 1.23.2 is there, but needs six>=1.17" in log.text
    assert made.versions((*FROZEN, "onnx", "six")) == {**_KEPT, "onnx": "1.23.2", "six": "1.17.0"}
