"""A run can always continue after NaN, right before an evaluation, and at a target that was just saved."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kernel_template.tools.files import sha256_of
from kernel_template.train.host_link import BatchPlan
from tests.kernel.hosting import (
    CONFIG,
    REAL_TRAINER,
    TOY,
    ForkServer,
    Toy,
    load,
    same_training,
    save,
    step_of,
)
from tests.kernel.kit import Log, put
from tests.kernel.sessions import resume_of, stamp, toy_session

pytestmark = REAL_TRAINER


@pytest.fixture
def toys(fork_server: ForkServer, tmp_path: Path) -> Any:
    """Makes toys in their own folders."""

    def make(name: str, **more: Any) -> Toy:
        ranks = more.pop("ranks", 1)
        return Toy(fork_server, tmp_path / name, more, ranks)

    return make


# ---- What Coqui caches in an evaluation


def test_an_evaluation_before_the_first_step(toys: Any) -> None:
    """With start_with_eval the first epoch only evaluates, and its caches do not break the training."""
    toy = toys("toy", caches=True, start_with_eval=True, epochs=3)
    report = toy.session()
    assert (toy.code, report["finished"], report["global_step"]) == (0, True, 8), toy.text()[-2000:]
    assert report["seconds_per_epoch"] is not None


def test_a_session_resumes_at_the_last_batch_of_an_epoch(toys: Any) -> None:
    """Only that epoch's evaluation is left; the result equals the uninterrupted training exactly."""
    whole, toy = toys("whole", caches=True, epochs=3), toys("toy", caches=True, epochs=3)
    whole.session()
    toy.session(interrupt_at=4)
    assert load(toy.newest())["kgtts"]["batch"] == 4
    toy.session(interrupt_at=None)
    assert toy.code == 0, toy.text()[-2000:]
    assert same_training(whole.newest(), toy.newest()) is None


def test_a_session_resumes_with_an_evaluation_due(toys: Any) -> None:
    """A session resumes from a checkpoint saved when an evaluation was due."""
    config = {"caches": True, "run_eval_steps": 2, "save_step": 1, "epochs": 3}
    whole, toy = toys("whole", **config), toys("toy", **config)
    whole.session()
    toy.session(die_at=2)
    assert load(toy.newest())["kgtts"]["eval_due"] is True
    toy.session(die_at=None)
    assert toy.code == 0, toy.text()[-2000:]
    assert same_training(whole.newest(), toy.newest()) is None


# ---- Targets


def test_a_target_at_a_saved_step_is_reached_by_name(toys: Any) -> None:
    """With save_step = 1 the newest file has the target's step, so the run is done and not stalled."""
    toy = toys("toy", save_step=1)
    report = toy.session(control={"until_step": 3})
    assert (report["stopped"], report["global_step"]) == ("until_step", 3)
    assert step_of(toy.newest()) == 3


# ---- NaN


@pytest.mark.parametrize("ranks", [1, 2])
def test_losses_that_are_nan_stop_the_epoch(toys: Any, ranks: int) -> None:
    """Three NaN losses in a row stop the epoch; NaN is never saved."""
    toy = toys("toy", ranks=ranks, nan_at=3, nan_always=True, save_step=1, samples=12 * ranks)
    report = toy.session()
    assert (toy.code, report["stopped"], report["finished"]) == (0, "not_finite", False), toy.text()[-2000:]
    assert "loss_1 at step 6" in report["not_finite"]
    assert step_of(toy.newest()) == 2
    assert "no checkpoint is written: the weights are NaN or infinite" in toy.text()


def test_losses_that_are_nan_on_another_gpu_stop_all(toys: Any) -> None:
    """A loss scaler skips every step of both ranks because of rank 1's NaN; rank 0 is told."""
    toy = toys("toy", ranks=2, scaled=True, fault_rank=1, nan_at=3, nan_always=True, samples=24)
    report = toy.session(control={"until_step": 12})
    assert (toy.code, report["stopped"], report["finished"]) == (0, "not_finite", False), toy.text()[-2000:]
    assert report["not_finite"] == "losses on another GPU at step 6"


@pytest.mark.parametrize("control", [{"until_step": 3}, {}])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_target_is_not_reached_with_weights_that_are_nan(
    toys: Any, ranks: int, control: dict[str, Any]
) -> None:
    """An infinite loss without a loss scaler spoils the last steps before the target or the end."""
    toy = toys("toy", ranks=ranks, fault_rank=ranks - 1, overflow_at=2, samples=12 * ranks, epochs=1)
    report = toy.session(control=control)
    assert (toy.code, report["stopped"], report["finished"]) == (0, "not_finite", False), toy.text()[-2000:]
    assert toy.newest() is None


def test_an_exception_because_of_nan_counts_too(toys: Any) -> None:
    """Some of Coqui's layers raise an exception at the second NaN."""
    toy = toys("toy", nan_at=2, nan_always=True, nan_kills=True)
    report = toy.session()
    assert (toy.code, report["stopped"]) == (1, "not_finite")


def test_a_best_model_is_never_nan(toys: Any) -> None:
    """Only the first epoch's evaluation is finite in this toy, and its best model stays."""
    toy = toys("toy", nan_at=4, nan_always=True)
    toy.session()
    assert [step_of(path) for path in toy.run_folder.glob("best_model_*.pth")] == [4]


def test_a_best_loss_that_is_nan_is_beaten(toys: Any) -> None:
    """A checkpoint of an older release may have NaN as its best loss."""
    toy = toys("toy", epochs=1)
    toy.session()
    newest = toy.newest()
    state = load(newest)
    state["kgtts"]["best_loss"] = {"train_loss": float("nan"), "eval_loss": float("nan")}
    save(state, newest)
    assert toy.session(epochs=2)["best_loss"] is not None


_UNSTABLE: dict[str, Any] = {"mixed_precision": True, "nan_at": 2, "save_step": 1, "batch_size": 3}


def test_a_session_goes_on_with_a_smaller_loss_scale(root: Path, log: Log, fork_server: ForkServer) -> None:
    """After NaN in fp16 the session continues once with a small loss scale, which its checkpoints keep."""
    played = toy_session(
        root, log, server=fork_server, **_UNSTABLE, scaled=True, scale=65536.0, nan_above=256.0
    )
    assert (played.code, played.end["reason"]) == (0, "finished"), log.text[-3000:]
    assert not (played.state["learned"] or {}).get("full_precision")
    (warning,) = [event["message"] for event in log.events("warning") if "in mixed" in event["message"]]
    assert "continues from step 4 with a loss scale of at most 256." in warning
    newest = max((root / "working").rglob("checkpoint_*.pth"), key=step_of)
    scaler = load(newest)["scaler"]
    assert (scaler["scale"], scaler["growth_interval"]) == (256.0, 2**31 - 1)


def test_a_session_goes_on_in_full_precision(root: Path, log: Log, fork_server: ForkServer) -> None:
    """After NaN the session continues once in fp32 from the last finite checkpoint, and records it."""
    played = toy_session(root, log, server=fork_server, **_UNSTABLE)
    assert played.code == 0, log.text[-3000:]
    assert (played.end["reason"], played.state["global_step"]) == ("finished", 12)
    assert played.state["learned"] == {
        "asked": 3,
        "batch_size": None,
        "accumulate": 1,
        "full_precision": True,
    }
    told = [event["message"] for event in log.events("warning")]
    (warning,) = [each for each in told if "unstable in mixed" in each]
    assert "continues from step 1 in full precision" in warning


def test_a_small_loss_scale_comes_before_full_precision() -> None:
    """Each is tried once; a scale that is small already is not tried, and full precision is the last."""
    plan = BatchPlan(16, 8, 2)
    small = plan.steadier(65536.0)
    assert small == BatchPlan(16, 8, 2, loss_scale=256.0)
    assert small.steadier(256.0) == plan.steadier(128.0) == plan.steadier(None)
    assert plan.steadier(None) == BatchPlan(16, 8, 2, full_precision=True)
    assert BatchPlan(16, 8, 2, full_precision=True).steadier(65536.0) is None


def test_nan_in_full_precision_ends_with_advice(root: Path, log: Log, fork_server: ForkServer) -> None:
    """The session fails and says what to change; its newest checkpoint is finite."""
    played = toy_session(root, log, server=fork_server, nan_at=2, nan_always=True, save_step=1, batch_size=3)
    assert (played.code, played.end["reason"]) == (1, "training_failed")
    assert "Lower the learning rates" in played.end["message"]
    assert played.state["global_step"] == 1


def spoil(path: Path) -> None:
    """Set the weights of a checkpoint to NaN."""
    state = load(path)
    for value in state["model"].values():
        if value.is_floating_point():
            value.fill_(float("nan"))
    save(state, path)


def test_a_checkpoint_of_nan_is_passed_over(
    root: Path, log: Log, fork_server: ForkServer, tmp_path: Path
) -> None:
    """A run that an older release left with NaN resumes from the newest finite checkpoint."""
    (tmp_path / "one").mkdir()
    config: dict[str, Any] = {"save_step": 2, "save_n_checkpoints": 5, "batch_size": 3}
    first = toy_session(tmp_path / "one", Log(), server=fork_server, more={"run": stamp(1)}, **config)
    working, state = first.root / "working", first.state
    for entry in state["checkpoints"]:
        if entry["global_step"] > 8:
            spoil(working / entry["path"])
            entry["size"] = (working / entry["path"]).stat().st_size
            entry["sha256"] = sha256_of(working / entry["path"])
    (working / "state.json").write_text(json.dumps(state))
    more = {
        "run": stamp(2),
        "resume": resume_of(state),
        "training": {"batch_size": 3, "epochs": 4, "model": "toy"},
    }
    played = toy_session(root, log, server=fork_server, parent=working, more=more, **config)
    assert played.code == 0, log.text[-3000:]
    assert played.state["global_step"] == 16
    told = [event["message"] for event in log.events("warning")]
    assert any("are NaN or infinite: the training continues from" in each for each in told), told


def test_a_base_voice_of_nan_is_named(root: Path, log: Log, fork_server: ForkServer) -> None:
    """If the base voice has NaN weights, the session fails and names its checkpoint."""
    torch = pytest.importorskip("torch")
    nan = {"model": {"generator.0.weight": torch.full((16, 4), torch.nan)}, "step": 0, "epoch": 0}
    played = toy_session(root, log, server=fork_server, base=nan)
    assert (played.code, played.end["reason"]) == (1, "training_failed")
    assert "The weights in model_file.pth are NaN or infinite" in played.end["message"]


# ---- Settings


def test_a_later_session_keeps_what_the_script_set(
    root: Path, log: Log, fork_server: ForkServer, tmp_path: Path
) -> None:
    """The user's setting was never used, so the second session does not begin with it either."""
    (tmp_path / "one").mkdir()
    training = {"batch_size": 3, "epochs": 2, "model": "toy", "coqui": {"lr": 0.005}}
    first = toy_session(
        tmp_path / "one",
        Log(),
        server=fork_server,
        more={"run": stamp(1), "training": training},
        own_lr=0.00017,
    )
    more = {"run": stamp(2), "resume": resume_of(first.state), "training": training | {"epochs": 3}}
    played = toy_session(
        root, log, server=fork_server, parent=first.root / "working", more=more, own_lr=0.00017
    )
    assert (played.code, played.state["global_step"]) == (0, 12), log.text[-3000:]
    rates = [float(rate) for rate in re.findall(r"> current_lr_1: (\S+)", log.text)]
    assert max(rates) < 0.00017
    assert "lr = 0.00017 is set by the script itself" in log.text
    (config,) = (root / "working" / "training").glob("*/config.json")
    assert json.loads(config.read_text())["lr"] == 0.00017


# ---- Scripts that hide it

_RETRIES = f"""
import sys
sys.path.insert(0, {str(TOY.parent)!r})
import toy_training
class Broken(toy_training.Toy):
    def train_step(self, *args, **kwargs):
        raise ValueError("it breaks")
toy_training.Toy = Broken
while True:
    try:
        toy_training.main()
    except BaseException:
        pass
"""


def test_a_script_that_always_tries_again(fork_server: ForkServer, tmp_path: Path) -> None:
    """A training that fails at the same step each time ends, whatever the script catches."""
    config = put(tmp_path / "config.json", json.dumps({**CONFIG, "output_path": str(tmp_path / "out")}))
    control = put(tmp_path / "control.json", json.dumps({"report": str(tmp_path / "report.json")}))
    script = put(tmp_path / "script.py", _RETRIES)
    arguments = [str(control), str(script), "--config_path", str(config)]
    assert fork_server.run(arguments, tmp_path / "log.txt") == 1
    log = (tmp_path / "log.txt").read_text()
    assert "the training has failed 20 times at step 0" in log
    assert log.rstrip().endswith("ValueError: it breaks")
    assert json.loads((tmp_path / "report.json").read_text())["failed"] is True
