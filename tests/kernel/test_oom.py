"""GPU memory runs out: the training stops after its last step and resumes with half the batch."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kernel_template.train.host_link import BatchPlan
from tests.kernel.hosting import REAL_TRAINER, ForkServer, Toy, load, step_of
from tests.kernel.kit import Log
from tests.kernel.sessions import toy_session

pytestmark = REAL_TRAINER


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_it_stops_after_the_last_step(
    fork_server: ForkServer, tmp_path: Path, ranks: int, where: str
) -> None:
    """If memory runs out in the sixth step, five are saved, and half the batch finishes the training."""
    config = {
        "samples": 24,
        "batch_size": 8 // ranks,
        "memory_at": 5,
        "memory_for": 4 // ranks,
        "memory_in": where,
        "fault_rank": ranks - 1,
        "epochs": 3,
    }
    toy = Toy(fork_server, tmp_path / "run", config, ranks)
    report = toy.session()
    assert (report["stopped"], report["global_step"], report["finished"]) == ("oom", 5, False)
    # On the way back one rank cannot tell the other, and is missed by it.
    assert toy.code == (1 if where == "backward" and ranks == 2 else 0)
    assert step_of(toy.newest() or Path()) == 5
    assert load(toy.newest())["kgtts"]["batch"] == 2
    report = toy.session(control={"batch_size": 4 // ranks, "accumulate": 2})
    assert (toy.code, report["finished"], report["global_step"]) == (0, True, 9)
    assert report["steps_per_epoch"] == 3
    assert toy.steps() == [0, 1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_evaluation_runs_out(fork_server: ForkServer, tmp_path: Path, ranks: int) -> None:
    """The epoch is saved as done without its evaluation, and the next one has a smaller batch."""
    config = {"memory_at": 4, "memory_for": 2, "memory_in": "eval", "eval_batch_size": 4, "samples": 24}
    toy = Toy(fork_server, tmp_path / "run", {**config, "batch_size": 8 // ranks}, ranks)
    report = toy.session()
    assert (toy.code, report["stopped"], report["global_step"]) == (0, "oom", 6)
    report = toy.session(control={"batch_size": 2, "accumulate": 4 // ranks}, epochs=3)
    assert (toy.code, report["finished"], report["global_step"]) == (0, True, 9)


def test_before_the_first_step(fork_server: ForkServer, tmp_path: Path) -> None:
    """If nothing was trained, nothing is saved, which is not an error."""
    toy = Toy(fork_server, tmp_path / "run", {"memory_at": 0})
    report = toy.session()
    assert (toy.code, report["stopped"], report["global_step"], toy.newest()) == (0, "oom", 0, None)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_session_halves_the_batch(root: Path, log: Log, fork_server: ForkServer, ranks: int) -> None:
    """The session restarts the training, writes the event, and records the batch size."""
    faults: dict[str, Any] = {"memory_at": 2, "memory_for": 2, "fault_rank": ranks - 1}
    played = toy_session(root, log, server=fork_server, ranks=ranks, samples=16, **faults)
    assert played.code == 0, log.text[-3000:]
    steps = 12 // ranks
    (event,) = log.events("oom")
    assert {key: event[key] for key in ("batch_size", "accumulate", "global_step")} == {
        "batch_size": 2,
        "accumulate": 2,
        "global_step": 2,
    }
    assert played.end["reason"] == "finished"
    state = played.state
    assert state["learned"] == {"asked": 4, "batch_size": 2, "accumulate": 2}
    assert state["global_step"] == steps
    assert "each GPU now takes 2 of 4 samples at once, in 2 batches a step" in log.text
    assert (root / "working" / "train_log_rank1.txt").is_file() is (ranks == 2)


def test_what_the_script_set_itself_stays(root: Path, log: Log, fork_server: ForkServer) -> None:
    """After memory ran out the run folder's configuration is still what the script made of it."""
    played = toy_session(
        root, log, server=fork_server, memory_at=2, memory_for=2, samples=16, own_lr=0.00017, batch_size=4
    )
    assert played.code == 0, log.text[-3000:]
    (config,) = (root / "working" / "training").glob("*/config.json")
    assert json.loads(config.read_text())["lr"] == 0.00017
    rates = re.findall(r"> current_lr_1: (\S+)", log.text)
    assert max(map(float, rates)) == 0.00017


def test_a_rank_that_hangs_on_its_gpu_is_ended(root: Path, log: Log, fork_server: ForkServer) -> None:
    """If rank 0 hangs on its GPU, the session finds the cause in the log and resumes from what is saved."""
    faults: dict[str, Any] = {
        "memory_at": 2,
        "memory_for": 2,
        "memory_in": "backward",
        "fault_rank": 1,
        "hangs": True,
    }
    played = toy_session(root, log, server=fork_server, ranks=2, samples=16, save_step=1, **faults)
    assert played.code == 0, log.text[-3000:]
    (event,) = log.events("oom")
    assert (event["batch_size"], event["accumulate"], event["global_step"]) == (2, 2, 2)
    assert (played.end["reason"], played.state["global_step"]) == ("finished", 6)
    assert "[rank 1] torch.OutOfMemoryError" in log.text


def test_a_single_sample_is_too_much(root: Path, log: Log, fork_server: ForkServer) -> None:
    """If even one sample does not fit, the session fails and says what helps."""
    played = toy_session(root, log, server=fork_server, batch_size=2, memory_at=0, plain=True)
    assert played.code == 1
    assert [event["batch_size"] for event in log.events("oom")] == [1]
    assert "too small for a single sample" in played.end["message"]


def test_a_plan_is_remembered_for_the_same_batch() -> None:
    """A plan for another batch size, or a damaged plan, is ignored."""
    plan = BatchPlan(16, 16).halved()
    assert plan == BatchPlan(16, 8, 2)
    kept = json.loads(json.dumps(plan.learned))
    assert BatchPlan.remembered(16, kept) == plan
    for asked, told in ((8, kept), (16, None), (16, {}), (16, {**kept, "batch_size": 0})):
        assert BatchPlan.remembered(asked, told) == BatchPlan(asked, asked)
    assert BatchPlan(16, 16).learned == {"asked": 16, "batch_size": None, "accumulate": 1}
    assert BatchPlan(3, 1, 3).halved() is None


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [(16, [8, 4, 2, 1]), (24, [12, 6, 3, 1]), (10, [5, 2, 1]), (30, [15, 6, 3, 1]), (5, [1]), (1, [])],
)
def test_a_step_keeps_its_samples(asked: int, sizes: list[int]) -> None:
    """However often memory runs out, a step keeps its samples and takes at most half as many at once."""
    plan, found = BatchPlan(asked, asked).halved(), []
    while plan is not None:
        assert plan.size * plan.accumulate == asked
        found.append(plan.size)
        plan = plan.halved()
    assert found == sizes
