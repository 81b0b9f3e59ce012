"""Readings of GPUs and memory, their means and peaks, and what the host counted."""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernel_template.contract import GpuSummary, Resources
from kernel_template.host.protocol import HostReport
from kernel_template.tools.files import human_seconds, human_size
from kernel_template.tools.process import Capture

_GPU_QUERY = (
    "nvidia-smi",
    "--query-gpu=utilization.gpu,memory.used,memory.total",
    "--format=csv,noheader,nounits",
)
_GPU_TIMEOUT_S = 10.0
_GPU_FIELDS = 3
_CGROUP = Path("/sys/fs/cgroup")
_KIB = 1024


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU now: per cent of the time in which it was busy, and MiB of memory; None if not reported."""

    utilisation: float | None
    memory_used_mb: float | None
    memory_total_mb: float | None

    def record(self) -> dict[str, float | None]:
        """The reading for an event."""
        return {
            "utilisation": self.utilisation,
            "memory_used_mb": self.memory_used_mb,
            "memory_total_mb": self.memory_total_mb,
        }


def read_gpus(capture: Capture, env: Mapping[str, str]) -> tuple[GpuReading, ...] | None:
    """Read all GPUs with nvidia-smi; None if it does not answer."""
    answer = capture(_GPU_QUERY, env, _GPU_TIMEOUT_S)
    if answer is None or answer.returncode != 0:
        return None
    rows = [line.split(",") for line in answer.output.splitlines()]
    gpus = [GpuReading(*(_figure(part) for part in row)) for row in rows if len(row) == _GPU_FIELDS]
    return tuple(gpus) or None


def _figure(text: Any) -> float | None:
    """A finite number; None for `[N/A]`, `[Not Supported]` and anything else."""
    if isinstance(text, bool):
        return None
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def used_memory(proc: Path = Path("/proc"), cgroup: Path = _CGROUP) -> int | None:
    """Bytes of memory in use, without caches: the container's if it has a limit, else the machine's."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        if (cgroup / "memory.max").read_text().strip().isdigit():
            pairs = (line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
            idle = {name: int(value) for name, value in pairs}["inactive_file"]
            return max(int((cgroup / "memory.current").read_text()) - idle, 0)
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        fields = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
        total, free = (int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        return (total - free) * _KIB
    return None


@dataclass(slots=True)
class Stats:
    """The mean and the peak of a figure over time."""

    count: int = 0
    total: float = 0.0
    peak: float | None = None

    def add(self, value: float | None) -> None:
        """Add a reading."""
        if value is not None:
            self.count += 1
            self.total += value
            self.peak = value if self.peak is None else max(self.peak, value)

    @property
    def mean(self) -> float | None:
        """The mean of all readings; None without any."""
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class GpuStats:
    """One GPU over time."""

    busy: Stats = field(default_factory=Stats)
    held: Stats = field(default_factory=Stats)
    total_mb: float | None = None

    def add(self, gpu: GpuReading) -> None:
        """Add a reading."""
        self.busy.add(gpu.utilisation)
        self.held.add(gpu.memory_used_mb)
        self.total_mb = gpu.memory_total_mb

    def record(self) -> GpuSummary:
        """The figures for state.json."""
        busy, held = self.busy.mean, self.held.mean
        return {
            "utilisation_mean": round(busy, 1) if busy is not None else None,
            "memory_used_mean_mb": round(held, 1) if held is not None else None,
            "memory_used_peak_mb": self.held.peak,
            "memory_total_mb": self.total_mb,
        }


@dataclass(frozen=True, slots=True)
class HostCounts:
    """What the host of one training process counted; its times count from that process's start.

    Attributes:
        steps_s: seconds in optimizer steps.
        waiting_s: seconds of waiting for batches.
        samples: samples that all ranks trained on.
        imports_s: seconds until the trainer was imported.
        data_s: seconds of making the data loaders.
        first_at: when the first step was done.
        first_s: how long that step took.
        at: when this was counted.
    """

    steps_s: float = 0.0
    waiting_s: float = 0.0
    samples: int = 0
    imports_s: float | None = None
    data_s: float | None = None
    first_at: float | None = None
    first_s: float = 0.0
    at: float | None = None

    @classmethod
    def of(cls, report: HostReport) -> "HostCounts":
        """Take the counts from the host's report."""
        return cls(
            report.step_seconds_total,
            report.loader_wait_s_total,
            report.samples_total,
            report.imports_s,
            report.data_s,
            report.first_step_at,
            report.first_step_s,
            report.counted_at,
        )


def share(part: float, whole: float) -> float | None:
    """`part / whole`, rounded to four decimals; None if `whole` is 0."""
    return round(part / whole, 4) if whole > 0 else None


def usage_in_words(used: Resources, first_step_after: float) -> str | None:
    """Write the `resources` of state.json as one sentence; None if no step was counted."""
    if used["goodput"] is None:
        return None
    parts = [f"Goodput {used['goodput']:.0%} of the session's {human_seconds(used['seconds'])}"]
    if used["goodput_since_first_step"] is not None:
        parts[0] += (
            f" ({used['goodput_since_first_step']:.0%} from the first step, after "
            f"{human_seconds(first_step_after)}, to the training's end)"
        )
    if used["samples_per_s"] is not None:
        parts.append(f"{used['samples_per_s']:.3g} samples a second")
    if used["loader_wait_share"] is not None:
        parts.append(f"{used['loader_wait_share']:.1%} of the training waiting for data")
    for index, gpu in enumerate(used["gpus"]):
        if gpu["utilisation_mean"] is not None:
            parts.append(f"GPU {index} {gpu['utilisation_mean']:.0f}% busy")
        if gpu["memory_used_peak_mb"] is not None and gpu["memory_total_mb"]:
            held = gpu["memory_used_peak_mb"] / gpu["memory_total_mb"]
            parts.append(f"GPU {index}'s memory at most {held:.0%} full")
    if used["disk_used_peak_bytes"] is not None:
        limit = used["disk_limit_bytes"]
        of = f" of {human_size(limit)}" if limit else ""
        parts.append(f"outputs at most {human_size(used['disk_used_peak_bytes'])}{of}")
    return "; ".join(parts) + "."
