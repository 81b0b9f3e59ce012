"""What a killed session kept is brought here, checked, and uploaded for the next one to mount.

Killed at any point it can be done again: the dataset is changed by one call at the end, and what was
downloaded before is not fetched again.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kernel_template.contract import MANIFEST_FILE, METRICS_FILE, TRAINING_LOG
from orchestrator.download import TransferListener, UnavailableError, UnsafeNameError, fetch, safe_name
from orchestrator.errors import CredentialsError, KgttsError, LocalError, RefusedError
from orchestrator.files import write_atomically
from orchestrator.models import KernelRef, OutputFile
from orchestrator.ports import Clock, Kaggle
from orchestrator.run.handover import kept_dataset, look_at_dataset, marker_of
from orchestrator.run.state import STATE_FILE, SavedCheckpoint, SessionResult, read_state
from orchestrator.run.view import SessionView
from orchestrator.settings import title_from

_BESIDE_STATE = (
    STATE_FILE,
    TRAINING_LOG,
    METRICS_FILE,
)  # What the kernel continues, beside the run folder.
_CHECKPOINT = re.compile(r"(?:checkpoint|best_model)(?:_\d+)?\.pth")
_READY_WITHIN_S, _FIRST_LOOK_S = 60.0, 1.0
_KEEP_FREE = 256 << 20  # For all that is no checkpoint.


def drop_leftovers(folder: Path, run_id: str) -> None:
    """Remove what passes that were killed or failed left of a run; its next session is pushed."""
    for place in folder.glob(f"{run_id}-*"):
        shutil.rmtree(place, ignore_errors=True)


class NotHandedOverError(KgttsError):
    """What a session kept cannot be handed over, and trying again would not help."""


@dataclass(frozen=True, slots=True)
class Rescue:
    """What hands over.

    Attributes:
        kaggle: Kaggle.
        clock: what waits for Kaggle to process a dataset.
        folder: where files lie on their way; what is left there by a killed pass is used.
    """

    kaggle: Kaggle
    clock: Clock
    folder: Path

    def hand_over(self, base: KernelRef, kept: SessionView, *, above: int) -> str | None:
        """Upload what `kept` left; gives the dataset to mount, None while Kaggle still prepares it.

        Args:
            base: the kernel that the settings name.
            kept: the session.
            above: the step that the run can be continued from without it.

        Raises:
            NotHandedOverError: its outputs are gone or damaged, or Kaggle refused the upload.
            ServiceError: Kaggle could not be reached; another pass may.
            LocalError: this machine has no room.
        """
        dataset = look_at_dataset(self.kaggle, kept_dataset(base))
        if dataset.pending:
            return None
        if dataset.holds(kept):
            return dataset.source
        if not dataset.is_ours:
            raise NotHandedOverError(f"{dataset.source} is a dataset that kgtts did not make.")
        place = self.folder / f"{kept.stamp.id}-{kept.stamp.session}"
        try:
            self._upload(dataset.source, kept, self._bring(kept, place, above), place)
        except CredentialsError:
            raise
        except (RefusedError, UnavailableError) as error:
            shutil.rmtree(place, ignore_errors=True)
            raise NotHandedOverError(error.message) from error
        except NotHandedOverError:
            shutil.rmtree(place, ignore_errors=True)
            raise
        shutil.rmtree(place, ignore_errors=True)
        return dataset.source if self._wait(dataset.source, kept) else None

    def _bring(self, kept: SessionView, place: Path, above: int) -> Sequence[Path]:
        """Download what the next session needs, less what it cannot trust."""
        result = kept.result
        assert result is not None
        outputs = _named(self.kaggle.outputs(kept.ref))
        there = [item for item in result.checkpoints if item.path in outputs]
        listed = sorted(
            (item for item in there if item.global_step > above),
            key=lambda item: (item.global_step, item.path == result.checkpoint),
            reverse=True,
        )
        faults = [f"{kept.ref} has none of the checkpoints that its state.json lists."] if not listed else []
        for newest in listed:
            # The best model may well be older than what the mounts give.
            best = [item for item in there if item.path == result.best_model and item != newest]
            names = [STATE_FILE, newest.path, *(item.path for item in best)]
            _check_room(place, [newest, *best])
            self._fetch(kept, [outputs[name] for name in names if name in outputs], place)
            _check_state(place / STATE_FILE, kept, result)
            if (fault := _fault(place, newest)) is not None:
                faults.append(f"{newest.path} of {kept.ref} {fault}.")
                continue
            checkpoints = [newest, *(item for item in best if _fault(place, item) is None)]
            others = _others(newest, outputs)
            self._fetch(kept, [outputs[name] for name in others], place)
            return [place / name for name in (*(item.path for item in checkpoints), *others)]
        raise NotHandedOverError(faults[0])

    def _fetch(self, kept: SessionView, files: Sequence[OutputFile], place: Path) -> None:
        """Bring files; addresses that expire on the way are asked for again."""
        fetch(files, place, TransferListener(), relist=lambda: self.kaggle.outputs(kept.ref))

    def _upload(self, source: str, kept: SessionView, files: Sequence[Path], place: Path) -> None:
        marker = place / marker_of(kept)
        told = {"schema": 1, "run": kept.stamp.to_dict(), "version": str(kept.ref), "global_step": kept.step}
        write_atomically(marker, json.dumps(told, indent=1) + "\n")
        notes = f"kgtts: run {kept.stamp.id}, session {kept.stamp.session}, step {kept.step}"
        title = title_from(source.rpartition("/")[2])
        self.kaggle.upload_dataset(source, title, [*files, marker], notes=notes)

    def _wait(self, source: str, kept: SessionView) -> bool:
        """Whether the dataset is ready within a while; it takes seconds to minutes."""
        deadline, pause = self.clock.monotonic() + _READY_WITHIN_S, _FIRST_LOOK_S
        while True:
            dataset = look_at_dataset(self.kaggle, source)
            if dataset.broken:
                raise NotHandedOverError(f"Kaggle could not process {source}.")
            if dataset.holds(kept):
                return True
            left = deadline - self.clock.monotonic()
            if left <= 0:
                return False
            self.clock.sleep(min(pause, left))
            pause *= 1.5


def _named(outputs: Iterable[OutputFile]) -> dict[str, OutputFile]:
    """The outputs by path, less those whose names are not safe to write."""
    named = {}
    for file in outputs:
        try:
            named[safe_name(file.name).as_posix()] = file
        except UnsafeNameError:
            continue
    return named


def _others(newest: SavedCheckpoint, outputs: Iterable[str]) -> list[str]:
    """What else is handed over: the run folder's own files but for checkpoints, and the session's logs.

    A dataset of ours is flat, so no two may have one name, and the session's go first.
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
    """Raise where the checkpoints do not fit, before the first of them is fetched."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise LocalError(f"{place} could not be written: {error.strerror or error}.") from error
    here = sum(path.stat().st_size for item in checkpoints if (path := place / item.path).is_file())
    size = sum(item.size for item in checkpoints) + _KEEP_FREE - here
    if free < size:
        raise LocalError(
            f"{place} has {free >> 20} MB free, and {size >> 20} MB are needed to hand over what a killed "
            "session kept.",
            hint="free some space; `--set run.rescue=false` goes on from the session before it instead",
        )


def _check_state(path: Path, kept: SessionView, result: SessionResult) -> None:
    try:
        same = read_state(path.read_bytes()) == result
    except OSError:
        same = False
    if not same:
        raise NotHandedOverError(f"The state.json of {kept.ref} is not what it was a moment ago.")


def _fault(place: Path, checkpoint: SavedCheckpoint) -> str | None:
    """What is wrong with a checkpoint that was brought, or None."""
    try:
        with (place / checkpoint.path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"could not be read ({error.strerror or error})"
    return None if digest == checkpoint.sha256 else "is damaged: its SHA-256 is not the one in state.json"
