"""The week's GPU hours: billed by wall clock of the session, not per card.

The week turns on Saturday 00:00 UTC, as Kaggle's notices say. `[?]` How a session across the turn is billed:
here each week gets its own part. `[?]` Whether spent quota ends a session: here it may use its whole limit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.emulator.service.records import Usage, Version

_SATURDAY = 5
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class GpuQuota:
    """GPU time of this week. `reserved` is what active sessions may still use of it, up to their limits."""

    used: timedelta
    reserved: timedelta
    allowed: timedelta
    refreshes_at: datetime

    @property
    def is_spent(self) -> bool:
        """Whether a new GPU session is refused."""
        return self.used + self.reserved >= self.allowed


def week_start(now: datetime) -> datetime:
    """The last Saturday 00:00 UTC at or before `now`."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=(now.weekday() - _SATURDAY) % 7)


def gpu_quota(ended: Iterable[Usage], active: Iterable[Version], allowed_s: float, now: datetime) -> GpuQuota:
    """Count the week's use from finished stretches and active GPU sessions; `allowed_s` is in seconds."""
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
