"""Speed rules change no result: the small voice's training with and without them."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernel_template.host.protocol import Control, SpeedRules
from kernel_template.tools.files import write_atomic
from kernel_template.train.host_link import BatchPlan, HostLink
from orchestrator.emulator.demo import inputs
from tests.kernel.hosting import VITS_TRAINING, ForkServer, demo_inputs, few_sentences, load, same_training
from tests.kernel.kit import paths_in, put, settings
from tests.support import WITH_TORCH

pytestmark = VITS_TRAINING
STEPS = 4
# It draws no figures, which take as long as its steps.
SCRIPT = """
import runpy, torch
from TTS.tts.models.vits import Vits
Vits._create_logs = lambda *_: ({}, {})
torch.manual_seed(1)  # Coqui makes the model before it sets its own seed.
runpy.run_module("TTS.bin.train_tts", run_name="__main__", alter_sys=True)
"""
# The same without what is random in a step, since a longer batch draws more numbers; it notes each step.
SILENT_SCRIPT = """
import json, runpy, torch
torch.randn = lambda *size, **more: torch.zeros(*size, **more)
torch.randn_like = torch.zeros_like
from trainer import Trainer
from TTS.tts.models.vits import Vits
forward, step = Vits.forward, Trainer.train_step
lengths = []

def seen(model, x, x_lengths, y, *args, **named):
    lengths.append([x.size(1), y.size(2)])
    return forward(model, x, x_lengths, y, *args, **named)

def noted(trainer, *args):
    outputs, losses = step(trainer, *args)
    with open("steps.jsonl", "a") as file:
        values = {name: float(value) for name, value in losses.items() if "loss" in name}
        file.write(json.dumps({"lengths": lengths[-1], "losses": values}) + "\\n")
    return outputs, losses

Vits.forward, Trainer.train_step = seen, noted
""" + SCRIPT.removeprefix("\nimport runpy, torch")


def train(  # noqa: PLR0913 - each is a way in which the trainings differ.
    server: ForkServer,
    folder: Path,
    demo: inputs.DemoInputs,
    *,
    ranks: int = 1,
    steps: int = STEPS,
    script: str = SCRIPT,
    model_args: dict[str, float] | None = None,
    **speed: bool,
) -> Path:
    """Train with these rules for a few steps, evaluations between them. Returns the checkpoint."""
    model = demo.model / "model"
    config: dict[str, Any] = json.loads((model / "config.json").read_text())
    config |= {
        "epochs": 4,
        "batch_size": 4 // ranks,
        "output_path": str(folder / "out"),
        "save_best_after": 99,
    }
    config["model_args"] |= {"periods_multi_period_discriminator": [2]} | (model_args or {})
    config["datasets"][0] |= few_sentences(demo)  # Two batches an epoch.
    put(folder / "config.json", json.dumps(config))
    control = {"report": str(folder / "HOST_REPORT.json"), "until_step": steps, "speed": speed}
    put(folder / "control.json", json.dumps(control))
    put(folder / "train.py", script.replace("steps.jsonl", str(folder / "steps.jsonl")))
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
    demo = demo_inputs(tmp_path / "kaggle", voice_cache)
    plain = train(vits_fork_server, tmp_path / "plain", demo, ranks=ranks, exact=False)
    exact = train(vits_fork_server, tmp_path / "exact", demo, ranks=ranks)
    assert load(exact)["kgtts"]["total_steps_done"] == STEPS
    assert same_training(plain, exact) is None
    shutil.rmtree(tmp_path)


def test_rounded_lengths_change_nothing_but_the_noise(
    vits_fork_server: ForkServer, tmp_path: Path, voice_cache: Path
) -> None:
    """Padded batches have few lengths and the same losses, where the encoders draw no random numbers."""
    demo = demo_inputs(tmp_path / "kaggle", voice_cache)
    still = {"dropout_p_text_encoder": 0.0, "dropout_p_duration_predictor": 0.0}
    steps = {}
    for rounded in (False, True):
        folder = tmp_path / str(rounded)
        script = SILENT_SCRIPT
        train(vits_fork_server, folder, demo, script=script, model_args=still, steps=2, round_lengths=rounded)
        lines = (folder / "steps.jsonl").read_text().splitlines()
        steps[rounded] = [json.loads(line) for line in lines]
    assert all(
        letters % 16 == 0 == frames % 64 for letters, frames in (item["lengths"] for item in steps[True])
    )
    assert any(frames % 64 for _, frames in (item["lengths"] for item in steps[False]))
    assert len(steps[True]) == len(steps[False]) == 2
    for plain, padded in zip(steps[False], steps[True], strict=True):
        assert padded["losses"] == pytest.approx(plain["losses"], rel=1e-3)
    shutil.rmtree(tmp_path)


@WITH_TORCH
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
    """`cudnn_benchmark` is the host's search, `round_lengths` its padding; the exact rules are always on."""
    host = HostLink(paths_in(root), write_atomic)
    for asked in (True, False):
        speed = {"cudnn_benchmark": asked, "round_lengths": not asked, "deterministic": asked}
        host.ask(settings(speed=speed), 600.0, None, BatchPlan(4, 4))
        control = Control.read(json.loads(host.control.read_text()))
        assert control.speed == SpeedRules(
            exact=True, cudnn_search=asked, round_lengths=not asked, deterministic=asked
        )


@WITH_TORCH
def test_deterministic_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are on once there is a Trainer; cuBLAS is told before that, and cuDNN never searches."""
    torch = pytest.importorskip("torch")
    from kernel_template.host.speed import SpeedHooks  # noqa: PLC0415 - it needs torch.

    name = "CUBLAS_WORKSPACE_CONFIG"
    monkeypatch.setenv(name, "")
    monkeypatch.delenv(name)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    for asked in (False, True):
        hooks = SpeedHooks(SpeedRules(deterministic=asked, cudnn_search=True))
        hooks.install(object)
        assert os.environ.get(name) == (":4096:8" if asked else None)
        try:
            hooks.after_trainer(SimpleNamespace(model=None))
            assert torch.are_deterministic_algorithms_enabled() is asked
            assert torch.backends.cudnn.deterministic is asked
        finally:
            torch.use_deterministic_algorithms(False)
        decoder = torch.nn.Linear(2, 2)
        decoder.register_forward_pre_hook(hooks.search_algorithms)
        searches: list[bool] = []
        decoder.register_forward_hook(lambda *_, seen=searches: seen.append(torch.backends.cudnn.benchmark))
        decoder(torch.ones(1, 2, requires_grad=True)).sum().backward()
        assert searches == [not asked]
