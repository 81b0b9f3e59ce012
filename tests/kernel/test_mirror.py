"""What a session saves is copied as it comes: whatever fails, what was safe before stays safe."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from kernel_template import mirror as module
from kernel_template.contract import State
from kernel_template.mirror import Mirror
from tests.kernel.kit import put


class Saving:
    """A session that saves, and the folder that its outputs are copied to."""

    def __init__(self, folder: Path) -> None:
        self.source, self.target = folder / "disk", folder / "bucket"
        self.mirror = Mirror(self.source, self.target)

    def save(self, step: int) -> State:
        """Save a checkpoint, and return the state that lists it."""
        name = f"training/run/checkpoint_{step}.pth"
        put(self.source / name, f"weights {step}")
        state = {"global_step": step, "checkpoints": [{"path": name, "global_step": step}]}
        put(self.source / "state.json", json.dumps(state))
        return cast("State", state)

    def delete(self, step: int) -> None:
        """Delete a checkpoint, as the trainer does."""
        (self.source / f"training/run/checkpoint_{step}.pth").unlink()

    def copy(self, state: State | None) -> str | None:
        """Copy once. Returns why that failed."""
        self.mirror._try(state)
        return self.mirror.problem

    def is_safe(self, step: int) -> bool:
        """Whether the target lists this step's checkpoint, and has it whole."""
        state: dict[str, Any] = json.loads((self.target / "state.json").read_text())
        checkpoint = self.target / f"training/run/checkpoint_{step}.pth"
        listed = state["global_step"] == step
        return listed and checkpoint.is_file() and checkpoint.read_text() == f"weights {step}"


@pytest.fixture
def saving(tmp_path: Path) -> Saving:
    """A session that has saved nothing yet."""
    return Saving(tmp_path)


def test_a_trainer_that_is_faster_takes_nothing_away(saving: Saving) -> None:
    """What the target lists stays until it has a newer checkpoint whole."""
    assert saving.copy(saving.save(2)) is None
    state = saving.save(4)
    saving.delete(2)
    saving.delete(4)
    saving.save(6)
    assert saving.copy(state) is None
    assert saving.is_safe(2)
    assert saving.copy(saving.save(6)) is None
    assert saving.is_safe(6)
    assert not (saving.target / "training/run/checkpoint_2.pth").exists()


def test_a_copy_that_fails_leaves_no_part(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, the older checkpoint stays, and the part of the new one fills no disk for good."""
    assert saving.copy(saving.save(2)) is None
    state = saving.save(4)
    saving.delete(2)

    def fails(source: Path, target: Path) -> None:
        put(target, "wei")
        raise OSError(errno.ENOSPC, "No space left on device", str(source))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", fails)
        assert "No space left" in (saving.copy(state) or "")
    assert saving.is_safe(2)
    assert not (saving.target / "training/run/checkpoint_4.pth").exists()
    assert saving.copy(None) is None
    assert saving.is_safe(4)


def test_a_full_target_keeps_its_state(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written over a state.json for which a new one has no room."""
    assert saving.copy(saving.save(2)) is None

    def fails(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_atomic", fails)
        assert "No space left" in (saving.copy(saving.save(4)) or "")
    assert saving.is_safe(2)


def test_a_bucket_that_cannot_rename(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are then written where they are to be."""

    def fails(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "no")

    monkeypatch.setattr(module, "write_atomic", fails)
    assert saving.copy(saving.save(2)) is None
    assert saving.is_safe(2)
