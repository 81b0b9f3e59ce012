"""The host with a small GAN on Coqui's real Trainer: its sessions together are one training."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.kernel.hosting import REAL_TRAINER, ForkServer, Toy, load, same_training, save, step_of

pytestmark = REAL_TRAINER


@pytest.fixture(scope="module")
def whole(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Six epochs trained in one session."""
    toy = Toy(fork_server, tmp_path_factory.mktemp("whole"))
    report = toy.session()
    assert (toy.code, report["finished"], report["global_step"], report["epoch"]) == (0, True, 24, 6)
    return toy


@pytest.fixture
def toy(fork_server: ForkServer, tmp_path: Path) -> Toy:
    """A run that has not started."""
    return Toy(fork_server, tmp_path / "run")


def test_trainings_share_a_worker(fork_server: ForkServer, request: pytest.FixtureRequest) -> None:
    """pytest-xdist puts tests of a group on one worker, where they share processes and fixtures."""
    if request.config.getoption("loadgroup", default=False):
        assert request.node.nodeid.endswith("@toy")


def test_three_sessions_are_one(whole: Toy, toy: Toy) -> None:
    """Three sessions of two epochs end in the same state as one of six, bit for bit."""
    for target in (8, 16, None):
        report = toy.session(control={"until_step": target})
        assert report["stopped"] == ("until_step" if target else None)
    assert report["start"] == {"global_step": 16, "epoch": 4, "batch": 0}
    assert step_of(toy.newest() or Path()) == 24
    assert same_training(whole.newest(), toy.newest()) is None
    assert toy.batches() == whole.batches()
    assert toy.steps() == whole.steps()
    best = load(whole.run_folder / "best_model.pth")
    assert best["step"] == load(toy.run_folder / "best_model.pth")["step"]


def test_a_script_that_draws_more_when_it_continues(whole: Toy, toy: Toy) -> None:
    """The order in which a dataset shuffled its samples when it was made stays the same."""
    toy.session(control={"until_step": 8})
    toy.config = {"draws": 5}
    toy.session()
    assert same_training(whole.newest(), toy.newest()) is None
    assert toy.batches() == whole.batches()


def test_a_stop_within_an_epoch(whole: Toy, toy: Toy) -> None:
    """`until_step` stops exactly there, and the next session skips the batches that were trained."""
    for target in (3, 10, 21):
        assert toy.session(control={"until_step": target})["global_step"] == target
        assert load(toy.newest())["kgtts"]["total_steps_done"] == target
    toy.session()
    assert same_training(whole.newest(), toy.newest()) is None
    assert toy.batches() == whole.batches()
    assert toy.steps() == whole.steps()
    assert "-- STEP: 3/" in toy.text()


def test_killed_without_grace(whole: Toy, toy: Toy) -> None:
    """SIGKILL within an epoch loses only what came after the last checkpoint."""
    toy.config = {"save_step": 7}
    toy.session(die_at=16)
    assert toy.code == -signal.SIGKILL
    newest = toy.newest()
    assert newest is not None
    assert newest.name == "checkpoint_14.pth"
    assert load(newest)["kgtts"]["total_steps_done"] == 15  # Saved within the fifteenth step.
    toy.session()
    assert same_training(whole.newest(), toy.newest()) is None
    assert toy.steps() == [*range(16), *range(15, 24)]


def test_a_checkpoint_comes_in_time(whole: Toy, toy: Toy) -> None:
    """Where machines may be lost, a checkpoint is saved before it is too old, and changes nothing."""
    toy.session(stop_time=True, control={"save_every_s": 0.5}, step_s=0.2, die_at=16)
    newest = toy.newest()
    assert newest is not None
    assert newest.name == "checkpoint_15.pth"  # Three steps after the best model of the third epoch.
    assert load(newest)["kgtts"]["total_steps_done"] == 15
    toy.session()
    assert same_training(whole.newest(), toy.newest()) is None
    assert toy.steps() == [*range(16), *range(15, 24)]


def test_an_evaluation_that_is_due_is_made_up_for(fork_server: ForkServer, toy: Toy, tmp_path: Path) -> None:
    """A kill between a save and the following evaluation changes no later random number."""
    config = {"save_step": 5, "run_eval_steps": 3}
    straight = Toy(fork_server, tmp_path / "straight", config)
    straight.session()
    toy.config = config
    toy.session(die_at=6)  # checkpoint_5 is saved within step 6, before the evaluation of step 6.
    assert load(toy.newest())["kgtts"]["eval_due"] is True
    toy.session()
    assert same_training(straight.newest(), toy.newest()) is None


def test_worker_processes(fork_server: ForkServer, toy: Toy, tmp_path: Path) -> None:
    """With worker processes and a stop within an epoch, the batches stay the same."""
    config = {"num_loader_workers": 2, "epochs": 2}
    straight = Toy(fork_server, tmp_path / "straight", config)
    straight.session()
    toy.config = config
    toy.session(control={"until_step": 2})
    toy.session()
    assert same_training(straight.newest(), toy.newest()) is None
    assert toy.batches() == straight.batches()


def test_the_budget_ends_a_session_at_an_epoch(whole: Toy, toy: Toy) -> None:
    """Two epochs of 0.8 s fit into a session of 2 s with a reserve of 5 %, and three do not."""
    for epochs in (2, 4):
        report = toy.session(stop_time=True, control={"budget_s": 2.0}, step_s=0.2)
        assert (toy.code, report["stopped"], report["batch"]) == (0, "budget", 0)
        assert (report["epoch"], report["global_step"]) == (epochs, 4 * epochs)
        assert report["seconds_per_epoch"] == pytest.approx(0.8)
        assert step_of(toy.newest() or Path()) == report["global_step"]
    assert toy.text().count("SCRIPT WENT ON") == 2
    assert toy.session(stop_time=True, control={"budget_s": 2.0}, step_s=0.2)["finished"] is True
    assert same_training(whole.newest(), toy.newest()) is None


def test_an_epoch_that_fits_no_session_is_cut_at_a_step(toy: Toy) -> None:
    """Twenty steps of 0.3 s take four sessions of 2 s: three times six steps, then two."""
    seen = []
    for _ in range(4):
        report = toy.session(
            stop_time=True, control={"budget_s": 2.0}, step_s=0.3, samples=20, batch_size=2, epochs=2
        )
        seen.append((report["stopped"], report["global_step"], report["epoch"], report["batch"]))
    assert seen == [("budget", 6, 0, 6), ("budget", 12, 1, 2), ("budget", 18, 1, 8), (None, 20, 2, 0)]


def test_patience_outlives_a_session(toy: Toy) -> None:
    """Evaluations get worse after the first epoch, and two sessions count them together."""
    report = toy.session(control={"patience": 3, "until_step": 12}, worse_after=5)
    assert (report["stopped"], report["bad_evals"], report["epoch"]) == ("until_step", 2, 3)
    report = toy.session(control={"patience": 3}, worse_after=5)
    assert (report["stopped"], report["bad_evals"], report["epoch"]) == ("no_improvement", 3, 4)
    report = toy.session(control={"patience": 3}, worse_after=5)
    assert (report["stopped"], report["global_step"]) == ("no_improvement", 16)


def test_an_interrupt_saves_at_the_next_step(whole: Toy, toy: Toy) -> None:
    """After SIGINT that step is saved, the script continues after fit, and the exit code is 0."""
    report = toy.session(interrupt_at=6)
    assert (toy.code, report["stopped"], report["global_step"]) == (0, "signal", 6)
    assert "SCRIPT WENT ON" in toy.text()
    toy.session()
    assert same_training(whole.newest(), toy.newest()) is None


def test_interrupts_during_a_save_break_nothing(toy: Toy) -> None:
    """After two SIGINTs within each save, every file is whole and no temporary file is left."""
    report = toy.session(interrupt_in_save=True, save_s=0.1, save_step=3)
    assert (toy.code, report["stopped"]) == (0, "signal")
    for path in toy.run_folder.iterdir():
        assert not path.name.startswith(".")
        if path.suffix == ".pth":
            load(path)
    assert toy.newest() is not None


def test_a_kill_during_a_save_leaves_the_one_before(toy: Toy) -> None:
    """After SIGKILL during a write, no file has the final name."""

    def kill(process: int) -> None:
        while not (toy.folder / "out").is_dir() or not list(
            (toy.folder / "out").glob("*/.kgtts-checkpoint*")
        ):
            time.sleep(0.005)
        os.kill(process, signal.SIGKILL)

    toy.session(signals=kill, save_step=5, save_s=0.5)
    assert toy.code == -signal.SIGKILL
    newest = toy.newest()
    assert newest is not None
    assert newest.name == "best_model_4.pth"
    load(newest)


def test_an_ended_run_does_nothing(whole: Toy, tmp_path: Path) -> None:
    """A finished run that is continued trains and saves nothing, and reports that it is finished."""
    again = whole.copy(tmp_path / "again")
    before = sorted((path.name, path.stat().st_size) for path in again.run_folder.glob("*.pth"))
    report = again.session()
    assert (report["finished"], report["global_step"], report["epoch"]) == (True, 24, 6)
    assert sorted((path.name, path.stat().st_size) for path in again.run_folder.glob("*.pth")) == before


def test_a_checkpoint_of_a_bare_trainer_goes_on(whole: Toy, tmp_path: Path) -> None:
    """A checkpoint without our record is resumed in the trainer's own way, with a warning."""
    bare = whole.copy(tmp_path / "bare")
    for path in bare.run_folder.glob("*.pth"):
        state = load(path)
        del state["kgtts"]
        save(state, path)
    report = bare.session(epochs=7)
    assert (bare.code, report["finished"], report["epoch"]) == (0, True, 7)
    assert "not saved by kgtts" in report["warnings"][0]
    assert report["best_loss"] <= load(whole.run_folder / "best_model.pth")["model_loss"]["eval_loss"]


def test_a_folder_without_a_checkpoint_is_kept(toy: Toy) -> None:
    """A training that fails at once keeps its run folder, with the log that says why."""
    report = toy.session(grad_clip=[0.0])
    assert (toy.code, report["finished"], report["stopped"]) == (1, False, None)
    assert (toy.run_folder / "config.json").is_file()
