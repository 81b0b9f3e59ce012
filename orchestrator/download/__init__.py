"""Downloads: parallel, resumable, verified, confined to a folder, and in place only when complete."""

from orchestrator.download.downloader import UnavailableError
from orchestrator.download.fetch import fetch, measure
from orchestrator.download.hashes import Content, read_manifest
from orchestrator.download.names import Refused, UnsafeNameError, safe_name
from orchestrator.download.transfer import (
    Counts,
    Fetched,
    Planned,
    Transfer,
    TransferListener,
    TransferOptions,
)

__all__ = [
    "Content",
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
