"""Speed rules change nothing: the small voice's training with and without them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator.demo import inputs
from tests.kernel.hosting import VITS_TRAINING, ForkServer, load, same_training
from tests.kernel.kit import put

pytestmark = VITS_TRAINING
STEPS = 4
SCRIPT = """
import runpy, torch
torch.manual_seed(1)  # Coqui makes the model before it sets its own seed.
runpy.run_module("TTS.bin.train_tts", run_name="__main__", alter_sys=True)
"""


def train(
    server: ForkServer, folder: Path, demo: inputs.DemoInputs, *, ranks: int = 1, **speed: bool
) -> Path:
    """Train with these rules for four steps, evaluations between them. Returns the checkpoint."""
    model = demo.model / "model"
    config: dict[str, Any] = json.loads((model / "config.json").read_text())
    config |= {
        "epochs": 4,
        "batch_size": 8 // ranks,
        "output_path": str(folder / "out"),
        "save_best_after": 99,
    }
    config["model_args"]["periods_multi_period_discriminator"] = [2]
    config["datasets"][0]["path"] = str(demo.dataset / "MyTTSDataset")
    put(folder / "config.json", json.dumps(config))
    control = {"report": str(folder / "HOST_REPORT.json"), "until_step": STEPS, "speed": speed}
    put(folder / "control.json", json.dumps(control))
    put(folder / "train.py", SCRIPT)
    arguments = [str(folder / "control.json"), str(folder / "train.py")]
    arguments += ["--config_path", str(folder / "config.json")]
    log = folder / "log.txt"
    assert server.run(arguments, log, ranks=ranks) == 0, log.read_text()[-3000:]
    (found,) = (folder / "out").glob("*/checkpoint_*.pth")
    return found


@pytest.mark.parametrize("ranks", [1, 2])
def test_exact_rules_change_no_bit(
    vits_fork_server: ForkServer, tmp_path: Path, voice_cache: Path, ranks: int
) -> None:
    """Weights, optimizers, losses and random states equal the untouched steps; inexact rules differ."""
    demo = inputs.provide_demo_inputs(tmp_path / "kaggle", "owner", cache=voice_cache)
    plain = train(vits_fork_server, tmp_path / "plain", demo, ranks=ranks, exact=False)
    exact = train(vits_fork_server, tmp_path / "exact", demo, ranks=ranks)
    assert load(exact)["kgtts"]["total_steps_done"] == STEPS
    assert same_training(plain, exact) is None
    if ranks == 1:
        joined = train(vits_fork_server, tmp_path / "joined", demo, joined_batch=True, weights_once=True)
        assert same_training(plain, joined) is not None
    shutil.rmtree(tmp_path)  # More than half a gigabyte.
