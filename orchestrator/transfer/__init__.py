"""Outputs brought here: parallel, resumable, verified, confined to a folder, in place only when whole."""

from orchestrator.transfer.failures import UnavailableError
from orchestrator.transfer.fetch import fetch
from orchestrator.transfer.listener import Fetched, Planned, Transfer, TransferListener
from orchestrator.transfer.measure import measure
from orchestrator.transfer.names import INDEX_NAME, Refused, UnsafeNameError, safe_name
from orchestrator.transfer.options import Counts, TransferOptions
from orchestrator.transfer.verify import read_manifest

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
