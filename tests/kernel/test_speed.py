"""Speed rules change nothing: the small voice's training with and without them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kernel_template.host.protocol import Control, SpeedRules
from kernel_template.tools.files import write_atomic
from kernel_template.train.host_link import BatchPlan, HostLink
from orchestrator.emulator.demo import inputs
from tests.kernel.hosting import VITS_TRAINING, ForkServer, load, same_training
from tests.kernel.kit import paths_in, put, settings

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
    """Weights, optimizers, losses and random states equal those of the untouched steps."""
    demo = inputs.provide_demo_inputs(tmp_path / "kaggle", "owner", cache=voice_cache)
    plain = train(vits_fork_server, tmp_path / "plain", demo, ranks=ranks, exact=False)
    exact = train(vits_fork_server, tmp_path / "exact", demo, ranks=ranks)
    assert load(exact)["kgtts"]["total_steps_done"] == STEPS
    assert same_training(plain, exact) is None
    shutil.rmtree(tmp_path)  # More than half a gigabyte.


def test_cudnn_searches_from_the_decoder_on_and_in_its_backward_pass_only() -> None:
    """The encoders before it have another shape in each batch; so have those of an evaluation."""
    torch = pytest.importorskip("torch")
    from kernel_template.host.speed import SpeedHooks  # noqa: PLC0415 - it needs torch.

    def searches(rules: SpeedRules, *, training: bool = True) -> list[bool]:
        encoder, decoder = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).train(training)
        decoder.register_forward_pre_hook(SpeedHooks(rules).search_algorithms)
        found: list[bool] = []

        def note(*_: Any) -> None:
            found.append(torch.backends.cudnn.benchmark)

        encoder.register_forward_hook(note)
        decoder.register_forward_hook(note)
        decoder.register_full_backward_hook(note)
        encoder.register_full_backward_hook(note)
        decoder(encoder(torch.ones(1, 2, requires_grad=True))).sum().backward()
        return found

    assert searches(SpeedRules(cudnn_search=True)) == [False, True, True, False]
    assert not any(searches(SpeedRules()))
    assert not any(searches(SpeedRules(cudnn_search=True), training=False))


def test_the_setting_reaches_the_host(root: Path) -> None:
    """`speed.cudnn_benchmark` is the host's search; the exact rules are always on."""
    host = HostLink(paths_in(root), write_atomic)
    for asked in (True, False):
        speed = {"cudnn_benchmark": asked}
        host.ask(settings(speed=speed), 600.0, None, BatchPlan(4, 4))
        control = Control.read(json.loads(host.control.read_text()))
        assert control.speed == SpeedRules(exact=True, cudnn_search=asked)
