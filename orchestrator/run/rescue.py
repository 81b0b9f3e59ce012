"""Hand over what no kernel can mount: what a killed session saved, or one that ran outside Kaggle.

`find_downloads` gives the signed URLs with which the next session downloads it itself, past this machine.
`Rescue` downloads it here, checks it, and uploads it for the next session to mount. If that is interrupted at
any point it can be done again: one call at the end changes the dataset, and what was already downloaded is
not fetched again. What a session outside Kaggle saved is in its folder here, and is checked and uploaded from
there.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from kernel_template.contract import BEST_SCORE_PREFIX, MANIFEST_FILE, METRICS_FILE, STATE_FILE, TRAINING_LOG
from orchestrator import scrubbing
from orchestrator.download import (
    DamagedError,
    Fetch,
    TransferListener,
    UnavailableError,
    UnsafeNameError,
    contents_of,
    fetch,
    safe_name,
)
from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    KgttsError,
    LocalError,
    RefusedError,
    ServiceError,
)
from orchestrator.files import write_atomically
from orchestrator.models import InputDetails, KernelRef, OutputFile
from orchestrator.ports import Clock, Kaggle
from orchestrator.run.handover import handover_dataset, marker_of, read_dataset
from orchestrator.run.state import SavedCheckpoint, SessionResult, read_state
from orchestrator.run.view import SessionView
from orchestrator.settings import title_from
from orchestrator.untrusted import is_loopback

_BESIDE_STATE = (
    STATE_FILE,
    TRAINING_LOG,
    METRICS_FILE,
)  # What the kernel continues, besides the run folder.
_CHECKPOINT = re.compile(rf"(?:(?:checkpoint|best_model)(?:_\d+)?|{BEST_SCORE_PREFIX}\d+)\.pth")
_READY_WITHIN_S, _FIRST_LOOK_S = 60.0, 1.0
_REFUSED_PAUSES_S = (2.0, 10.0)  # A refusal counts once it was met again after each of these.
_KEEP_FREE = 256 << 20  # For everything that is not a checkpoint.
_MOST_DOWNLOADS = 60  # Files that a session downloads, one after the other, while it pays for a GPU.
_LONGEST_URLS = 80_000  # Bytes in the kernel's source, which may have less than a megabyte in all.
# Nothing is given away by it. `copyright-authors` would say it better and is documented, but users report
# that the service refuses it.
_LICENSE = "other"
_DESCRIPTION = "Kept by kgtts to continue a training. No licence is given: all rights stay with their owners."


def drop_leftovers(folder: Path, run_id: str) -> None:
    """Remove what interrupted passes left of a run; to be called once its next session is pushed."""
    for place in folder.glob(f"{run_id}-*"):
        shutil.rmtree(place, ignore_errors=True)


class NotHandedOverError(KgttsError):
    """What a session saved cannot be handed over, and trying again would not help."""


def find_downloads(kaggle: Kaggle, session: SessionView, *, above: int) -> tuple[OutputFile, ...]:
    """The outputs of `session` that the next session downloads itself; empty if it cannot.

    There may be too many, or no checkpoint among them: `Rescue` looks closer. The URLs are secrets, and
    expire: push them at once, and keep them nowhere.

    Args:
        kaggle: where they are listed.
        session: the session.
        above: the step that the run can continue from without it.

    Raises:
        ServiceError: Kaggle could not be reached, or does not show the outputs; another pass may.
    """
    try:
        outputs = _outputs(kaggle, session)
        listed = _newer(session, outputs, above, insist=True)
    except ForbiddenError as error:
        raise ServiceError(error.message, hint="try again in a minute") from error
    except (RefusedError, NotHandedOverError):
        return ()
    result = session.result
    assert result is not None
    best = [item for item in result.checkpoints if item.path == result.best_model and item.path in outputs]
    names = dict.fromkeys(
        [STATE_FILE, *(item.path for item in (*listed, *best)), *_others(listed[0], outputs)]
    )
    chosen = [outputs[name] for name in names if name in outputs]
    for file in chosen:
        scrubbing.learn_url(file.url)
    fits = len(chosen) <= _MOST_DOWNLOADS and sum(len(file.url) for file in chosen) <= _LONGEST_URLS
    return tuple(chosen) if fits and all(_is_downloadable(file.url) for file in chosen) else ()


def _is_downloadable(url: str) -> bool:
    """Whether a session would use a URL: an encrypted connection, or an emulator on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


@dataclass(frozen=True, slots=True)
class Rescue:
    """Hands sessions over.

    Attributes:
        kaggle: where outputs come from and datasets go to.
        clock: waits for Kaggle to process a dataset.
        folder: where files lie on their way; what an interrupted pass left there is used.
        fetch: downloads files.
    """

    kaggle: Kaggle
    clock: Clock
    folder: Path
    fetch: Fetch = fetch

    def hand_over(self, base: KernelRef, session: SessionView, *, above: int) -> str | None:
        """Upload what `session` left; gives the dataset to mount, None while Kaggle still prepares it.

        Args:
            base: the kernel that the settings name.
            session: the session.
            above: the step that the run can continue from without it.

        Raises:
            NotHandedOverError: its outputs are gone or damaged, or Kaggle refused the upload.
            ServiceError: Kaggle could not be reached, or does not show the outputs; another pass may.
            LocalError: this machine has no room.
        """
        dataset = read_dataset(self.kaggle, handover_dataset(base))
        if dataset.pending:
            return None
        if dataset.holds(session):
            return dataset.source
        if not dataset.is_ours:
            raise NotHandedOverError(f"{dataset.source} is a dataset that kgtts did not make.")
        place = self.folder / f"{session.stamp.id}-{session.stamp.session}"
        try:
            self._bring_and_upload(dataset.source, session, place, above)
        except NotHandedOverError:
            shutil.rmtree(place, ignore_errors=True)
            raise
        shutil.rmtree(place, ignore_errors=True)
        return dataset.source if self._wait(dataset.source, session) else None

    def _bring_and_upload(self, source: str, session: SessionView, place: Path, above: int) -> None:
        for pause_s in (*_REFUSED_PAUSES_S, None):
            try:
                if session.folder is not None:
                    files = _in_folder(session, session.folder, above)
                else:
                    files = self._bring(session, place, above, is_last=pause_s is None)
                self._upload(source, session, files, place)
            except CredentialsError:
                raise
            except ForbiddenError as error:
                # Kaggle has answered so for outputs and datasets that are there a minute later.
                raise ServiceError(error.message, hint=error.hint or "try again in a minute") from error
            except (RefusedError, UnavailableError, NotHandedOverError) as error:
                if pause_s is None:
                    raise NotHandedOverError(error.message) from error
                self.clock.sleep(pause_s)
            else:
                return

    def _bring(self, session: SessionView, place: Path, above: int, *, is_last: bool) -> Sequence[Path]:
        """Download what the next session needs and can trust; at the last try, of what there is."""
        result = session.result
        assert result is not None
        outputs = _outputs(self.kaggle, session)
        there = [item for item in result.checkpoints if item.path in outputs]
        faults = []
        for newest in _newer(session, outputs, above, insist=not is_last):
            # The best model may well be older than what the mounts give.
            best = [item for item in there if item.path == result.best_model and item != newest]
            _check_room(place, [newest, *best])
            self._fetch(session, [outputs[STATE_FILE]] if STATE_FILE in outputs else [], place)
            _check_state(place / STATE_FILE, session, result)
            whole = []
            for item in (newest, *best):
                try:
                    self._fetch(session, [outputs[item.path]], place)
                except DamagedError as error:
                    faults.append(f"Of {session.ref}, {error.message}")
                else:
                    whole.append(item.path)
            if newest.path not in whole:
                continue
            others = _others(newest, outputs)
            self._fetch(session, [outputs[name] for name in others], place)
            return [place / name for name in (*whole, *others)]
        raise NotHandedOverError(faults[0])

    def _fetch(self, session: SessionView, files: Sequence[OutputFile], place: Path) -> None:
        """Download files, checked against state.json; addresses that expire are asked for again."""
        listed = () if session.result is None else session.result.checkpoints
        self.fetch(
            files,
            place,
            TransferListener(),
            relist=lambda: self.kaggle.outputs(session.ref),
            manifest=contents_of(item.model_dump() for item in listed),
        )

    def _upload(self, source: str, session: SessionView, files: Sequence[Path], place: Path) -> None:
        marker = place / marker_of(session)
        told = {
            "schema": 1,
            "run": session.stamp.to_dict(),
            "version": str(session.ref),
            "global_step": session.step,
        }
        write_atomically(marker, json.dumps(told, indent=1) + "\n")
        notes = f"kgtts: run {session.stamp.id}, session {session.stamp.session}, step {session.step}"
        title = title_from(source.rpartition("/")[2])
        details = InputDetails(title, license=_LICENSE, description=_DESCRIPTION)
        kept = {path.name: path for path in (*files, marker)}
        self.kaggle.upload_dataset(source, details, kept, notes=notes)

    def _wait(self, source: str, session: SessionView) -> bool:
        """Whether the dataset is ready within a while; it takes seconds to minutes."""
        deadline, pause = self.clock.monotonic() + _READY_WITHIN_S, _FIRST_LOOK_S
        while True:
            dataset = read_dataset(self.kaggle, source)
            if dataset.broken:
                raise NotHandedOverError(f"Kaggle could not process {source}.")
            if dataset.holds(session):
                return True
            left = deadline - self.clock.monotonic()
            if left <= 0:
                return False
            self.clock.sleep(min(pause, left))
            pause *= 1.5


def _in_folder(session: SessionView, folder: Path, above: int) -> Sequence[Path]:
    """What the next session needs and can trust of one whose outputs are here; their names are untrusted.

    Raises:
        NotHandedOverError: none of its checkpoints is whole, or it has changed since it was looked at.
    """
    result = session.result
    assert result is not None
    outputs = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    root = folder.resolve()
    outputs = {name: path for name, path in outputs.items() if path.resolve().is_relative_to(root)}
    _check_state(folder / STATE_FILE, session, result)
    listed = _newer(session, outputs, above, insist=False)
    newest = next((item for item in listed if _is_whole(outputs[item.path], item)), None)
    if newest is None:
        raise NotHandedOverError(f"{outputs[listed[0].path]} is not what the session's state.json says.")
    best = [
        item.path
        for item in result.checkpoints
        if item.path == result.best_model and item != newest and item.path in outputs
        if _is_whole(outputs[item.path], item)
    ]
    return [outputs[name] for name in (newest.path, *best, *_others(newest, outputs))]


def _is_whole(path: Path, item: SavedCheckpoint) -> bool:
    """Whether a checkpoint has the size and the hash that state.json lists."""
    try:
        if path.stat().st_size != item.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == item.sha256.lower()
    except OSError:
        return False


def _outputs(kaggle: Kaggle, session: SessionView) -> dict[str, OutputFile]:
    """The outputs of a session that left some, by path.

    Raises:
        ServiceError: Kaggle lists none.
    """
    outputs = _named(kaggle.outputs(session.ref))
    if not outputs:
        raise ServiceError(
            f"Kaggle lists no outputs of {session.ref}, although it gave its state.json.",
            hint="try again in a minute",
        )
    return outputs


def _newer(
    session: SessionView, outputs: Collection[str], above: int, *, insist: bool
) -> list[SavedCheckpoint]:
    """The checkpoints past the step `above` that a session lists and Kaggle has, the newest first.

    Raises:
        NotHandedOverError: there is none; or, with `insist`, the newest is not there, since a listing can
            grow for a while.
    """
    result = session.result
    assert result is not None
    listed = sorted(
        (item for item in result.checkpoints if item.path in outputs and item.global_step > above),
        key=lambda item: (item.global_step, item.path == result.checkpoint),
        reverse=True,
    )
    if insist and result.checkpoint is not None and result.checkpoint not in outputs:
        raise NotHandedOverError(f"{session.ref} does not have {result.checkpoint}.")
    if not listed:
        raise NotHandedOverError(f"{session.ref} has none of the checkpoints that its state.json lists.")
    return listed


def _named(outputs: Iterable[OutputFile]) -> dict[str, OutputFile]:
    """The outputs by path, without those whose names are not safe to write."""
    named = {}
    for file in outputs:
        try:
            named[safe_name(file.name).as_posix()] = file
        except UnsafeNameError:
            continue
    return named


def _others(newest: SavedCheckpoint, outputs: Iterable[str]) -> list[str]:
    """What else is handed over: the run folder's files other than checkpoints, and the session's logs.

    A dataset of ours is flat, so no two files may have the same name; the session's own go first.
    """
    folder = PurePosixPath(newest.path).parent
    chosen = {name: name for name in _BESIDE_STATE}
    for path in map(PurePosixPath, sorted(outputs)):
        hidden = path.name.startswith(".") or path.name == MANIFEST_FILE
        if path.parent == folder and not hidden and not _CHECKPOINT.fullmatch(path.name):
            chosen.setdefault(path.name, path.as_posix())
    there = set(outputs)
    return [path for path in chosen.values() if path in there]


def _check_room(place: Path, checkpoints: Sequence[SavedCheckpoint]) -> None:
    """Check that the checkpoints fit, before the first of them is fetched.

    Raises:
        LocalError: they do not.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise LocalError(f"{place} could not be written: {error.strerror or error}.") from error
    here = sum(path.stat().st_size for item in checkpoints if (path := place / item.path).is_file())
    size = sum(item.size for item in checkpoints) + _KEEP_FREE - here
    if free < size:
        raise LocalError(
            f"{place} needs {size >> 20} MB to hand over what a killed session saved, but only "
            f"{free >> 20} MB is free.",
            hint="free some space; `--set run.rescue=false` continues from the session before it instead",
        )


def _check_state(path: Path, session: SessionView, result: SessionResult) -> None:
    try:
        same = read_state(path.read_bytes()) == result
    except OSError:
        same = False
    if not same:
        raise NotHandedOverError(f"The state.json of {session.ref} is not what it was a moment ago.")
