"""What an account may use: machine shapes, sessions at once, and GPU hours per week.

Shape names are from the client's documentation (docs/kernels.md of kaggle-cli, 2026). `[?]` marks guesses:
which shapes an ordinary account may use and how a refusal is worded; how a session that spans two
weeks is billed (here each week gets its own part); whether a spent quota ends a running session (here not).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from pathlib import Path

from pydantic import TypeAdapter

from orchestrator.emulator.options import EmulatorOptions
from orchestrator.emulator.service.exceptions import PushRejectedError
from orchestrator.emulator.service.files import write_bytes_atomically
from orchestrator.emulator.service.kernels import Version

_SATURDAY = 5
_WEEK = timedelta(days=7)
DEFAULT_GPU = "NvidiaTeslaT4"


class Access(Enum):
    """What happens to a push that asks for a machine shape."""

    GRANTED = auto()
    REPLACED = auto()  # Retired: another machine runs it, and nothing in the answer says so.
    RESTRICTED = auto()  # For certain competitions or admins.


# Every accelerator of Kaggle. A shape that is not here is refused as unknown.
MACHINE_SHAPES = {
    DEFAULT_GPU: Access.GRANTED,
    "Gpu": Access.REPLACED,
    "NvidiaTeslaP100": Access.REPLACED,
    "NvidiaH100": Access.RESTRICTED,
    "NvidiaL4": Access.RESTRICTED,
    "NvidiaL4X1": Access.RESTRICTED,
    "NvidiaRtxPro6000": Access.RESTRICTED,
    "NvidiaTeslaA100": Access.RESTRICTED,
    "NvidiaTeslaT4Highmem": Access.RESTRICTED,
    "Tpu1VmV38": Access.RESTRICTED,
    "TpuV38": Access.RESTRICTED,
    "TpuV5E8": Access.RESTRICTED,
    "TpuV6E8": Access.RESTRICTED,
}


def machine_for(shape: str | None, *, enable_gpu: bool) -> str | None:
    """The machine shape that a push gets; None is a machine without accelerator.

    Args:
        shape: the push's `machine_shape`, which wins over the deprecated `enable_gpu`.
        enable_gpu: the push's `enable_gpu`.

    Raises:
        PushRejectedError: the shape is unknown, or not for ordinary accounts.
    """
    if not shape:
        return DEFAULT_GPU if enable_gpu else None
    if shape == "None":
        return None
    access = MACHINE_SHAPES.get(shape)
    if access is None:
        raise PushRejectedError(f"{shape!r} is not a valid machine shape.")
    if access is Access.RESTRICTED:
        raise PushRejectedError(f"You do not have permission to use the accelerator {shape}.")
    return shape if access is Access.GRANTED else DEFAULT_GPU


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """The GPU time of one ended session; it counts even if the kernel has been deleted since."""

    started_at: datetime
    ended_at: datetime


_USAGE = TypeAdapter(tuple[GpuUsage, ...])


def read_usage(path: Path) -> tuple[GpuUsage, ...]:
    """The GPU time of all ended sessions."""
    return _USAGE.validate_json(path.read_bytes()) if path.exists() else ()


def write_usage(path: Path, usage: tuple[GpuUsage, ...]) -> None:
    """Write down the GPU time of all ended sessions."""
    write_bytes_atomically(path, _USAGE.dump_json(usage))


@dataclass(frozen=True, slots=True)
class GpuQuota:
    """GPU time of this week. `reserved` is what active sessions may still use, up to their limits."""

    used: timedelta
    reserved: timedelta
    allowed: timedelta
    refreshes_at: datetime

    @property
    def is_spent(self) -> bool:
        """Whether a new GPU session is refused."""
        return self.used + self.reserved >= self.allowed


def week_start(now: datetime) -> datetime:
    """The last Saturday 00:00 UTC at or before `now`: when Kaggle's notices say that the week begins."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=(now.weekday() - _SATURDAY) % 7)


def gpu_quota(
    ended: Iterable[GpuUsage], active: Iterable[Version], allowed_s: float, now: datetime
) -> GpuQuota:
    """This week's GPU time, billed by the wall clock of sessions and not per GPU.

    Args:
        ended: the GPU time of ended sessions.
        active: versions with an active GPU session.
        allowed_s: GPU time per week, in seconds.
        now: the date and time.
    """
    start = week_start(now)
    used = reserved = timedelta(0)
    for usage in ended:
        used += max(timedelta(0), min(usage.ended_at, now) - max(usage.started_at, start))
    for version in active:
        limit = timedelta(seconds=version.limit_s)
        began = version.started_at
        used += timedelta(0) if began is None else max(timedelta(0), now - max(began, start))
        reserved += limit if began is None else max(timedelta(0), limit - (now - began))
    return GpuQuota(used, reserved, timedelta(seconds=allowed_s), start + _WEEK)


def check_limits(
    machine: str | None, active: Collection[Version], quota: GpuQuota, options: EmulatorOptions
) -> None:
    """Refuse a session beyond the limits, in Kaggle's words.

    Args:
        machine: the machine shape that the session would get.
        active: versions with an active session.
        quota: this week's GPU time.
        options: the limits.

    Raises:
        PushRejectedError: too many sessions are active, or the GPU time of the week is used or reserved.
    """
    kind, limit = ("GPU", options.max_gpu_sessions) if machine else ("CPU", options.max_cpu_sessions)
    if sum(1 for version in active if bool(version.machine_shape) == bool(machine)) >= limit:
        raise PushRejectedError(f"Maximum batch {kind} session count of {limit} reached.")
    if machine and quota.is_spent:
        hours = options.weekly_quota_s / 3600
        raise PushRejectedError(f"Maximum weekly GPU quota of {hours:.2f} hours reached.")
