"""Gradient accumulation: the host trains a small GAN on one rank and on two."""

from pathlib import Path
from typing import Any

import pytest

from kernel_template.host.accumulate import Accumulator, Group
from tests.kernel.hosting import REAL_TRAINER, ForkServer, Toy, load, same_training, step_of

pytestmark = REAL_TRAINER
PLAIN = {"plain": True, "samples": 8, "epochs": 20}


def furthest(one: Toy, other: Toy) -> float:
    """The largest difference between two trainings' weights."""
    first, second = (load(toy.newest())["model"] for toy in (one, other))
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("ranks", [1, 2])
def test_half_the_batch_twice_is_the_batch(fork_server: ForkServer, tmp_path: Path, ranks: int) -> None:
    """With a mean loss the discriminator's first step equals that of whole batches."""
    whole = Toy(fork_server, tmp_path / "whole", {**PLAIN, "batch_size": 8 // ranks, "epochs": 1}, ranks)
    halves = Toy(fork_server, tmp_path / "halves", {**whole.config, "batch_size": 4 // ranks}, ranks)
    assert whole.session()["global_step"] == 1
    report = halves.session(control={"accumulate": 2})
    assert (report["global_step"], report["steps_per_epoch"], report["samples_total"]) == (1, 1, 8)
    first, second = (load(toy.newest()) for toy in (whole, halves))
    for name, weight in first["model"].items():
        if name.startswith("discriminator"):
            assert (weight - second["model"][name]).abs().max() < 1e-5, name
    # The gradients themselves, by Adam's running mean of them.
    for index, bound in ((0, 1e-6), (1, 1e-2)):
        pairs = zip(
            first["optimizer"][index]["state"].values(),
            second["optimizer"][index]["state"].values(),
            strict=True,
        )
        for one, other in pairs:
            assert (one["exp_avg"] - other["exp_avg"]).abs().max() < bound
            assert int(other["step"]) == 1


def test_a_group_cut_short_is_a_step(fork_server: ForkServer, tmp_path: Path) -> None:
    """Twelve samples in batches of two make two steps of five batches; the second step has one batch."""
    toy = Toy(fork_server, tmp_path / "run", {"batch_size": 2, "epochs": 3})
    report = toy.session(control={"accumulate": 5})
    assert (toy.code, report["global_step"], report["steps_per_epoch"]) == (0, 6, 2)
    assert toy.steps() == list(range(6))
    assert "STEP: 1/1" in toy.text()  # The trainer counts from 0.


def test_sessions_go_on_between_groups(fork_server: ForkServer, tmp_path: Path) -> None:
    """Sessions that stop within epochs end with the same bits as one session."""
    config, control = {"batch_size": 2, "epochs": 3}, {"accumulate": 2}
    whole = Toy(fork_server, tmp_path / "whole", config)
    whole.session(control=control)
    parts = Toy(fork_server, tmp_path / "parts", config)
    for target in (2, 4, None):
        parts.session(control={**control, "until_step": target})
    assert step_of(parts.newest() or Path()) == 9
    assert same_training(whole.newest(), parts.newest()) is None


def test_a_loss_scaler_steps_once_a_group(fork_server: ForkServer, tmp_path: Path) -> None:
    """Each optimizer steps once for several batches, and skips the step if one batch overflows."""
    toy = Toy(fork_server, tmp_path / "run", {"batch_size": 2, "epochs": 1, "scaled": True, "overflow_at": 1})
    toy.session(control={"accumulate": 2})
    state = load(toy.newest())
    assert state["scaler"]["scale"] == 512.0
    assert [int(each["state"][0]["step"]) for each in state["optimizer"]] == [3, 2]


def test_a_model_that_optimizes_itself_gets_batch_by_batch(fork_server: ForkServer, tmp_path: Path) -> None:
    """A model with its own optimizer steps gets single batches, and a warning says so."""
    toy = Toy(fork_server, tmp_path / "run", {"optimizes": True, "batch_size": 2, "epochs": 2})
    report = toy.session(control={"accumulate": 2})
    assert (toy.code, report["finished"], report["global_step"]) == (0, True, 12), toy.text()[-2000:]
    assert report["steps_per_epoch"] == 6
    (warning,) = report["warnings"]
    assert "a step now sees 2 samples" in warning


def test_groups() -> None:
    """Batches are grouped in order, and anything that is not a batch is passed through."""
    armed: list[bool] = []
    groups = Accumulator(2, armed.append)
    found = [group.batches for group in groups.groups(iter("abcde"))]
    assert found == [["a", "b"], ["c", "d"], ["e"]]
    assert [groups.steps(count) for count in (0, 1, 2, 5)] == [0, 1, 1, 3]
    seen: list[Any] = []
    nobody: Any = None
    group = Group(["a"])
    assert groups.format_batch(lambda _trainer, batch: seen.append(batch), nobody, group) is group
    groups.format_batch(lambda _trainer, batch: seen.append(batch), nobody, "a")
    assert seen == ["a"]
