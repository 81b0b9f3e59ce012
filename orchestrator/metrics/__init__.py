"""Read a training's measurements from any of its logs into one table."""

from orchestrator.metrics.findings import Finding, FindingKind, find_warnings
from orchestrator.metrics.join import continuous
from orchestrator.metrics.losses import eval_loss, watched_loss
from orchestrator.metrics.reading import Format, make_reader, read_metrics
from orchestrator.metrics.runs import read_run
from orchestrator.metrics.scores import Scores, read_scores
from orchestrator.metrics.table import Event, Kind, MetricsTable, Moment, Row, Series, SessionStart
from orchestrator.metrics.verdict import Verdict, judge

__all__ = [
    "Event",
    "Finding",
    "FindingKind",
    "Format",
    "Kind",
    "MetricsTable",
    "Moment",
    "Row",
    "Scores",
    "Series",
    "SessionStart",
    "Verdict",
    "continuous",
    "eval_loss",
    "find_warnings",
    "judge",
    "make_reader",
    "read_metrics",
    "read_run",
    "read_scores",
    "watched_loss",
]
