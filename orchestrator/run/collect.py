"""What a session left, brought to this machine: listed, chosen by name, fetched, with the session's log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernel_template.contract import MANIFEST_FILE
from orchestrator.errors import RefusedError
from orchestrator.files import write_atomically
from orchestrator.kaggle.logs import log_lines
from orchestrator.models import KernelRef, OutputFile, SessionStatus
from orchestrator.ports import Kaggle

if TYPE_CHECKING:
    from orchestrator.download import Planned, Refused, Transfer, TransferListener

SESSION_LOG = "session.log"
Choose = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Brought:
    """What was brought: the files, the session's log, and how many outputs were not chosen."""

    transfer: "Transfer"
    log: Path | None
    left_out: int


@dataclass(frozen=True, slots=True)
class Outline:
    """What would be brought: files with their sizes, refused names, and how many outputs are not chosen."""

    status: SessionStatus
    files: "Sequence[Planned]"
    refused: "Sequence[Refused]"
    left_out: int

    @property
    def to_come(self) -> int:
        """Bytes that are not here yet, as far as sizes are known."""
        return sum((file.size or 0) - file.here for file in self.files)


def check_ended(ref: KernelRef, status: SessionStatus) -> None:
    """See that Kaggle gives outputs.

    Raises:
        RefusedError: the session has not ended.
    """
    if not status.state.is_terminal:
        raise RefusedError(
            f"{ref} is {status.state}: Kaggle gives a session's outputs when it has ended.",
            hint=f"kgtts status {ref} --watch",
        )


def bring(
    kaggle: Kaggle, ref: KernelRef, folder: Path, choose: Choose, listener: "TransferListener"
) -> Brought:
    """Bring the outputs that `choose` picks by name, and the session's log, into `folder`.

    Where the session left a manifest, what it says of the files is checked too.

    Raises:
        LocalError, ServiceError: as `transfer.fetch`.
    """
    from orchestrator.download import fetch, read_manifest  # noqa: PLC0415  # Start-up: only a pull needs it.

    files = kaggle.outputs(ref)
    chosen = _chosen(files, choose)
    has_manifest = any(file.name == MANIFEST_FILE for file in files)
    hashes = read_manifest((has_manifest and kaggle.output_file(ref, MANIFEST_FILE)) or b"")
    brought = fetch(chosen, folder, listener, relist=lambda: kaggle.outputs(ref), sha256=hashes)
    lines = [line.text for line in log_lines(kaggle.stored_log(ref))]
    log = folder / SESSION_LOG
    if lines:
        write_atomically(log, "\n".join(lines) + "\n")
    return Brought(brought, log if lines else None, len(files) - len(chosen))


def outline(kaggle: Kaggle, ref: KernelRef, status: SessionStatus, folder: Path, choose: Choose) -> Outline:
    """What `bring` would bring; nothing is written.

    Raises:
        ServiceError: the storage could not be asked for a size.
    """
    from orchestrator.download import measure  # noqa: PLC0415  # As above.

    files = kaggle.outputs(ref)
    chosen = _chosen(files, choose)
    planned, refused = measure(chosen, folder, relist=lambda: kaggle.outputs(ref))
    return Outline(status, planned, refused, len(files) - len(chosen))


def _chosen(files: Sequence[OutputFile], choose: Choose) -> Sequence[OutputFile]:
    names = frozenset(choose([file.name for file in files]))
    return [file for file in files if file.name in names]
