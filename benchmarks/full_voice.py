"""A whole VITS (83 million parameters) with random weights as an exported voice, to see how fast one speaks.

    python -m benchmarks.full_voice FOLDER
    python -m benchmarks.say FOLDER --speed 0.25

It needs the extra `local` and 4 GB of memory. Random weights speak too fast: `--speed` brings the speech near
the pace of a person, as the frames of sound are what takes the time.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from kernel_template.tools.package import PackagePrograms
from orchestrator.emulator.demo import voice
from orchestrator.emulator.runner.standins import standin_path
from orchestrator.voice import find_card

MAKE_CHECKPOINT = """
import sys, torch
from TTS.config import load_config
from TTS.tts.models import setup_model
config = load_config(sys.argv[1])
torch.manual_seed(1)
model = setup_model(config)
torch.save({"model": model.state_dict(), "step": 0, "epoch": 0, "config": config.to_dict()}, sys.argv[2])
"""


def main() -> None:
    """Make it."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    settings = {key: value for key, value in voice.settings().items() if key != "model_args"}
    with tempfile.TemporaryDirectory() as name:
        config, checkpoint, sentences = (
            Path(name, file) for file in ("config.json", "model.pth", "say.json")
        )
        config.write_text(json.dumps(settings), encoding="utf-8")
        sentences.write_text(json.dumps(list(voice.TEST_SENTENCES)), encoding="utf-8")
        programs = PackagePrograms()
        environ = programs.environment(
            {
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(standin_path(sys.executable) or ""),
                "NUMBA_CACHE_DIR": name,
            }
        )
        asked = {"config": config, "checkpoint": checkpoint, "sentences": sentences, "out": folder}
        arguments = [part for option, path in asked.items() for part in (f"--{option}", str(path))]
        for command in (
            [sys.executable, "-c", MAKE_CHECKPOINT, str(config), str(checkpoint)],
            programs.command("finish.export_program", *arguments),
        ):
            subprocess.run(command, env=environ, check=True)
    print(find_card(folder))


if __name__ == "__main__":
    main()
