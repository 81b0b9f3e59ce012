"""Installing Coqui only if it is missing, without changing the image's GPU stack."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import EndReason
from kernel_template.start.install import Installer
from kernel_template.start.packages import SitePackages
from kernel_template.start.probe import Probe, check_cuda
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import Captured, ChildPlan, StopCause
from tests.kernel.kit import Capture, Child, Log, probe_answer, reporter, settings

_BROKEN = probe_answer(ok=False, error="ModuleNotFoundError: No module named 'TTS'", missing="TTS")
_PACKAGES = ["coqui-tts>=0.27,<0.29"]
_BEFORE = {"torch": "2.10.0+cu128", "numpy": "2.3.1"}


def installer(root: Path, log: Log, capture: Capture, run: Child, *after: dict[str, str]) -> Installer:
    """Make an installer whose probes report `_BEFORE` first and `after` then."""
    answers = [_BEFORE, *(after or (_BEFORE,))]
    return Installer(
        capture=capture,
        run=run,
        env={"KAGGLE_KEY": "secret", "PATH": "/bin"},
        versions=lambda _names: answers.pop(0) if len(answers) > 1 else answers[0],
        programs=PackagePrograms("python"),
        temp=root / "temp",
        report=reporter(log),
    )


def failure(root: Path, log: Log, run: Child, *probes: Any, **more: Any) -> KernelFailure:
    """Return the error of an installation with these probe answers."""
    capture = Capture({"start.probe_program": list(probes or (_BROKEN,))})
    with pytest.raises(KernelFailure) as caught:
        installer(root, log, capture, run, *more.pop("after", ())).ensure(
            _PACKAGES, internet=more.pop("internet", True)
        )
    return caught.value


def test_nothing_is_installed_when_tts_can_be_imported(root: Path, log: Log) -> None:
    """If TTS can be imported, pip is not started."""
    run = Child()
    probe = installer(root, log, Capture({"start.probe_program": probe_answer()}), run).ensure(
        _PACKAGES, internet=False
    )
    assert probe.ok
    assert run.plans == []
    assert "nothing to install" in log.text


def site(folder: Path, *names: str) -> SitePackages:
    """Installed distributions."""
    for name in names:
        (folder / f"{name}.dist-info").mkdir(parents=True)
    return SitePackages((folder,))


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (["coqui-tts>=0.27,<0.29"], []),
        (["coqui-tts==0.27.5"], ["coqui-tts==0.27.5"]),
        (["coqui-tts[bn]", "bnunicodenormalizer"], ["bnunicodenormalizer"]),
        (["Extra_Package>=2"], []),
        (["extra-package<2"], ["extra-package<2"]),
        (["git+https://example.org/x.git"], ["git+https://example.org/x.git"]),
    ],
)
def test_what_is_asked_for_counts_although_tts_is_there(
    root: Path, log: Log, asked: list[str], wanted: list[str]
) -> None:
    """Another release and other packages are installed; without internet that is only said."""
    there = site(root / "site", "coqui_tts-0.28.0", "extra_package-2.1")
    capture = Capture({"start.probe_program": probe_answer()})
    run = Child()
    assert replace(installer(root, log, capture, run), site=there).ensure(asked, internet=True).ok
    assert [plan.command[-len(wanted) :] for plan in run.plans] == ([wanted] if wanted else [])
    log.lines.clear()
    assert replace(installer(root, log, capture, run), site=there).ensure(asked, internet=False).ok
    assert ("it trains with what there is" in log.text) is bool(wanted)


def test_the_images_stack_is_frozen(root: Path, log: Log) -> None:
    """A constraints file has the image's versions; pip's output is streamed, and it gets no Kaggle token."""
    capture = Capture({"start.probe_program": [_BROKEN, probe_answer()]})
    run = Child(["Collecting coqui-tts", "Successfully installed coqui-tts-0.28.0"])
    assert installer(root, log, capture, run).ensure(_PACKAGES, internet=True).ok
    (plan,) = run.plans
    assert "--constraint" in plan.command
    constraints = Path(plan.command[plan.command.index("--constraint") + 1])
    assert constraints.read_text() == "torch==2.10.0+cu128\nnumpy==2.3.1\n"
    assert plan.command[-1] == _PACKAGES[0]
    assert not [name for name in plan.env if name.startswith("KAGGLE_")]
    assert "  Collecting coqui-tts" in log.lines
    assert "✓ Unchanged: torch 2.10.0+cu128, numpy 2.3.1" in log.lines


def test_a_changed_stack_is_a_failure(root: Path, log: Log) -> None:
    """The error names every package that pip changed in spite of the constraints."""
    why = failure(root, log, Child(), after=({"torch": "2.13.0"},))
    assert why.reason is EndReason.INSTALL_FAILED
    assert "torch 2.10.0+cu128 → 2.13.0, numpy 2.3.1 → gone" in why.message


def test_no_internet_was_asked_for(root: Path, log: Log) -> None:
    """Without internet nothing is installed, and the error says what to set."""
    run = Child()
    why = failure(root, log, run, internet=False)
    assert "internet = true" in why.message
    assert run.plans == []


@pytest.mark.parametrize(
    ("line", "word", "reason"),
    [
        (
            "WARNING: Retrying … NewConnectionError: Temporary failure in name resolution",
            "cannot reach the package index",
            EndReason.INSTALL_FAILED,
        ),
        (
            "ERROR: No matching distribution found for coqui-tts==9",
            "no release of it works",
            EndReason.INSTALL_FAILED,
        ),
        ("ERROR: ResolutionImpossible: for help visit", "another torch", EndReason.INSTALL_FAILED),
        (
            "ERROR: Package 'tts' requires a different Python: 3.12",
            "Python version",
            EndReason.INSTALL_FAILED,
        ),
        ("/usr/bin/python3: No module named pip", "has no pip", EndReason.INSTALL_FAILED),
        ("ERROR: [Errno 28] No space left on device", "the disk is full", EndReason.DISK_FULL),
        ("ERROR: something new", "something new", EndReason.INSTALL_FAILED),
    ],
)
def test_each_way_in_which_pip_fails(root: Path, log: Log, line: str, word: str, reason: EndReason) -> None:
    """The error gives the reason and the packages."""
    why = failure(root, log, Child(["Collecting coqui-tts", line], returncode=1))
    assert word in why.message
    assert why.reason is reason
    assert _PACKAGES[0] in why.message


def test_pip_that_never_ends_or_cannot_start(root: Path, log: Log) -> None:
    """A time-out, an interrupt and a missing interpreter are errors of their own."""
    late = failure(root, log, Child(stop_cause=StopCause.TIME_LIMIT))
    assert late.reason is EndReason.INSTALL_FAILED
    assert "(pip was not done after 30 min 0 s)" in late.message
    stopped = failure(root, log, Child(stop_cause=StopCause.INTERRUPTED))
    assert stopped.reason is EndReason.INTERRUPTED
    assert _PACKAGES[0] in stopped.message
    assert "pip could not be started" in failure(root, log, Child(error=FileNotFoundError("python"))).message


def test_installed_but_not_importable(root: Path, log: Log) -> None:
    """The error quotes the import error and names the package to add."""
    still = probe_answer(ok=False, error="ModuleNotFoundError: No module named 'six'", missing="six")
    why = failure(root, log, Child(), _BROKEN, still)
    assert "No module named 'six'" in why.message
    assert 'Add "six"' in why.message


@pytest.mark.parametrize("answer", [None, Captured(-11, ""), Captured(1, "{broken\nlast words\n")])
def test_a_probe_that_says_nothing_useful(root: Path, log: Log, answer: Captured | None) -> None:
    """A crash during the import counts as a failed import."""
    probe = installer(root, log, Capture({"start.probe_program": answer}), Child()).probe()
    assert not probe.ok
    assert probe.error


def test_torch_has_to_see_the_card(log: Log) -> None:
    """A torch without the GPU's CUDA ends a session that needs a GPU; on the CPU it is accepted."""
    asked = settings(accelerator="NvidiaTeslaT4")
    probe = Probe(ok=True, error=None, cuda=False, details={"torch": "2.13.0", "built_for_cuda": None})
    with pytest.raises(KernelFailure, match="built for the CPU only"):
        check_cuda(asked, probe, reporter(log))
    probe = Probe(ok=True, error=None, cuda=False, details={"torch": "2.13.0", "built_for_cuda": "13.0"})
    with pytest.raises(KernelFailure, match=r"CUDA 13\.0"):
        check_cuda(asked, probe, reporter(log))
    check_cuda(settings(), probe, reporter(log))
    seen = Probe(ok=True, error=None, cuda=True, details={"torch": "2.10.0", "devices": ["Tesla T4"]})
    check_cuda(asked, seen, reporter(log))
    assert "sees Tesla T4" in log.text


def test_a_command_is_a_plan(root: Path, log: Log) -> None:
    """The command has its own time limit."""
    run = Child()
    installer(root, log, Capture({"start.probe_program": [_BROKEN, probe_answer()]}), run).ensure(
        _PACKAGES, internet=True
    )
    assert isinstance(run.plans[0], ChildPlan)
    assert run.plans[0].limit_s is not None


def with_uv(root: Path, log: Log, run: Any) -> None:
    """Install in an image that has uv."""
    uv = Captured(0, "uv 0.9.1")
    capture = Capture({"start.probe_program": [_BROKEN, probe_answer()], "uv": uv})
    assert installer(root, log, capture, run).ensure(_PACKAGES, internet=True).ok


def test_uv_installs_where_there_is_one(root: Path, log: Log) -> None:
    """It gets the same constraints and the training's interpreter, and may not download others."""
    run = Child()
    with_uv(root, log, run)
    (plan,) = run.plans
    assert plan.command[:5] == ["uv", "pip", "install", "--python", "python"]
    assert "--constraint" in plan.command
    assert plan.env["UV_PYTHON_DOWNLOADS"] == "never"


def test_pip_is_asked_where_uv_fails(root: Path, log: Log) -> None:
    """The error of uv is printed, and pip's result counts."""
    asked: list[str] = []

    def run(plan: ChildPlan, on_line: Any, on_stop: Any = None) -> Any:
        tool = plan.command[0] if plan.command[0] == "uv" else plan.command[2]
        asked.append(tool)
        return Child(["error: not a wheel"], returncode=2 if tool == "uv" else 0)(plan, on_line, on_stop)

    with_uv(root, log, run)
    assert asked == ["uv", "pip"]
    assert "  uv failed (error: not a wheel); trying pip." in log.lines
    assert any(line.startswith("pip installed") for line in log.lines)


def test_a_full_disk_is_not_tried_twice(root: Path, log: Log) -> None:
    """If uv fills the disk, pip is not tried."""
    run = Child(["  Caused by: No space left on device (os error 28)"], returncode=2)
    capture = Capture({"start.probe_program": _BROKEN, "uv": Captured(0, "uv 0.9.1")})
    with pytest.raises(KernelFailure) as caught:
        installer(root, log, capture, run).ensure(_PACKAGES, internet=True)
    assert caught.value.reason is EndReason.DISK_FULL
    assert len(run.plans) == 1


def test_a_wheelhouse_that_is_not_mounted(root: Path, log: Log) -> None:
    """Without internet, a missing wheelhouse ends the session and says what to do."""
    run = Child()
    capture = Capture({"start.probe_program": _BROKEN})
    with pytest.raises(KernelFailure, match="wheelhouse is not mounted"):
        installer(root, log, capture, run).ensure(_PACKAGES, internet=False, wheelhouse=lambda: None)
    assert run.plans == []
