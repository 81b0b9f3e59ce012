"""A training's measurements, from any log of it, as one table."""

from kernel_template.contract import METRICS_FILE
from orchestrator.metrics.findings import Finding, FindingKind, find_warnings, watched_loss
from orchestrator.metrics.join import continuous
from orchestrator.metrics.reading import Format, make_reader, read_metrics
from orchestrator.metrics.runs import read_run
from orchestrator.metrics.table import Border, Event, Kind, MetricsTable, Moment, Row, Series

__all__ = [
    "METRICS_FILE",
    "Border",
    "Event",
    "Finding",
    "FindingKind",
    "Format",
    "Kind",
    "MetricsTable",
    "Moment",
    "Row",
    "Series",
    "continuous",
    "find_warnings",
    "make_reader",
    "read_metrics",
    "read_run",
    "watched_loss",
]
