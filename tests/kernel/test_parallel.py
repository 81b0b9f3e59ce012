"""Several ranks train one model over gloo: a small GAN on Coqui's real Trainer."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.hosting import REAL_TRAINER, ForkServer, Toy, difference, load, same_training, step_of

pytestmark = REAL_TRAINER


class Pair(Toy):
    """A toy on two ranks with its recorded weights and gradients."""

    def seen(self, rank: int) -> dict[str, Any]:
        """Return what a rank recorded."""
        return load(self.folder / f"{rank}.pth")


def watched(fork_server: ForkServer, folder: Path, *, ranks: int = 2, steps: str = "", **config: Any) -> Pair:
    """A toy whose ranks record their weights and gradients."""
    variables = {"KGTTS_WATCH": str(folder), "KGTTS_WATCH_STEPS": steps}
    return Pair(fork_server, folder, config, ranks, variables)


def averaged(pair: Pair) -> str | None:
    """Return what is wrong with the gradients; None if each is the mean of the ranks' own."""
    import torch  # noqa: PLC0415 - seconds that only these tests need.

    both = list(zip(pair.seen(0)["gradients"], pair.seen(1)["gradients"], strict=True))
    assert {one["optimizer"] for one, _ in both} == {0, 1}
    for one, other in both:
        where = f"step {one['step']}, optimizer {one['optimizer']}"
        if found := difference(one["taken"], other["taken"]):
            return f"{where}: the ranks took different gradients: {found}"
        if difference(one["local"], other["local"]) is None:
            return f"{where}: the ranks had the same samples"
        for name, taken in one["taken"].items():
            mean = (one["local"][name] + other["local"][name]) / 2
            if not torch.allclose(taken, mean, rtol=1e-6, atol=1e-9):
                return f"{where}: {name} is not the mean"
    return None


@pytest.mark.parametrize("unsynchronised", [False, True])
def test_ranks_are_one_training(fork_server: ForkServer, tmp_path: Path, unsynchronised: bool) -> None:  # noqa: FBT001 - pytest's way.
    """After 20 steps all weights and optimizer states are equal, bit for bit, and gradients are means.

    The same is looked for with the synchronisation taken out, and not found.
    """
    pair = watched(fork_server, tmp_path / "run", steps="0,7,19", unsynchronised=unsynchronised)
    report = pair.session(epochs=10, samples=12, batch_size=3)
    assert (pair.code, report["finished"], report["global_step"], report["ranks"]) == (0, True, 20, 2)
    one, other = pair.seen(0), pair.seen(1)
    assert one["steps"] == other["steps"] == 20
    weights = difference(one["model"], other["model"])
    optimizers = difference(one["optimizer"], other["optimizer"])
    if unsynchronised:
        assert weights is not None
        assert optimizers is not None
        assert "different gradients" in (averaged(pair) or "")
    else:
        assert (weights, optimizers, averaged(pair)) == (None, None, None)
        assert difference(load(pair.newest())["model"], one["model"]) is None


@pytest.mark.parametrize("unsynchronised", [False, True])
def test_two_ranks_follow_one_with_twice_the_batch(
    fork_server: ForkServer,
    tmp_path: Path,
    unsynchronised: bool,  # noqa: FBT001 - pytest's way.
) -> None:
    """With losses that are means over samples, they agree within 1e-5 for 20 steps."""
    config: dict[str, Any] = {"plain": True, "samples": 8, "epochs": 20}
    one = watched(fork_server, tmp_path / "one", ranks=1, batch_size=8, **config)
    two = watched(fork_server, tmp_path / "two", batch_size=4, unsynchronised=unsynchronised, **config)
    for each in (one, two):
        assert each.session()["global_step"] == 20
    first, second = one.seen(0)["model"], two.seen(0)["model"]
    furthest = max(float((first[name] - second[name]).abs().max()) for name in first)
    assert (furthest > 1e-4) if unsynchronised else (furthest < 1e-5)


def test_only_rank_0_writes(fork_server: ForkServer, tmp_path: Path) -> None:
    """There is one run folder; rank 1 writes nothing, evaluates nothing, and ends within `fit`."""
    pair = watched(fork_server, tmp_path / "run")
    pair.session(epochs=2, save_step=1)
    other = Path(f"{pair.log}.rank1").read_text()
    assert pair.text().count("SCRIPT WENT ON") == 1
    assert "SCRIPT WENT ON" not in other
    assert "EVALUATION" in pair.text()
    assert "CHECKPOINT :" in pair.text()
    assert not re.search("CHECKPOINT :|BEST MODEL :|EVALUATION|Traceback", other)
    assert len(list((pair.folder / "out").iterdir())) == 1
    assert len(list(pair.run_folder.glob("events.*"))) == 1
    assert len(list(pair.run_folder.glob("trainer_*_log.txt"))) == 1


def test_each_sample_once_in_an_epoch(fork_server: ForkServer, tmp_path: Path) -> None:
    """The ranks divide an epoch's samples, in a different order in each epoch."""
    pair = watched(fork_server, tmp_path / "run", plain=True, samples=12, batch_size=3)
    pair.session(epochs=2)
    shares = [
        re.findall(r"^BATCH (\S+)", path.read_text(), re.MULTILINE)
        for path in (pair.log, Path(f"{pair.log}.rank1"))
    ]
    assert [len(share) for share in shares] == [4, 4]
    epochs = [[float(x) for share in shares for x in share[at : at + 2]] for at in (0, 2)]
    whole = sum(sum(0.1 * place + value / 10 for place in range(8)) for value in range(12))
    assert [round(sum(epoch), 3) for epoch in epochs] == [round(whole, 3)] * 2
    assert epochs[0] != epochs[1]


def test_sessions_of_two_ranks_are_one(fork_server: ForkServer, tmp_path: Path) -> None:
    """Sessions that stop between and within epochs end with the same weights as one session."""
    whole = watched(fork_server, tmp_path / "whole", epochs=4)
    whole.session()
    parts = watched(fork_server, tmp_path / "parts", epochs=4)
    for target in (2, 5, None):
        report = parts.session(control={"until_step": target})
        assert report["stopped"] == ("until_step" if target else None)
        assert parts.code == 0
    assert step_of(parts.newest() or Path()) == 8
    assert same_training(whole.newest(), parts.newest()) is None
    assert difference(whole.seen(1)["model"], parts.seen(1)["model"]) is None


@pytest.mark.parametrize(("ranks", "then", "steps"), [(1, 2, 4), (2, 1, 5)])
def test_an_epoch_goes_on_with_another_number_of_ranks(
    fork_server: ForkServer, tmp_path: Path, ranks: int, then: int, steps: int
) -> None:
    """As much of an epoch is left as was: of six or three steps of twelve samples, a third was done."""
    toy = Toy(fork_server, tmp_path, {"batch_size": 2, "epochs": 1}, ranks)
    toy.session(control={"until_step": 2 // ranks})
    toy.ranks = then
    report = toy.session()
    assert (toy.code, report["finished"], report["global_step"]) == (0, True, steps), toy.text()[-2000:]
    assert f"A step sees {2 * then} samples instead of {2 * ranks}" in toy.text()


@pytest.mark.parametrize(
    ("control", "slow_rank", "reason", "steps"),
    [
        ({"patience": 1}, None, "no_improvement", 4),
        ({"budget_s": 2.0}, 1, "budget", 8),  # Four epochs of 0.4 s, by rank 0's clock.
        ({"budget_s": 2.0}, 0, "budget", 1),
    ],
)
def test_rank_0_decides(  # noqa: PLR0913, PLR0917 - a row of the table.
    fork_server: ForkServer,
    tmp_path: Path,
    control: dict[str, Any],
    slow_rank: int | None,
    reason: str,
    steps: int,
) -> None:
    """Rank 0's evaluations and clock stop all ranks at the same step, whatever another rank's clock says."""
    pair = watched(fork_server, tmp_path / "run", epochs=500, worse_after=3, step_s=0.2, slow_rank=slow_rank)
    report = pair.session(control=control, stop_time=True)
    assert (pair.code, report["stopped"], report["global_step"]) == (0, reason, steps)
    (other,) = pair.folder.glob("rendezvous-*/rank1/HOST_REPORT.json")
    seen = json.loads(other.read_text())
    assert (seen["stopped"], seen["global_step"]) == (reason, steps)


def test_a_model_that_optimizes_itself_trains_on_one_gpu(fork_server: ForkServer, tmp_path: Path) -> None:
    """Its gradients cannot be averaged, so rank 0 trains on all samples and the other rank ends."""
    pair = watched(fork_server, tmp_path / "run", optimizes=True, samples=12, batch_size=3)
    report = pair.session(epochs=2)
    assert (pair.code, report["finished"], report["global_step"], report["ranks"]) == (0, True, 8, 1)
    (warning,) = report["warnings"]
    assert warning == "The model takes its optimizer steps by itself: the training runs on one GPU."
    other = Path(f"{pair.log}.rank1").read_text()
    assert "Traceback" not in other
    assert "BATCH" not in other


def test_an_interrupt_of_rank_0_stops_both(fork_server: ForkServer, tmp_path: Path) -> None:
    """After SIGINT to rank 0 alone, that step is saved and both ranks end with exit code 0."""
    pair = watched(fork_server, tmp_path / "run")
    report = pair.session(interrupt_at=3)
    assert (pair.code, report["stopped"], report["global_step"]) == (0, "signal", 3)
    assert step_of(pair.newest() or Path()) == 3


def test_ranks_skip_the_same_steps(fork_server: ForkServer, tmp_path: Path) -> None:
    """After an infinite loss on one rank, both skip the generator's step and lower the scale."""
    pair = watched(fork_server, tmp_path / "run", scaled=True, overflow_at=3, fault_rank=1)
    pair.session(epochs=3)
    one, other = pair.seen(0), pair.seen(1)
    assert one["scale"] == other["scale"] == 512.0
    assert difference(one["model"], other["model"]) is None
    steps = [state["state"][0]["step"] for state in one["optimizer"]]
    assert [int(step) for step in steps] == [6, 5]
    assert difference(one["optimizer"], other["optimizer"]) is None


def test_a_rank_that_dies_is_noticed_by_the_other(fork_server: ForkServer, tmp_path: Path) -> None:
    """Rank 0 does not wait for a rank that has died."""
    pair = watched(fork_server, tmp_path / "run", die_at=2, fault_rank=1)
    report = pair.session()
    assert pair.code in (1, -signal.SIGKILL)
    assert report["finished"] is False
    assert json.loads((pair.folder / "HOST_REPORT.json").read_text())["stopped"] is None
