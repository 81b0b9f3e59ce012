"""Whether TTS can be imported and torch sees the card: asked in a process of its own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernel_template.tools.failure import EndReason, KernelFailure
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import Capture, child_environment
from kernel_template.tools.report import Reporter

PROBE = "start.probe_program"
_PROBE_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Probe:
    """What the probe program found: whether TTS can be imported, and whether torch sees CUDA."""

    ok: bool
    error: str | None
    cuda: bool
    details: Mapping[str, Any]


def probe_tts(capture: Capture, programs: PackagePrograms, env: Mapping[str, str]) -> Probe:
    """Import TTS and torch in a process of their own.

    Args:
        capture: runs the program.
        programs: has it, and the interpreter that is to import them.
        env: its environment.
    """
    child = programs.environment(child_environment(env))
    answer = capture(programs.command(PROBE), child, _PROBE_TIMEOUT_S)
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
