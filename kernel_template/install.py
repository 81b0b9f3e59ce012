"""Coqui TTS: installed only when it cannot be imported, and never at the cost of the image's GPU stack.

`pip install TTS`, as the guide has it, needs Python below 3.12 and in a real run replaced 1.9 GB of the
image's CUDA libraries. Here the image's torch and its kin are frozen by a constraints file and compared
afterwards.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.failure import EndReason, KernelFailure
from kernel_template.files import write_atomic
from kernel_template.process import Capture, ChildPlan, Cut, RunChild, child_environment
from kernel_template.report import Reporter

# What pip must leave as it is.
FROZEN = ("torch", "torchaudio", "torchvision", "torchcodec", "triton", "numpy")
_PROBE_TIMEOUT_S = 300.0
_PIP_LIMIT_S = 1800.0
_NO_NETWORK = re.compile(
    r"name resolution|NewConnectionError|NameResolutionError|Failed to establish a new connection|"
    r"Network is unreachable|ConnectTimeoutError|ReadTimeoutError|Could not fetch URL|Max retries exceeded",
    re.IGNORECASE,
)
_OTHER_VERSIONS = (
    "it wants another torch, torchaudio or numpy than the image has, and those are kept as they are; "
    "name a release in install.packages that fits them"
)
_NO_RELEASE = "no release of it fits this Python and the image's torch; check install.packages"
_DISK_FULL = "the disk is full"
_PIP_TROUBLE = (
    (re.compile(r"No space left on device|Errno 28", re.IGNORECASE), _DISK_FULL),
    (re.compile(r"ResolutionImpossible|conflicting dependencies"), _OTHER_VERSIONS),
    (re.compile(r"No matching distribution found|Could not find a version that satisfies"), _NO_RELEASE),
    (re.compile(r"requires a different Python|Requires-Python"), "it does not support this Python version"),
    (
        re.compile(r"No module named '?pip"),
        "this Python has no pip; install the packages into it beforehand",
    ),
)
_KEPT_LINES = 200


@dataclass(frozen=True, slots=True)
class Probe:
    """What the probe program found: whether TTS can be imported, and whether torch sees CUDA."""

    ok: bool
    error: str | None
    cuda: bool
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Installer:
    """Makes sure that TTS can be imported.

    Args:
        capture: runs the probe.
        run: runs pip.
        env: the environment of both.
        versions: the installed versions of the distributions named.
        probe_program: the path of `programs/probe.py` as written out.
        temp: a folder for the constraints file.
        report: where all is said.
        python: the interpreter that the training will use.
    """

    capture: Capture
    run: RunChild
    env: Mapping[str, str]
    versions: Callable[[tuple[str, ...]], dict[str, str]]
    probe_program: Path
    temp: Path
    report: Reporter
    python: str = sys.executable

    def probe(self) -> Probe:
        """Import TTS and torch in a process of their own."""
        answer = self.capture(
            (self.python, str(self.probe_program)), child_environment(self.env), _PROBE_TIMEOUT_S
        )
        if answer is None:
            return Probe(ok=False, error="the import did not end in time", cuda=False, details={})
        for line in reversed(answer.output.splitlines()):
            if line.startswith("{"):
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                return Probe(bool(found.get("ok")), found.get("error"), bool(found.get("cuda")), found)
        last = (answer.output.strip().splitlines() or ["no output"])[-1]
        return Probe(ok=False, error=f"exit code {answer.returncode}: {last[:300]}", cuda=False, details={})

    def ensure(self, packages: Sequence[str], *, internet: bool) -> Probe:
        """Install `packages` when TTS cannot be imported, and prove that it can be afterwards.

        Raises:
            KernelFailure: it cannot be installed or imported, or the image's GPU stack was changed.
        """
        before = self.probe()
        if before.ok:
            self.report.say(f"✓ TTS {before.details.get('TTS')} can be imported: nothing to install")
            return before
        self.report.say(f"TTS cannot be imported yet ({before.error})")
        if not internet:
            raise KernelFailure(
                EndReason.INSTALL_FAILED,
                f"Coqui TTS cannot be imported ({before.error}) and the session has no internet "
                "to install it: set kernel.internet = true (the account must be phone-verified), or use an "
                "image that has it.",
            )
        self._install(packages)
        after = self.probe()
        if not after.ok:
            hint = ""
            if after.details.get("missing"):
                hint = (
                    f' Add "{after.details["missing"]}" (or the package that brings it) to install.packages.'
                )
            raise KernelFailure(
                EndReason.INSTALL_FAILED,
                f"{', '.join(packages)} was installed, but TTS still cannot be imported: "
                f"{after.error}.{hint}",
            )
        self.report.say(f"✓ TTS {after.details.get('TTS')} was installed and can be imported")
        return after

    def _install(self, packages: Sequence[str]) -> None:
        """Run pip under constraints, its output streaming."""
        frozen = self.versions(FROZEN)
        constraints = self.temp / "constraints.txt"
        write_atomic(
            constraints, "".join(f"{name}=={version}\n" for name, version in frozen.items()).encode()
        )
        self.report.say(f"Installing {', '.join(packages)}; kept: " + (", ".join(frozen) or "nothing"))
        command = [self.python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        command += ["--progress-bar", "off", "--constraint", str(constraints), *packages]
        lines: list[str] = []

        def on_line(text: str, *, is_bar: bool) -> None:
            if text and not is_bar:
                self.report.say(f"  {text}")
                lines.append(text)
                del lines[:-_KEPT_LINES]

        env = child_environment(self.env, {"PIP_ROOT_USER_ACTION": "ignore"})
        try:
            end = self.run(ChildPlan(command, env, limit_s=_PIP_LIMIT_S), on_line)
        except OSError as error:
            raise KernelFailure(EndReason.INSTALL_FAILED, f"pip could not be started: {error}.") from error
        if end.cut is Cut.INTERRUPTED:
            raise KernelFailure(
                EndReason.INTERRUPTED, "The session was stopped while Coqui TTS was being installed."
            )
        if end.returncode != 0 or end.cut is not None:
            raise self._pip_failure(packages, lines, end.returncode)
        self._compare(frozen)

    def _compare(self, frozen: Mapping[str, str]) -> None:
        now = self.versions(FROZEN)
        changed = [
            f"{name} {version} → {now.get(name, 'gone')}"
            for name, version in frozen.items()
            if now.get(name) != version
        ]
        if changed:
            raise KernelFailure(
                EndReason.INSTALL_FAILED,
                f"The installation changed the image's own packages ({', '.join(changed)}), which the GPU "
                "needs as they were. Name releases in install.packages that fit the image.",
            )
        self.report.say(
            "✓ Unchanged: " + (", ".join(f"{name} {version}" for name, version in frozen.items()) or "-")
        )

    @staticmethod
    def _pip_failure(packages: Sequence[str], lines: Sequence[str], returncode: int) -> KernelFailure:
        text = "\n".join(lines)
        names = ", ".join(packages)
        if _NO_NETWORK.search(text):
            return KernelFailure(
                EndReason.INSTALL_FAILED,
                f"{names} could not be installed: the session cannot reach the package index. "
                "Internet in a kernel needs a phone-verified account and kernel.internet = true.",
            )
        for pattern, why in _PIP_TROUBLE:
            if pattern.search(text):
                full = why == _DISK_FULL
                reason = EndReason.DISK_FULL if full else EndReason.INSTALL_FAILED
                return KernelFailure(reason, f"{names} could not be installed: {why}.")
        errors = [line for line in lines if line.startswith("ERROR")] or list(lines[-1:])
        said = f": {errors[-1].removeprefix('ERROR:').strip()}" if errors else ""
        return KernelFailure(
            EndReason.INSTALL_FAILED,
            f"{names} could not be installed (pip ended with exit code {returncode}){said}",
        )


def check_cuda(settings: Mapping[str, Any], probe: Probe, report: Reporter) -> None:
    """Make sure that torch sees the card that nvidia-smi sees.

    Raises:
        KernelFailure: a GPU was asked for, and torch cannot use it.
    """
    if settings.get("accelerator") is None:
        return
    if probe.cuda:
        report.say(f"✓ torch {probe.details.get('torch')} sees {', '.join(probe.details.get('devices', []))}")
        return
    built = probe.details.get("built_for_cuda")
    raise KernelFailure(
        EndReason.NO_GPU,
        f"The machine has the GPU that was asked for, but torch {probe.details.get('torch')} cannot use it: "
        + (
            f"it was built for CUDA {built}, which the driver does not offer."
            if built
            else "it is a CPU build."
        )
        + " Pin another docker image, or check what install.packages brings.",
    )
