"""The checkpoints in the working folder: which are whole, which is the newest, and their hashes."""

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kernel_template.contract import BEST_MODEL_LINK, BEST_SCORE_PREFIX, SavedCheckpoint
from kernel_template.start.inputs import damage
from kernel_template.tools.files import sha256_of
from kernel_template.tools.paths import Paths
from kernel_template.train.progress import file_step

_NUMBERED = re.compile(rf"^(checkpoint_|best_model_|{BEST_SCORE_PREFIX})\d+\.pth$")
_WEIGHTS = (".pth", ".pt", ".ckpt", ".safetensors")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint file and the global step in its name."""

    path: Path
    global_step: int
    best: bool

    @property
    def rank(self) -> tuple[int, bool, bool]:
        """Sorts checkpoints: the last one is that to resume from."""
        return self.global_step, not self.best, not self.by_score

    @property
    def by_score(self) -> bool:
        """Whether it is the best one by run.best_by rather than by the trainer's evaluation."""
        return self.path.name.startswith(BEST_SCORE_PREFIX)


def best_of(whole: Sequence[Checkpoint]) -> Checkpoint | None:
    """The best checkpoint: by score if there is such, else the trainer's newest best model."""
    best = [item for item in whole if item.best]
    return max(best, key=lambda item: (item.by_score, item.global_step), default=None)


@dataclass(slots=True)
class CheckpointStore:
    """Finds the checkpoints and remembers their hashes, so that each file of 1 GB is read once.

    Attributes:
        paths: the session's folders.
        damaged: after `whole`: the damaged checkpoints, and what is wrong with each.
    """

    paths: Paths
    damaged: dict[Path, str] = field(default_factory=dict)
    _hashes: dict[tuple[Path, int, int], str] = field(default_factory=dict)

    def whole(self) -> list[Checkpoint]:
        """All whole checkpoints, sorted by step; at the same step the best ones come first."""
        found = []
        self.damaged = {}
        for path in self._weight_files():
            numbered = _NUMBERED.match(path.name)
            if (numbered or path.name == BEST_MODEL_LINK) and (why := damage(path)) is not None:
                self.damaged[path] = why
                continue
            if not numbered:
                continue
            step = file_step(path.name)
            assert step is not None
            found.append(Checkpoint(path, step, best=not path.name.startswith("checkpoint")))
        return sorted(found, key=lambda item: (*item.rank, str(item.path)))

    def other_weights(self) -> list[Path]:
        """Weight files under names that are not Coqui's, since a script may save in its own way."""
        return [
            path
            for path in self._weight_files()
            if not _NUMBERED.match(path.name) and path not in self.damaged
        ]

    def _weight_files(self) -> list[Path]:
        found = []
        for folder, subfolders, names in os.walk(self.paths.working):
            subfolders.sort()
            found += [Path(folder, name) for name in sorted(names) if name.endswith(_WEIGHTS)]
        # A link is a second name of the best model, not an output.
        return [path for path in found if not path.is_symlink()]

    def record(self, checkpoint: Checkpoint) -> SavedCheckpoint:
        """Describe a checkpoint for state.json."""
        return {
            "path": self.paths.relative(checkpoint.path),
            "global_step": checkpoint.global_step,
            "size": checkpoint.path.stat().st_size,
            "sha256": self.sha256(checkpoint.path),
        }

    def records(self, checkpoints: list[Checkpoint]) -> list[SavedCheckpoint]:
        """Describe those of `checkpoints` that still exist: the trainer deletes old ones at any time."""
        found = []
        for checkpoint in checkpoints:
            with contextlib.suppress(FileNotFoundError):
                found.append(self.record(checkpoint))
        return found

    def sha256(self, path: Path) -> str:
        """The SHA-256 of a file; it is read again only if its size or time has changed.

        Raises:
            OSError: the file cannot be read.
        """
        status = path.stat()
        key = (path, status.st_size, status.st_mtime_ns)
        if key not in self._hashes:
            self._hashes[key] = sha256_of(path)
        return self._hashes[key]
