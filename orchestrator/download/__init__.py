"""Outputs brought here: parallel, resumable, verified, confined to a folder, in place only when whole."""

from orchestrator.download.failures import UnavailableError
from orchestrator.download.fetch import fetch
from orchestrator.download.listener import Fetched, Planned, Transfer, TransferListener
from orchestrator.download.measure import measure
from orchestrator.download.names import INDEX_NAME, Refused, UnsafeNameError, safe_name
from orchestrator.download.options import Counts, TransferOptions
from orchestrator.download.verify import read_manifest

__all__ = [
    "INDEX_NAME",
    "Counts",
    "Fetched",
    "Planned",
    "Refused",
    "Transfer",
    "TransferListener",
    "TransferOptions",
    "UnavailableError",
    "UnsafeNameError",
    "fetch",
    "measure",
    "read_manifest",
    "safe_name",
]
