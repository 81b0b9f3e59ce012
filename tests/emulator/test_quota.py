"""The week's GPU hours."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from kagglesdk.kaggle_object import TimeDeltaSerializer

from orchestrator.emulator.service.kernels import Version
from orchestrator.emulator.service.limits import GpuUsage, gpu_quota, week_start
from orchestrator.emulator.wire.rpc import duration
from orchestrator.models import SessionState

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)  # a Wednesday
HOUR = timedelta(hours=1)


def version(started_at: datetime | None, limit_h: float = 12) -> Version:
    """An active GPU session."""
    return Version(
        number=1,
        state=SessionState.QUEUED if started_at is None else SessionState.RUNNING,
        pushed_at=NOW,
        session=1,
        limit_s=limit_h * 3600,
        language="python",
        kernel_type="script",
        machine_shape="NvidiaTeslaT4",
        internet=True,
        started_at=started_at,
    )


def test_the_week_turns_on_saturday() -> None:
    """The week begins on Saturday 00:00 UTC, which itself belongs to the new week."""
    turn = datetime(2026, 11, 14, tzinfo=UTC)
    assert week_start(NOW) == turn
    assert week_start(turn) == turn
    assert week_start(turn - timedelta(seconds=1)) == turn - timedelta(days=7)
    assert gpu_quota((), (), 1, NOW).refreshes_at == turn + timedelta(days=7)


def test_running_sessions_use_and_reserve() -> None:
    """A running session's elapsed time is used, the rest of its limit reserved; a queued one reserves all."""
    quota = gpu_quota(
        [GpuUsage(NOW - 9 * HOUR, NOW - 8 * HOUR)], [version(NOW - 2 * HOUR), version(None)], 108000, NOW
    )
    assert (quota.used, quota.reserved) == (3 * HOUR, 22 * HOUR)
    assert not quota.is_spent


def test_a_session_across_the_turn_is_billed_in_parts() -> None:
    """Each week is billed for its own part of a session."""
    turn = week_start(NOW)
    assert gpu_quota([GpuUsage(turn - 3 * HOUR, turn + 2 * HOUR)], (), 108000, NOW).used == 2 * HOUR
    assert gpu_quota([GpuUsage(turn - 9 * HOUR, turn - 2 * HOUR)], (), 108000, NOW).used == 0 * HOUR
    running = gpu_quota((), [version(turn - 3 * HOUR)], 108000, turn + 2 * HOUR)
    assert (running.used, running.reserved) == (2 * HOUR, 7 * HOUR)


@given(st.timedeltas(timedelta(0), timedelta(days=400)))
def test_durations_reach_the_client(span: timedelta) -> None:
    """The SDK reads durations to the millisecond, beyond a day too."""
    read = TimeDeltaSerializer._from_dict_value(duration(span))
    assert abs(read - span) < timedelta(milliseconds=1)
