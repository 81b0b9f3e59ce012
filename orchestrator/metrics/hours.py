"""Hours of a run: what a trainer's clock shows starts again with each session, a run's hours add up."""

import math
from collections.abc import Mapping

from orchestrator.metrics.table import MetricsTable, Series


def session_offsets(
    table: MetricsTable, session_seconds: Mapping[int, float] | None = None
) -> dict[int, float]:
    """The seconds of all sessions before each session.

    Args:
        table: the measurements, whose times are seconds since their session began.
        session_seconds: how long the sessions took, as far as that is known.
    """
    longest = dict(session_seconds or {})
    for index in range(table.moment_count):
        moment = table.moment_at(index)
        if moment.session is not None and moment.time is not None:
            longest[moment.session] = max(moment.time, longest.get(moment.session, 0.0))
    before, total = {}, 0.0
    for session in sorted(longest):
        before[session] = total
        total += longest[session]
    return before


def hour_at(series: Series, index: int, offsets: Mapping[int, float]) -> float | None:
    """The run's hours at one value of a series; None if its time is not known."""
    time = series.times[index]
    return None if math.isnan(time) else (time + offsets.get(series.sessions[index], 0.0)) / 3600
