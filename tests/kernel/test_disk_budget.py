"""The limit on the outputs' size: sparse files of real sizes, and small checkpoints of real trainings."""

import errno
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import EndReason
from kernel_template.host.disk import DiskBudget, link_best_model, size_of
from kernel_template.host.protocol import DiskLimits
from kernel_template.host.report import Reporter
from kernel_template.train.diagnosis import diagnose
from tests.kernel.hosting import ForkServer, Toy, load, step_of
from tests.support import WITH_TORCH

pytestmark = WITH_TORCH

MB = 1_000_000
LIMIT = 200 * MB


class Weights:
    """A tensor of a given size, for code that only asks for its size."""

    def __init__(self, size: int) -> None:
        self._size = size

    def untyped_storage(self) -> "Weights":
        """Return itself."""
        return self

    def data_ptr(self) -> int:
        """Return its address."""
        return id(self)

    def nbytes(self) -> int:
        """Return its size in bytes."""
        return self._size


class Trainer:
    """Saves as the trainer and the host do, but sparse files."""

    def __init__(self, folder: Path, *, keep: int = 2, limit: int = LIMIT, free: int = 10**12) -> None:
        self.folder = folder
        self.run = folder / "training" / "run"
        self.run.mkdir(parents=True)
        self.said: list[str] = []
        reporter = self.reporter = Reporter(folder / "no such folder" / "HOST_REPORT.json", self.said.append)
        self.most = 0
        self.keep = keep
        limits = DiskLimits(folder=str(folder), limit_bytes=limit, keep_checkpoints=keep)
        self.budget = DiskBudget(limits, reporter, lambda _folder: free)

    @property
    def warned(self) -> list[str]:
        """Return the warnings printed for the session."""
        return self.reporter.report.warnings

    def save(self, name: str, size: int = 71 * MB, *, killed: bool = False) -> None:
        """Save one file, and delete old ones as the trainer does."""
        path = self.run / name
        state = {"model": {"a": Weights(size - 300_000)}, "optimizer": [{"step": 1}], "step": 1}
        with self.budget.saving(path, state) as limited:
            part = path.with_name(f".kgtts-{name}.part")
            with part.open("wb") as file:
                limited(file).write(b"x")
                file.truncate(size)
            self.look()
            if killed:
                return
            part.replace(path)
        self.look()
        if name.startswith("best"):
            for old in self.run.glob("best_model_*.pth"):
                if old != path:
                    old.unlink()
        else:
            checkpoints = sorted(self.run.glob("checkpoint_*.pth"), key=step_of)
            for old in checkpoints[: -self.keep]:
                old.unlink()

    def look(self) -> None:
        """Record the largest size that the folder had."""
        sizes = [path.stat().st_size for path in self.folder.rglob("*") if path.is_file()]
        self.most = max(self.most, sum(sizes))

    def names(self) -> list[str]:
        """Return the names of the files."""
        return sorted(path.name for path in self.run.iterdir())


def test_200_mb_hold_many_saves_of_71_mb(tmp_path: Path) -> None:
    """The limit is never exceeded, not even during a save, and the best model always stays."""
    trainer = Trainer(tmp_path)
    (tmp_path / "train_log.txt").write_bytes(bytes(MB))
    for step in range(1, 60):
        trainer.save(f"checkpoint_{step}.pth")
        if step % 7 == 0:
            trainer.save(f"best_model_{step}.pth")
        assert f"checkpoint_{step}.pth" in trainer.names()
        assert len(list(trainer.run.glob("best_model_*.pth"))) == (step >= 7)
    assert trainer.names() == ["best_model_56.pth", "checkpoint_59.pth"]
    assert 200 * MB >= trainer.most > 140 * MB
    assert len(trainer.warned) == 1
    assert "session.keep_checkpoints = 2" in trainer.warned[0]
    assert "deleting checkpoint_58.pth (71.0 MB) to make room for checkpoint_59.pth (71.0 MB)" in trainer.said


def test_nothing_goes_while_there_is_room(tmp_path: Path) -> None:
    """With enough room, only the trainer itself deletes old checkpoints."""
    trainer = Trainer(tmp_path, limit=19_000 * MB, keep=3)
    for step in range(1, 9):
        trainer.save(f"checkpoint_{step}.pth")
    assert trainer.names() == [f"checkpoint_{step}.pth" for step in (6, 7, 8)]
    assert (trainer.said, trainer.warned) == ([], [])


def test_a_disk_that_is_fuller_than_the_limit_counts(tmp_path: Path) -> None:
    """The disk's free space counts if it is less than the limit allows."""
    trainer = Trainer(tmp_path, free=50 * MB)
    with pytest.raises(OSError, match=r"at most 4\d\.\d MB") as caught:
        trainer.save("checkpoint_1.pth")
    assert caught.value.errno == errno.ENOSPC


def test_a_save_that_cannot_fit_leaves_what_there_is(tmp_path: Path) -> None:
    """Nothing is deleted for a save that cannot fit, and the message says what to do."""
    trainer = Trainer(tmp_path, limit=120 * MB)
    trainer.save("checkpoint_1.pth")
    with pytest.raises(OSError, match=r"The previous checkpoint stays\. Raise session\.disk_limit"):
        trainer.save("checkpoint_2.pth")
    assert trainer.names() == ["checkpoint_1.pth"]
    other = Trainer(tmp_path / "other", limit=120 * MB)
    other.save("best_model_1.pth")
    with pytest.raises(OSError, match="best_model_2"):
        other.save("best_model_2.pth")
    assert other.names() == ["best_model_1.pth"]


def test_a_best_model_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    """If only two files fit, the last checkpoint stays until the new best model is complete."""
    trainer = Trainer(tmp_path)
    trainer.save("best_model_3.pth")
    best, link = trainer.run / "best_model_3.pth", trainer.run / "best_model.pth"
    link_best_model(shutil.copyfile, None, str(best), str(link))
    assert link.is_symlink()
    trainer.save("checkpoint_4.pth")
    trainer.save("best_model_5.pth")
    assert trainer.names() == ["best_model_5.pth", "checkpoint_4.pth"]


def test_halves_of_killed_saves_go_first(tmp_path: Path) -> None:
    """Partial files of a killed process are deleted first."""
    trainer = Trainer(tmp_path)
    trainer.save("checkpoint_1.pth")
    trainer.save("checkpoint_2.pth", killed=True)
    assert ".kgtts-checkpoint_2.pth.part" in trainer.names()
    trainer.save("checkpoint_3.pth")
    assert trainer.names() == ["checkpoint_1.pth", "checkpoint_3.pth"]
    assert trainer.most <= LIMIT


def test_a_file_that_grows_past_its_room_is_stopped(tmp_path: Path) -> None:
    """The limit holds even if a file grows larger than estimated."""
    trainer = Trainer(tmp_path, limit=2 * MB)
    path = trainer.run / "checkpoint_1.pth"

    def grow() -> None:
        with trainer.budget.saving(path, {}) as limited, path.open("wb") as file:
            written = limited(file)
            written.flush()
            for _ in range(40):
                written.write(bytes(100_000))

    with pytest.raises(OSError, match=r"needs 256\.0 kB") as caught:
        grow()
    assert caught.value.errno == errno.ENOSPC
    assert path.stat().st_size < 2 * MB


def test_other_failures_of_a_save_stay_what_they_are(tmp_path: Path) -> None:
    """A state that cannot be pickled is not reported as a full disk."""
    trainer = Trainer(tmp_path)
    with pytest.raises(TypeError, match="lock"), trainer.budget.saving(trainer.run / "a.pth", {}):
        raise TypeError("cannot pickle a lock")


def test_too_small_a_limit_is_told_before_the_training(tmp_path: Path) -> None:
    """Weights that cannot fit end the session at once; no room for a second checkpoint is a warning."""
    trainer = Trainer(tmp_path)
    trainer.budget.begin(24 * MB, 71 * MB)
    assert trainer.warned == []
    trainer.budget.begin(40 * MB, 120 * MB)
    assert "about 120.0 MB" in trainer.warned[0]
    with pytest.raises(OSError, match=r"needs 210\.0 MB"):
        trainer.budget.begin(210 * MB, 630 * MB)
    trainer.save("checkpoint_1.pth")
    trainer.budget.begin(24 * MB, 71 * MB)
    assert len(trainer.warned) == 1


def test_without_a_limit_nothing_is_counted(tmp_path: Path) -> None:
    """Without a limit, and for files outside of the outputs, nothing is counted."""
    budget = DiskBudget(DiskLimits(), Reporter(tmp_path / "HOST_REPORT.json"))
    budget.begin(10**15, 10**15)
    file = object()
    with budget.saving(tmp_path / "a.pth", {}) as limited:
        assert limited(file) is file
    trainer = Trainer(tmp_path / "out")
    with trainer.budget.saving(tmp_path / "a.pth", {"a": Weights(10**12)}) as limited:
        assert limited(file) is file


def test_the_size_of_a_state_is_foretold(tmp_path: Path) -> None:
    """The estimate is never too low, and within 1.5 MB for a thousand tensors with Adam's state."""
    torch = pytest.importorskip("torch")
    names = [f"module.resblocks.{index}.convs1.0.parametrizations.weight.original0" for index in range(1000)]
    weights = {name: torch.zeros(50 + index % 40) for index, name in enumerate(names)}
    averages = {
        index: {"step": torch.tensor(1.0), "exp_avg": value.clone(), "exp_avg_sq": value.clone()}
        for index, value in enumerate(weights.values())
    }
    tied = torch.zeros(500_000)
    state = {
        "model": {**weights, "a": tied, "b": tied[:10]},
        "optimizer": [{"state": averages}],
        "config": {},
    }
    torch.save(state, tmp_path / "a.pth")
    real = (tmp_path / "a.pth").stat().st_size
    assert real <= size_of(state) <= real + 1.5 * MB


# ---- Coqui's real Trainer


def tight(toy: Toy, spare: int) -> dict[str, Any]:
    """A limit that leaves room for a checkpoint (which is taken for 300 kB larger) and `spare` bytes more."""
    expected = 0.256 * MB + 100_000
    ballast = toy.folder / "out-ballast"
    limit = 10 * MB
    ballast.mkdir(exist_ok=True)
    with (ballast / "x").open("wb") as file:
        file.truncate(int(limit * 0.99 - expected - spare))
    return {"disk": {"folder": str(toy.folder), "limit_bytes": limit, "keep_checkpoints": 3}}


def test_a_real_training_keeps_to_its_limit(fork_server: ForkServer, tmp_path: Path) -> None:
    """With a save in each step and a tight limit, the training finishes and leaves usable files."""
    toy = Toy(fork_server, tmp_path / "run")
    control = tight(toy, 120_000)
    report = toy.session(control=control, save_step=1)
    assert (toy.code, report["finished"], report["global_step"]) == (0, True, 24)
    assert load(toy.newest())["kgtts"]["total_steps_done"] == 24
    (best,) = toy.run_folder.glob("best_model_*.pth")
    assert load(best)["step"] == step_of(best)
    assert "to make room for" in toy.text()
    assert 1 <= len(list(toy.run_folder.glob("checkpoint_*.pth"))) <= 2
    assert any("cannot hold session.keep_checkpoints" in text for text in report["warnings"])


def test_a_full_budget_ends_in_a_usable_checkpoint(fork_server: ForkServer, tmp_path: Path) -> None:
    """If a second checkpoint does not fit, the training ends with that reason and a complete first one."""
    toy = Toy(fork_server, tmp_path / "run")
    toy.session(control=tight(toy, 0), save_step=1, run_eval=False)
    assert toy.code == 1
    assert load(toy.newest())["step"] == step_of(toy.newest() or Path())
    found = diagnose(toy.text().splitlines(), 1, batch_size=3, tts=None)
    assert found.reason is EndReason.DISK_FULL
    assert "the limit of the outputs is 10.0 MB" in found.cause
    assert not list(toy.run_folder.glob(".kgtts-*"))


def test_the_best_model_lies_there_once(fork_server: ForkServer, tmp_path: Path) -> None:
    """best_model.pth is a hard link to the numbered file."""
    toy = Toy(fork_server, tmp_path / "run")
    toy.session(epochs=3)
    (best,) = toy.run_folder.glob("best_model_*.pth")
    link = toy.run_folder / "best_model.pth"
    assert link.is_symlink()
    assert link.resolve() == best.resolve()
    assert load(link)["step"] == load(best)["step"]


def test_as_many_checkpoints_stay_as_are_asked_for(fork_server: ForkServer, tmp_path: Path) -> None:
    """`keep_checkpoints` overrides the configuration."""
    toy = Toy(fork_server, tmp_path / "run")
    disk = {"folder": str(toy.folder), "limit_bytes": 10**9, "keep_checkpoints": 3}
    toy.session(control={"disk": disk}, save_step=1, save_n_checkpoints=9, epochs=2)
    kept = sorted(step_of(path) for path in toy.run_folder.glob("checkpoint_*.pth"))
    assert len(kept) == 3


def test_a_kill_during_a_save_leaves_a_usable_checkpoint(fork_server: ForkServer, tmp_path: Path) -> None:
    """After SIGKILL during a save, the previous checkpoint is complete and the next session resumes."""
    toy = Toy(fork_server, tmp_path / "run")

    def kill(process: int) -> None:
        """Kill the process while the second checkpoint is being written."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if list(toy.folder.glob("out/*/checkpoint_1.pth")) and list(
                toy.folder.glob("out/*/.kgtts-checkpoint_2.pth.part")
            ):
                os.kill(process, signal.SIGKILL)
                return
            time.sleep(0.01)

    control = {"disk": {"folder": str(toy.folder), "limit_bytes": 10**8, "keep_checkpoints": 2}}
    toy.session(signals=kill, control=control, save_step=1, save_s=0.2, run_eval=False)
    assert toy.code == -signal.SIGKILL
    assert (toy.run_folder / ".kgtts-checkpoint_2.pth.part").exists()
    assert load(toy.newest())["step"] == step_of(toy.newest() or Path())
    report = toy.session(control=control, epochs=2)
    assert (toy.code, report["finished"], report["global_step"]) == (0, True, 8)
