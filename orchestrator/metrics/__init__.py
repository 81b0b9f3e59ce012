"""Read a training's measurements from any of its logs into one table."""

from orchestrator.metrics.findings import Finding, FindingKind, find_warnings, watched_loss
from orchestrator.metrics.join import continuous
from orchestrator.metrics.reading import Format, make_reader, read_metrics
from orchestrator.metrics.runs import read_run
from orchestrator.metrics.table import Event, Kind, MetricsTable, Moment, Row, Series, SessionStart

__all__ = [
    "Event",
    "Finding",
    "FindingKind",
    "Format",
    "Kind",
    "MetricsTable",
    "Moment",
    "Row",
    "Series",
    "SessionStart",
    "continuous",
    "find_warnings",
    "make_reader",
    "read_metrics",
    "read_run",
    "watched_loss",
]
