"""Checks, in a process of its own, that TTS can be imported and that torch sees the GPU."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernel_template.contract import EndReason
from kernel_template.settings import SessionSettings
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import Capture, child_environment
from kernel_template.tools.report import MessageSink

PROBE = "start.probe_program"
_PROBE_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Probe:
    """What the probe program found; `details` is all that it printed."""

    ok: bool
    error: str | None
    cuda: bool
    details: Mapping[str, Any]


def probe_tts(capture: Capture, programs: PackagePrograms, env: Mapping[str, str]) -> Probe:
    """Import TTS and torch in a process of their own.

    Args:
        capture: runs the probe program.
        programs: knows its command.
        env: its environment.
    """
    child = programs.environment(child_environment(env))
    answer = capture(programs.command(PROBE), child, _PROBE_TIMEOUT_S)
    if answer is None:
        return Probe(ok=False, error="the import took too long", cuda=False, details={})
    for line in reversed(answer.output.splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            return Probe(bool(found.get("ok")), found.get("error"), bool(found.get("cuda")), found)
    last = (answer.output.strip().splitlines() or ["no output"])[-1]
    return Probe(ok=False, error=f"exit code {answer.returncode}: {last[:300]}", cuda=False, details={})


def check_cuda(settings: SessionSettings, probe: Probe, report: MessageSink) -> None:
    """Check that torch sees the GPU that nvidia-smi sees.

    Raises:
        KernelFailure: a GPU was asked for, and torch cannot use it.
    """
    if settings["accelerator"] is None:
        return
    if probe.cuda:
        report.say(f"✓ torch {probe.details.get('torch')} sees {', '.join(probe.details.get('devices', []))}")
        return
    built = probe.details.get("built_for_cuda")
    raise KernelFailure(
        EndReason.NO_GPU,
        f"The machine has the GPU that was asked for, but torch {probe.details.get('torch')} cannot use it: "
        + (
            f"it was built for CUDA {built}, which the GPU's driver does not support."
            if built
            else "it was built for the CPU only."
        )
        + " Pin another image with kernel.docker_image, or check what install.packages installs.",
    )
