"""A dataset and a base voice that train in no time: the kernel is real, torch and Coqui are made up."""

import atexit
import functools
import json
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.support import USER

# Speaks like Coqui's trainer, and saves files that look like checkpoints.
TRAIN = """
import argparse, json, os, zipfile
parser = argparse.ArgumentParser()
parser.add_argument("--config_path")
parser.add_argument("--restore_path")
parser.add_argument("--continue_path")
arguments, _ = parser.parse_known_args()
with open(arguments.config_path) as file:
    config = json.load(file)
run = arguments.continue_path or os.path.join(config["output_path"], "voice-run")
os.makedirs(run, exist_ok=True)
saved = [int(name[11:-4]) for name in os.listdir(run) if name.startswith("checkpoint_")]
total = max(saved, default=0)
with open(os.path.join(run, "config.json"), "w") as file:
    json.dump(config, file)
print(f" > Restoring from {os.path.basename(arguments.restore_path or run)} ...")

def save(name):
    path = os.path.join(run, name)
    print(f"\\n > CHECKPOINT : {path}", flush=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", name)

for epoch in range(total // 2, config["epochs"]):
    print(f"\\n > EPOCH: {epoch}/{config['epochs']}\\n > TRAINING (2026-11-18 12:00:00)")
    for step in (1, 2):
        total += 1
        print(f"   --> TIME: 2026-11-18 12:00:0{step} -- STEP: {step}/2 -- GLOBAL_STEP: {total}")
        print(f"     | > loss_mel: {40 - total}.5  ({40 - total}.5)\\n", flush=True)
    print(f"  --> EVAL PERFORMANCE\\n     | > avg_loss_mel: {30 - total}.25 (+0)\\n", flush=True)
    # The epoch is over.
save(f"checkpoint_{total}.pth")
"""
# Trains one epoch in the first session, until it is told to stop, and the others in the next.
CUT = TRAIN.replace(
    "    # The epoch is over.\n",
    """    if not arguments.continue_path:
        import signal, time
        def stop(*_):
            save(f"checkpoint_{total}.pth")
            raise SystemExit(130)
        signal.signal(signal.SIGINT, stop)
        time.sleep(1000)
""",
)
# Hangs after saying so.
HANG = 'import time\nprint("the training hangs", flush=True)\ntime.sleep(1000)\n'

_TORCH = """
__version__ = "2.0.0"
class version:
    cuda = None
class cuda:
    @staticmethod
    def is_available():
        return False
    @staticmethod
    def device_count():
        return 0
"""
# Every session writes the same package to a folder of its own, where Python would compile it anew.
_COMPILED = """
import _imp, importlib.machinery, marshal, os, sys

sys.dont_write_bytecode = True

def compile_once(self, data, path, *, _optimize=-1):
    kept = os.path.join({folder!r}, f"{{_imp.source_hash(0, data).hex()}}.{{len(data)}}")
    try:
        with open(kept, "rb") as file:
            code = marshal.load(file)
    except OSError:
        code = compile(data, path, "exec", dont_inherit=True, optimize=_optimize)
        with open(f"{{kept}}.{{os.getpid()}}", "wb") as file:
            marshal.dump(code, file)
        os.replace(file.name, kept)
    _imp._fix_co_filename(code, path)
    return code

importlib.machinery.SourceFileLoader.source_to_code = compile_once
"""


def provide_inputs(root: Path, train: str = TRAIN, owner: str = USER) -> None:
    """Fill the emulator's folder with `datahrbnn` and `ttsbnng`."""
    dataset = root / "datasets" / owner / "datahrbnn" / "MyTTSDataset"
    model = root / "models" / owner / "ttsbnng/transformers/default/1/model"
    (dataset / "wavs").mkdir(parents=True)
    model.mkdir(parents=True)
    (dataset / "train_tts.py").write_text(train, encoding="utf-8")
    (dataset / "metadata.csv").write_text("a|নমস্কার|নমস্কার\n", encoding="utf-8")
    (dataset / "wavs" / "a.wav").write_bytes(b"RIFF")
    config = {
        "model": "vits",
        "audio": {"sample_rate": 22050},
        "datasets": [{"formatter": "ljspeech", "path": "MyTTSDataset", "meta_file_train": "metadata.csv"}],
    }
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with zipfile.ZipFile(model / "model_file.pth", "w") as archive:
        archive.writestr("data.pkl", "weights")


@functools.cache
def _compiled() -> str:
    """Make a folder for compiled modules, of which there is one in a process of tests."""
    folder = tempfile.mkdtemp(prefix="kgtts-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def make_python(folder: Path, *, coqui: bool = True) -> str:
    """Make an interpreter for sessions, with a made-up torch and TTS, or without TTS."""
    packages = folder / "packages"
    packages.mkdir(parents=True)
    (packages / "sitecustomize.py").write_text(_COMPILED.format(folder=_compiled()), encoding="utf-8")
    for name, text in {
        "torch": _TORCH,
        "trainer": '__version__ = "0.4"\n',
        "torchaudio": "",
        "packaging": 'raise ImportError("not here")\n',  # tests/kernel/test_install.py compares releases.
        "TTS": '__version__ = "0.28"\n' if coqui else 'raise ImportError("TTS is not here")\n',
    }.items():
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text(text, encoding="utf-8")
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return str(script)


SETTINGS = """
[kernel]
accelerator = "none"
internet = false
[training]
epochs = 2
time_limit = "5m"
[session]
budget = "10m"
grace = "5s"
[samples]
enabled = false
[voice]
onnx = false
"""
