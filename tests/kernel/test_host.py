"""The host, over a small GAN on Coqui's real Trainer: sessions that together are one training."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.hosting import Forge, Toy, forge, load, same_training, step_of

pytest.importorskip("trainer")


@pytest.fixture(scope="module")
def smithy() -> Iterator[Forge]:
    """One process with torch imported, for all tests of this file."""
    with forge() as found:
        yield found


@pytest.fixture(scope="module")
def whole(smithy: Forge, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Six epochs in one session."""
    toy = Toy(smithy, tmp_path_factory.mktemp("whole"))
    report = toy.session()
    assert (toy.code, report["finished"], report["global_step"], report["epoch"]) == (0, True, 24, 6)
    return toy


@pytest.fixture
def toy(smithy: Forge, tmp_path: Path) -> Toy:
    """A run that has not begun."""
    return Toy(smithy, tmp_path / "run")


def test_three_sessions_are_one(whole: Toy, toy: Toy) -> None:
    """Two epochs, three times: every weight, optimizer state, rate, random state best loss: equal."""
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


def test_a_stop_within_an_epoch(whole: Toy, toy: Toy) -> None:
    """`until_step` stops exactly there; the next session passes over the batches that are done."""
    for target in (3, 10, 21):
        assert toy.session(control={"until_step": target})["global_step"] == target
        assert load(toy.newest())["kgtts"]["total_steps_done"] == target
    toy.session()
    assert same_training(whole.newest(), toy.newest()) is None
    assert toy.batches() == whole.batches()
    assert toy.steps() == whole.steps()
    assert "-- STEP: 3/" in toy.text()


def test_killed_without_grace(whole: Toy, toy: Toy) -> None:
    """SIGKILL within an epoch costs what came after the last checkpoint, and changes nothing else."""
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
