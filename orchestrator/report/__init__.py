"""Write a run's report: curves, sound and settings in one file that can be sent to anybody."""

from orchestrator.report.page import render, write_comparison, write_report
from orchestrator.report.reading import Notice, RunData, read_report

__all__ = ["Notice", "RunData", "read_report", "render", "write_comparison", "write_report"]
