"""A run on this machine that was interrupted twice has the weights of one that never was, to the bit."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.emulator.runner.standins import standin_path
from tests.kernel.hosting import CONFIG, REAL_TRAINER, TOY, same_training, save
from tests.support import Process

pytestmark = [pytest.mark.posix, pytest.mark.training, pytest.mark.xdist_group("training"), REAL_TRAINER]
MODEL = "ttsbnng/transformers/default/1"
SETTINGS = """
[kernel]
accelerator = "none"
[training]
model = "toy"
epochs = 3
batch_size = 4
[samples]
enabled = false
[scores]
enabled = false
[voice]
onnx = false
[train]
data = "data"
python = "./python"
"""


@pytest.fixture
def here(workplace: Path, voice_cache: Path) -> Path:
    """A folder with a toy that trains with Coqui's Trainer, its Python, and its base voice as a download."""
    data, packages = workplace / "data" / "MyTTSDataset", workplace / "packages"
    data.mkdir(parents=True)
    (data / "metadata.csv").write_text("a|আমি|আমি\n", encoding="utf-8")
    script = (
        f"import runpy, sys\nsys.path.insert(0, {str(TOY.parent)!r})\n"
        f"runpy.run_path({str(TOY)!r}, run_name='__main__')  # config_path\n"
    )
    (data / "train_tts.py").write_text(script, encoding="utf-8")
    kept = Path(os.environ["KGTTS_HOME"]) / "inputs" / "models" / "local" / MODEL
    (kept / "model").mkdir(parents=True)
    (kept / ".kgtts-input.json").write_text("{}")
    config = {**CONFIG, "model": "toy", "datasets": [], "step_s": 0.3}
    (kept / "model" / "config.json").write_text(json.dumps(config))
    save({"model": {}, "step": 0, "epoch": 0}, kept / "model" / "model_file.pth")
    # Coqui itself is not needed, and takes seconds to import.
    for name in ("TTS", "torchaudio"):
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text('__version__ = "0.28"\n')
    path = os.pathsep.join(
        filter(None, [str(packages), str(standin_path(sys.executable, cache=voice_cache) or "")])
    )
    python = workplace / "python"
    python.write_text(f'#!/bin/sh\nOMP_NUM_THREADS=1 PYTHONPATH="{path}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (workplace / "kgtts.toml").write_text(SETTINGS, encoding="utf-8")
    return workplace


def newest(session: Path) -> Path:
    """The checkpoint that a session ended with."""
    state = json.loads((session / "state.json").read_text(encoding="utf-8"))
    found: Path = session / state["checkpoint"]
    return found


def test_interrupted_twice_is_never_interrupted(here: Path, spawn: Callable[..., Process]) -> None:
    """Weights, optimizers, schedules, random states; once in the middle of an epoch, once near its end."""
    whole = spawn("train", "--set", 'pull.to="whole"').result()
    assert whole.code == 0, whole.out
    for step in (2, 5):
        process = spawn("train")
        process.wait_for(f"global step {step}")
        stopped = process.interrupt()
        assert stopped.code == 130, stopped.out
        assert "is saved" in stopped.out
    last = spawn("train").result()
    assert last.code == 0, last.out
    sessions = sorted(Path("runs/bangla-tts").glob("session-*"))
    history = json.loads((sessions[-1] / "state.json").read_text(encoding="utf-8"))["history"]
    assert [item["reason"] for item in history] == ["interrupted", "interrupted", "finished"]
    assert same_training(newest(Path("whole/bangla-tts/session-01")), newest(sessions[-1])) is None
