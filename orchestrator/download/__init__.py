"""Downloads: parallel, resumable, verified, confined to a folder, and in place only when complete."""

from orchestrator.download.fetch import fetch, measure
from orchestrator.download.hashes import read_manifest
from orchestrator.download.names import INDEX_NAME, Refused, UnsafeNameError, safe_name
from orchestrator.download.transfer import (
    Counts,
    Fetched,
    Planned,
    Transfer,
    TransferListener,
    TransferOptions,
)
from orchestrator.download.worker import UnavailableError

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
