"""The demo's small VITS voice on two ranks: one training, for both optimizers."""

import json
import shutil
from pathlib import Path
from typing import Any

from orchestrator.emulator.demo import inputs
from tests.kernel.hosting import VITS_TRAINING, ForkServer, demo_inputs, difference, load
from tests.kernel.kit import put

pytestmark = VITS_TRAINING


def train(
    vits_fork_server: ForkServer, folder: Path, demo: inputs.DemoInputs, steps: int, **variables: str
) -> list[Any]:
    """Train on two ranks for this many steps. Returns what each rank recorded."""
    model = demo.model / "model"
    config: dict[str, Any] = json.loads((model / "config.json").read_text())
    config |= {"epochs": steps, "batch_size": 2, "output_path": str(folder / "out"), "run_eval": False}
    config |= {"grad_clip": [0, 0], "save_step": 1000, "save_best_after": 1000}
    config["datasets"][0]["path"] = str(demo.dataset / "MyTTSDataset")
    put(folder / "config.json", json.dumps(config))
    report = folder / "HOST_REPORT.json"
    put(folder / "control.json", json.dumps({"report": str(report), "until_step": steps}))
    arguments = [
        *(str(folder / "control.json"), str(Path(__file__).with_name("voice_training.py"))),
        *(str(demo.dataset / "MyTTSDataset" / "train_tts.py"), "--config_path", str(folder / "config.json")),
        *("--restore_path", str(model / "model_file.pth")),
    ]
    watch = {"KGTTS_WATCH": str(folder), "KGTTS_WATCH_STEPS": str(steps - 1)}
    log = folder / "log.txt"
    assert vits_fork_server.run(arguments, log, ranks=2, variables=watch | variables) == 0, log.read_text()[
        -3000:
    ]
    assert json.loads(report.read_text())["global_step"] == steps
    return [load(folder / f"{rank}.pth") for rank in (0, 1)]


def test_vits_on_two_ranks_is_one_training(
    vits_fork_server: ForkServer, tmp_path: Path, voice_cache: Path
) -> None:
    """After 20 steps all weights of both networks are bitwise equal; gradients are means of the ranks' own.

    A few steps without synchronisation, and both are found to differ.
    """
    import torch  # noqa: PLC0415 - seconds that only this test needs.

    demo = demo_inputs(tmp_path / "kaggle", voice_cache)
    one, other = train(vits_fork_server, tmp_path / "run", demo, 20)
    assert one["steps"] == other["steps"] == 20
    assert difference(one["model"], other["model"]) is None
    assert difference(one["optimizer"], other["optimizer"]) is None
    pairs = list(zip(one["gradients"], other["gradients"], strict=True))
    assert [first["optimizer"] for first, _ in pairs] == [0, 1]
    for first, second in pairs:
        assert difference(first["taken"], second["taken"]) is None
        assert difference(first["local"], second["local"]) is not None
        for name, taken in first["taken"].items():
            mean = (first["local"][name] + second["local"][name]) / 2
            assert torch.allclose(taken, mean, rtol=1e-5, atol=1e-8), name
    one, other = train(vits_fork_server, tmp_path / "apart", demo, 4, KGTTS_UNSYNCHRONISED="1")
    for prefix in ("disc.", "waveform_decoder."):
        first, second = (
            {name: item for name, item in each["model"].items() if name.startswith(prefix)}
            for each in (one, other)
        )
        assert first
        assert difference(first, second) is not None
    shutil.rmtree(tmp_path)  # Half a gigabyte.
