"""Downloads: parallel, resumable, verified, confined to a folder, and in place only when complete."""

from orchestrator.download.downloader import DamagedError, UnavailableError
from orchestrator.download.fetch import Fetch, fetch, measure
from orchestrator.download.hashes import Content, contents_of, read_manifest
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
    "DamagedError",
    "Fetch",
    "Fetched",
    "Planned",
    "Refused",
    "Transfer",
    "TransferListener",
    "TransferOptions",
    "UnavailableError",
    "UnsafeNameError",
    "contents_of",
    "fetch",
    "measure",
    "read_manifest",
    "safe_name",
]
