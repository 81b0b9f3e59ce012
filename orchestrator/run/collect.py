"""Bring what a session left to this machine: listed, chosen by name, fetched, with the session's log."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kernel_template.contract import MANIFEST_FILE, OWN_PREFIX, STATE_FILE
from orchestrator.download import (
    Content,
    Fetch,
    Planned,
    Refused,
    Transfer,
    TransferListener,
    fetch,
    measure,
    read_manifest,
)
from orchestrator.errors import LocalError, RefusedError, ServiceError, UsageError
from orchestrator.files import write_atomically
from orchestrator.kaggle.logs import log_lines
from orchestrator.locks import is_training
from orchestrator.models import KernelRef, LogEvent, OutputFile, SessionStatus
from orchestrator.results import Results, SessionFolder
from orchestrator.run.context import RunContext, Target
from orchestrator.run.follow import session_status
from orchestrator.run.target import identify
from orchestrator.untrusted import read_bytes

if TYPE_CHECKING:
    from orchestrator.run.state import SessionResult

Choose = Callable[[Sequence[str]], Sequence[str]]


class Outputs(Protocol):
    """What outputs are brought from: a part of `Kaggle`, and a session in a bucket."""

    def outputs(self, ref: KernelRef) -> Sequence[OutputFile]:
        """As `Kaggle.outputs`."""
        ...

    def output_file(self, ref: KernelRef, name: str) -> bytes | None:
        """As `Kaggle.output_file`."""
        ...

    def stored_log(self, ref: KernelRef) -> Sequence[LogEvent]:
        """As `Kaggle.stored_log`."""
        ...


@dataclass(frozen=True, slots=True)
class Brought:
    """What was downloaded of a session.

    Attributes:
        transfer: the files.
        log: where the session's log was written; None if Kaggle has none.
        names: the files that Kaggle lists, and those that the session's manifest names.
        left_out: how many files of the listing were not chosen.
        is_whole: whether Kaggle lists all that the session says it left.
    """

    transfer: Transfer
    log: Path | None
    names: frozenset[str]
    left_out: int
    is_whole: bool = True

    def has_all(self, needed: Choose) -> bool:
        """Whether all that `needed` chooses is here or refused for its name; False if there are no outputs.

        Files were compared with the manifest's sizes and hashes when they were downloaded.
        """
        here = {str(file.path) for file in self.transfer.files} | {
            item.name for item in self.transfer.refused
        }
        return bool(self.names) and here.issuperset(needed(sorted(self.names)))


@dataclass(frozen=True, slots=True)
class Collected:
    """What was downloaded of a target, and its folder; see `Brought`."""

    target: Target
    status: SessionStatus
    folder: Path
    transfer: Transfer
    log: Path | None
    left_out: int
    is_empty: bool = False

    @property
    def failure(self) -> LocalError | None:
        """The error for files that were left out, since their names are not safe here; None without any."""
        return refusal(self.transfer.refused)

    @property
    def emptiness(self) -> ServiceError | None:
        """The error for a session of which Kaggle lists nothing; None if it lists something."""
        return nothing_listed(self.target) if self.is_empty else None


class FolderTakenError(LocalError):
    """The folder of a session holds another one, which was trained outside Kaggle."""


def _check_free(target: Target, folder: Path) -> None:
    """See that a folder is not that of another session, trained outside Kaggle.

    Raises:
        FolderTakenError: it is.
        UsageError: the target itself was, so Kaggle has none of its outputs.
    """
    if target.ref.is_elsewhere:
        raise UsageError(
            f"{target.ref} is not on Kaggle: its outputs are where it ran, on {target.ref.place}.",
            hint="copy its folder from there",
        )
    other = SessionFolder(folder).elsewhere
    begins = other is None and is_training(folder.parent) and folder.is_dir() and not any(folder.iterdir())
    if other is not None or begins:
        which = f"session {other.version} of {other.place}" if other is not None else "a session that begins"
        raise FolderTakenError(
            f"{folder} holds {which}, so the outputs of {target.ref} were not downloaded to it.",
            hint=f"kgtts pull {target.ref} --to FOLDER",
        )


def nothing_listed(target: Target) -> ServiceError:
    """The error for a session of which Kaggle lists nothing, perhaps only not yet."""
    return ServiceError(
        f"Kaggle lists no outputs of {target.ref}.",
        hint="if it has just ended, they are still being saved: try again in a minute",
    )


def refusal(refused: Sequence[Refused]) -> LocalError | None:
    """The error for files whose names are not safe on this machine; None without any."""
    if not refused:
        return None
    names = "; ".join(f"{item.name!r} {item.reason}" for item in refused)
    return LocalError(f"These files were left out, as their names are not safe on this machine: {names}.")


@dataclass(frozen=True, slots=True)
class Outline:
    """What would be downloaded: files with sizes, refused names, and how many outputs are not chosen."""

    status: SessionStatus
    files: Sequence[Planned]
    refused: Sequence[Refused]
    left_out: int

    @property
    def to_come(self) -> int:
        """Bytes that are not here yet, as far as sizes are known."""
        return sum((file.size or 0) - file.here for file in self.files)


def folder_of(context: RunContext, target: Target, results: Results) -> tuple[Target, SessionFolder]:
    """The target at its version, and the folder for its outputs; a session of a run has one folder only.

    Raises:
        NotFoundError, ForbiddenError, ServiceError: Kaggle does not show whose session it is.
    """
    record = target.record
    if record is not None and record.ref == target.ref and target.ref.version is not None:
        return target, results.of_session(target.ref.slug, record.run_id, record.number)
    target, stamp = identify(context, target)
    if stamp is None:
        return target, results.of_version(target.ref)
    return target, results.of_session(target.ref.slug, stamp.id, stamp.session)


def collect(  # noqa: PLR0913  # The last two have defaults.
    context: RunContext,
    target: Target,
    folder: Path,
    choose: Choose,
    listener: TransferListener,
    *,
    run: str | None = None,
    needed: Choose | None = None,
) -> Collected:
    """Download the outputs that `choose` picks by name, and the session's log, into `folder`.

    If the session left a manifest, the files are checked against it as well. The folder of a run's session is
    marked as complete once all that is needed of the session is here: what Kaggle lists, and what the
    manifest names, each with the size and the hash that the manifest gives it.

    Args:
        context: Kaggle and the ledger.
        target: the session.
        folder: where its outputs go.
        choose: picks what is brought.
        listener: hears of every file.
        run: the id of the run, if `folder` is the one for the results of its session.
        needed: picks what makes a session complete; by default what is brought.

    Raises:
        RefusedError: the session has not ended, so Kaggle gives no outputs yet.
        ServiceError: Kaggle does not list all that the session left.
        FolderTakenError: the folder holds another session, trained outside Kaggle.
        LocalError, ServiceError: as `download.fetch`.
    """
    _check_free(target, folder)
    target = _pinned(context, target)
    status = _ended(context, target)
    brought = bring(context.kaggle, target.ref, folder, choose, listener, fetch_files=context.fetch or fetch)
    if not brought.is_whole:
        raise ServiceError(
            f"Kaggle does not list all outputs of {target.ref} yet; those that it lists are in {folder}.",
            hint=f"try again in a minute: kgtts pull {target.ref}",
        )
    if run is not None and brought.has_all(needed or choose):
        files = SessionFolder(folder)
        is_here = any(str(file.path) == STATE_FILE for file in brought.transfer.files)
        state = read_bytes(files.state) if is_here else context.kaggle.output_file(target.ref, STATE_FILE)
        result = _read(state)
        files.mark_complete(target.ref, run, (result.global_step or 0) if result is not None else 0)
    return Collected(
        target, status, folder, brought.transfer, brought.log, brought.left_out, is_empty=not brought.names
    )


def bring(  # noqa: PLR0913  # The last has a default.
    kaggle: Outputs,
    ref: KernelRef,
    folder: Path,
    choose: Choose,
    listener: TransferListener,
    *,
    fetch_files: Fetch = fetch,
) -> Brought:
    """Download the chosen outputs of an ended session, and its log, into `folder`.

    Raises:
        LocalError, ServiceError: as `download.fetch`.
    """
    files = _finished(kaggle.outputs(ref))
    chosen = _chosen(files, choose)
    has_manifest = any(file.name == MANIFEST_FILE for file in files)
    manifest = read_manifest((has_manifest and kaggle.output_file(ref, MANIFEST_FILE)) or b"")
    known = manifest or _checkpoints(kaggle, ref, chosen)
    transfer = fetch_files(chosen, folder, listener, relist=_relist(kaggle, ref), manifest=known)
    place = SessionFolder(folder).log
    taken = {str(file.path).casefold() for file in transfer.files}
    while place.name in taken:
        place = place.with_name(f"kaggle-{place.name}")  # The session left a file of that name itself.
    log = _write_log(kaggle, ref, place)
    is_whole = _is_whole(kaggle, ref, files, manifest, choose)
    names = frozenset([*(file.name for file in files), *manifest])
    return Brought(transfer, log, names, len(files) - len(chosen), is_whole)


def _read(state: bytes | None) -> "SessionResult | None":
    """Read a session's state.json, if it has one; without, pydantic is not loaded."""
    if state is None:
        return None
    from orchestrator.run.state import read_state  # noqa: PLC0415

    return read_state(state)


def _checkpoints(kaggle: Outputs, ref: KernelRef, chosen: Sequence[OutputFile]) -> Mapping[str, Content]:
    """What the state.json of a session that was killed, and left no manifest, says of its checkpoints."""
    if not any(file.name.endswith(".pth") for file in chosen):
        return {}
    state = _read(kaggle.output_file(ref, STATE_FILE))
    known = {}
    for item in () if state is None else state.checkpoints:
        with suppress(ValueError):  # What is no hash vouches for nothing.
            known[item.path] = Content(item.size, bytes.fromhex(item.sha256))
    return known


def _finished(files: Sequence[OutputFile]) -> Sequence[OutputFile]:
    """The outputs without what a session that was killed was still writing, which is no output."""
    return [file for file in files if not file.name.rpartition("/")[2].startswith(OWN_PREFIX)]


def _relist(kaggle: Outputs, ref: KernelRef) -> Callable[[], Sequence[OutputFile]] | None:
    """Lists a version's outputs again; None without a version, whose outputs may be others meanwhile."""
    return None if ref.version is None else lambda: kaggle.outputs(ref)


def _is_whole(
    kaggle: Outputs,
    ref: KernelRef,
    files: Sequence[OutputFile],
    manifest: Mapping[str, Content],
    choose: Choose,
) -> bool:
    """Whether a listing has every chosen file of the manifest, or else the state.json that Kaggle gives."""
    names = {file.name for file in files}
    if MANIFEST_FILE in names:
        return bool(manifest) and names.issuperset(choose([*manifest]))
    return STATE_FILE in names or kaggle.output_file(ref, STATE_FILE) is None


def _pinned(context: RunContext, target: Target) -> Target:
    """The target at its version: a session that is pushed meanwhile must not be mixed in."""
    return target if target.ref.version is not None else identify(context, target)[0]


def outline(context: RunContext, target: Target, folder: Path, choose: Choose) -> Outline:
    """Return what `collect` would download; nothing is written.

    Raises:
        RefusedError: the session has not ended, so Kaggle gives no outputs yet.
        ServiceError: Kaggle lists nothing, or the storage could not be asked for a size.
        FolderTakenError: the folder holds another session, trained outside Kaggle.
    """
    _check_free(target, folder)
    target = _pinned(context, target)
    status = _ended(context, target)
    files = _finished(context.kaggle.outputs(target.ref))
    if not files:
        raise nothing_listed(target)
    chosen = _chosen(files, choose)
    planned, refused = measure(chosen, folder, relist=_relist(context.kaggle, target.ref))
    return Outline(status, planned, refused, len(files) - len(chosen))


def _ended(context: RunContext, target: Target) -> SessionStatus:
    """The state of a session that has ended.

    Raises:
        RefusedError: it has not.
    """
    status = session_status(context, target)
    if not status.state.is_terminal:
        raise RefusedError(
            f"{target.ref} is {status.state}: Kaggle gives a session's outputs when it has ended.",
            hint=f"kgtts status {target.ref} --watch",
        )
    return status


def _write_log(kaggle: Outputs, ref: KernelRef, place: Path) -> Path | None:
    """Write the session's stored log; None if Kaggle has none."""
    lines = [line.text for line in log_lines(kaggle.stored_log(ref))]
    if not lines:
        return None
    write_atomically(place, "\n".join(lines) + "\n")
    return place


def _chosen(files: Sequence[OutputFile], choose: Choose) -> Sequence[OutputFile]:
    names = frozenset(choose([file.name for file in files]))
    return [file for file in files if file.name in names]
