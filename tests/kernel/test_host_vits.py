"""The demo's small VITS voice: three sessions are two epochs in one, bit for bit."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from kernel_template.start.inputs import OWN
from orchestrator.emulator.demo import inputs
from tests.kernel.hosting import VITS_TRAINING, ForkServer, demo_inputs, few_sentences, load, same_training
from tests.kernel.kit import put

pytestmark = VITS_TRAINING


class Voice:
    """A run of the demo's voice in its own folder."""

    def __init__(self, fork_server: ForkServer, folder: Path, demo: inputs.DemoInputs) -> None:
        self._server, self._folder, self._demo = fork_server, folder, demo
        model = demo.model / "model"
        self._config: dict[str, Any] = json.loads((model / "config.json").read_text())
        self._config |= {"epochs": 2, "batch_size": 2, "output_path": str(folder / "out"), "print_step": 1}
        self._config["datasets"][0] |= few_sentences(demo)
        self._config["batch_group_size"] = 2  # The samples are shuffled when their loader is made.

    @property
    def run_folder(self) -> Path:
        """The trainer's folder."""
        (found,) = (self._folder / "out").iterdir()
        return found

    @property
    def log(self) -> str:
        """Everything that was printed."""
        return (self._folder / "log.txt").read_text()

    def session(self, until_step: int | None) -> dict[str, Any]:
        """Run a session, which resumes from the one before. Returns HOST_REPORT.json."""
        report = self._folder / "HOST_REPORT.json"
        control: dict[str, Any] = {"report": str(report), "until_step": until_step}
        if not (self._folder / "out").is_dir():
            config = put(self._folder / "config.json", json.dumps(self._config))
            where = ["--restore_path", str(self._demo.model / "model" / "model_file.pth")]
        else:
            control |= {"continue_path": str(self.run_folder), "checkpoint": str(self.newest())}
            config = self.run_folder / "config.json"
            where = ["--continue_path", str(self.run_folder)]
        put(self._folder / "control.json", json.dumps(control))
        arguments = [
            *(str(self._folder / "control.json"), str(Path(__file__).with_name("voice_training.py"))),
            *(str(OWN), "--config_path", str(config), *where),
        ]
        assert self._server.run(arguments, self._folder / "log.txt") == 0, self.log[-3000:]
        found: dict[str, Any] = json.loads(report.read_text())
        return found

    def newest(self) -> Path:
        """The newest checkpoint."""
        files = [*self.run_folder.glob("best_model_*.pth"), *self.run_folder.glob("checkpoint_*.pth")]
        return max(files, key=lambda path: int(path.stem.rpartition("_")[2]))


def test_three_sessions_of_vits_are_one(
    vits_fork_server: ForkServer, tmp_path: Path, voice_cache: Path
) -> None:
    """Weights, optimizers, schedulers, steps, best loss, random states; one session ends within an epoch."""
    demo = demo_inputs(tmp_path / "kaggle", voice_cache)
    one, three = (
        Voice(vits_fork_server, tmp_path / "one", demo),
        Voice(vits_fork_server, tmp_path / "three", demo),
    )
    whole = one.session(None)
    steps = whole["steps_per_epoch"]
    for target in (steps - 1, steps, None):
        report = three.session(target)
    assert report["finished"] is True
    assert report["global_step"] == whole["global_step"] == 2 * steps
    assert same_training(one.newest(), three.newest()) is None
    assert load(three.newest())["kgtts"]["best_loss"] == load(one.newest())["kgtts"]["best_loss"]
    pattern = re.compile(r"GLOBAL_STEP: (\d+)")
    assert pattern.findall(three.log) == pattern.findall(one.log)
    shutil.rmtree(tmp_path)  # Half a gigabyte.
