"""What a session uses: cards, memory and disk as they are now, and the work that the host has counted."""

import contextlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernel_template.host.protocol import HostReport
from kernel_template.tools.files import human_seconds, human_size
from kernel_template.tools.process import Capture

_CARD_QUERY = (
    "nvidia-smi",
    "--query-gpu=utilization.gpu,memory.used,memory.total",
    "--format=csv,noheader,nounits",
)
_CARD_TIMEOUT_S = 10.0
_CARD_FIELDS = 3
_CGROUP = Path("/sys/fs/cgroup")
_KIB = 1024


@dataclass(frozen=True, slots=True)
class CardUse:
    """One card at one moment: per cent of the time in which a kernel ran, and MiB. None: it does not tell."""

    utilisation: float | None
    memory_used_mb: float | None
    memory_total_mb: float | None

    def record(self) -> dict[str, float | None]:
        """As events hold it."""
        return {
            "utilisation": self.utilisation,
            "memory_used_mb": self.memory_used_mb,
            "memory_total_mb": self.memory_total_mb,
        }


def read_cards(capture: Capture, env: Mapping[str, str]) -> tuple[CardUse, ...] | None:
    """All cards by nvidia-smi; None when it does not answer."""
    answer = capture(_CARD_QUERY, env, _CARD_TIMEOUT_S)
    if answer is None or answer.returncode != 0:
        return None
    rows = [line.split(",") for line in answer.output.splitlines()]
    cards = [CardUse(*(_figure(part) for part in row)) for row in rows if len(row) == _CARD_FIELDS]
    return tuple(cards) or None


def _figure(text: Any) -> float | None:
    """A finite number; None for `[N/A]`, `[Not Supported]` and all else."""
    if isinstance(text, bool):
        return None
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def folder_bytes(folder: Path, most: int | None = None) -> int:
    """Bytes of all files below `folder`, or of `most`; a linked one counts once, what vanishes not at all."""
    total = files = 0
    seen: set[tuple[int, int]] = set()
    for place, _, names in os.walk(folder):
        for name in names:
            files += 1
            if most is not None and files > most:
                return total
            with contextlib.suppress(OSError):
                told = Path(place, name).lstat()
                if told.st_nlink == 1 or (told.st_dev, told.st_ino) not in seen:
                    seen.add((told.st_dev, told.st_ino))
                    total += told.st_size
    return total


def used_memory(proc: Path = Path("/proc"), cgroup: Path = _CGROUP) -> int | None:
    """Bytes of memory in use that cannot simply be given back: the container's if it has a limit."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        if (cgroup / "memory.max").read_text().strip().isdigit():
            pairs = (line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
            idle = {name: int(value) for name, value in pairs}["inactive_file"]
            return max(int((cgroup / "memory.current").read_text()) - idle, 0)
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        told = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
        total, free = (int(told[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        return (total - free) * _KIB
    return None


@dataclass(slots=True)
class Span:
    """The mean and the peak of a figure over time."""

    count: int = 0
    total: float = 0.0
    peak: float | None = None

    def add(self, value: float | None) -> None:
        """Take a reading."""
        if value is not None:
            self.count += 1
            self.total += value
            self.peak = value if self.peak is None else max(self.peak, value)

    @property
    def mean(self) -> float | None:
        """The mean of all readings; None without one."""
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class CardSpan:
    """One card over time."""

    busy: Span = field(default_factory=Span)
    held: Span = field(default_factory=Span)
    total_mb: float | None = None

    def add(self, card: CardUse) -> None:
        """Take a reading."""
        self.busy.add(card.utilisation)
        self.held.add(card.memory_used_mb)
        self.total_mb = card.memory_total_mb

    def record(self) -> dict[str, float | None]:
        """As state.json holds it."""
        busy, held = self.busy.mean, self.held.mean
        return {
            "utilisation_mean": round(busy, 1) if busy is not None else None,
            "memory_used_mean_mb": round(held, 1) if held is not None else None,
            "memory_used_peak_mb": self.held.peak,
            "memory_total_mb": self.total_mb,
        }


@dataclass(frozen=True, slots=True)
class Work:
    """What the host of one training process has counted; its times run from that process's start.

    Attributes:
        steps_s: seconds in optimizer steps.
        waiting_s: seconds in which a batch was waited for.
        samples: samples that were trained on, by all cards together.
        imports_s: seconds until the trainer was imported.
        data_s: seconds in which loaders were made.
        first_at: when the first step was done.
        first_s: what that step took.
        at: when all this was counted.
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
    def of(cls, report: HostReport) -> "Work":
        """Take it from the host's report."""
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
    """A quotient with four decimals; None where there is nothing to divide by."""
    return round(part / whole, 4) if whole > 0 else None


def usage_in_words(told: Mapping[str, Any], first_step_after: float) -> str | None:
    """The `resources` of state.json as one sentence for people; None when no step was counted."""
    if told["goodput"] is None:
        return None
    words = [f"Goodput {told['goodput']:.0%} of the session's {human_seconds(told['seconds'])}"]
    if told["goodput_since_first_step"] is not None:
        words[0] += (
            f" ({told['goodput_since_first_step']:.0%} from the first step, after "
            f"{human_seconds(first_step_after)}, to the training's end)"
        )
    if told["samples_per_s"] is not None:
        words.append(f"{told['samples_per_s']:.3g} samples a second")
    if told["loader_wait_share"] is not None:
        words.append(f"{told['loader_wait_share']:.1%} of the training spent waiting for data")
    for index, card in enumerate(told["gpus"]):
        if card["utilisation_mean"] is not None:
            words.append(f"GPU {index} {card['utilisation_mean']:.0f}% busy")
        if card["memory_used_peak_mb"] is not None and card["memory_total_mb"]:
            held = card["memory_used_peak_mb"] / card["memory_total_mb"]
            words.append(f"GPU {index}'s memory at most {held:.0%} full")
    if told["disk_used_peak_bytes"] is not None:
        limit = told["disk_limit_bytes"]
        of = f" of {human_size(limit)}" if limit else ""
        words.append(f"outputs at most {human_size(told['disk_used_peak_bytes'])}{of}")
    return "; ".join(words) + "."
