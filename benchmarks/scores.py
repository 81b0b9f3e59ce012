"""Whether scores rank as they must: known sounds, and a voice after short and after longer training.

    python -m benchmarks.scores sounds
    python -m benchmarks.scores training FOLDER [EPOCHS]

`sounds` compares recordings (eSpeak NG as the demo's woman), an imitation (eSpeak's man says the same), the
recordings with noise, and a hum. `training` runs two sessions of the kernel on the demo's voice, each of
EPOCHS (default 2, of seven steps), with `run.best_by = "mel_distance"`, and prints what they measured.
Similarity and opinion score come if Resemblyzer, distillmos and xls-r-sqa are on PYTHONPATH. It needs the
extra `local`.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmarks.base_voice import espeak
from benchmarks.base_voice.prepare import composed
from kernel_template.context import Tools
from kernel_template.contract import MEASURES, SETTINGS_SCHEMA, STATE_FILE
from kernel_template.main import run
from kernel_template.scores.models import Models
from kernel_template.scores.sounds import RATE, Sound, compare, resampled
from orchestrator.emulator.demo.inputs import SENTENCES, provide_demo_inputs
from orchestrator.emulator.runner.standins import standin_path

if TYPE_CHECKING:
    from kernel_template.settings import SessionSettings

_NOISE = 0.05  # Of full scale.
_HUM_HZ = 120.0


def sounds() -> None:
    """Print the table of known sounds."""
    texts = [composed(text) for text in SENTENCES]

    def spoken_by(voice: str) -> list[Sound]:
        said = espeak.speak(texts, voice, 150, 1)
        return [Sound(resampled(one.samples.astype(np.float32) / 32768, espeak.RATE)) for one in said]

    recordings, chance = spoken_by("bn+f1"), np.random.default_rng(1)
    noise = [_NOISE * chance.standard_normal(len(one.samples)) for one in recordings]
    times = [np.arange(len(one.samples)) / RATE for one in recordings]
    rows = {
        "recordings": recordings,
        "imitation": spoken_by("bn"),
        "with noise": [
            Sound((one.samples + more).astype(np.float32))
            for one, more in zip(recordings, noise, strict=True)
        ],
        "hum": [Sound((0.2 * np.sin(2 * np.pi * _HUM_HZ * time)).astype(np.float32)) for time in times],
    }
    models = Models.load(None)
    models.learn_speaker(recordings)
    print(f"| sound | {' | '.join(f'{name} {unit}'.strip() for name, (unit, _) in MEASURES.items())} |")
    for name, said in rows.items():
        found: dict[str, list[float]] = {}
        for number, (sound, recorded, text) in enumerate(zip(said, recordings, texts, strict=True)):
            measured = sound.plain_measures(text) | compare(sound, recorded)
            measured |= models.measure(sound, text, sentence=number, speakers=[None] * len(texts))
            for measure, value in measured.items():
                found.setdefault(measure, []).append(value)
        cells = [
            f"{fmean(values):.2f} ± {stdev(values):.2f}" if (values := found.get(measure)) else "–"
            for measure in MEASURES
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    for measure, why in models.missing.items():
        print(f"{measure}: {why}")


def training(folder: Path, epochs: int) -> None:
    """Run both sessions, and print what each of them measured."""
    inputs = provide_demo_inputs(folder / "inputs", "owner", cache=folder / "cache", speaking=True)
    parent: Path | None = None
    for session in (1, 2):
        root = folder / f"session{session}"
        shutil.rmtree(root, ignore_errors=True)
        for source, place in (
            (inputs.dataset, f"datasets/{inputs.dataset_source}"),
            (inputs.model, "models"),
        ):
            target = root / "input" / place
            if place == "models":
                target = target / inputs.model_source
            shutil.copytree(source, target)
        if parent is not None:
            shutil.copytree(parent, root / "input" / "notebooks" / "owner" / "voice-a")
        state = _session(
            root, session, epochs * session, (inputs.dataset_source, inputs.model_source), parent
        )
        parent = root / "working"
        scores = state["scores"]
        print(json.dumps({key: scores[key] for key in ("state", "why", "seconds", "limit_s", "best")}))
        for item in filter(None, [scores["recordings"], scores["base"], *scores["steps"]]):
            told = {name: (mean["mean"], mean["spread"]) for name, mean in item["means"].items()}
            print(item["of"], item["global_step"], f"{item['seconds']} s", told)


def _session(
    root: Path, session: int, epochs: int, sources: tuple[str, str], parent: Path | None
) -> dict[str, Any]:
    dataset, model = sources
    before = json.loads((parent / STATE_FILE).read_text(encoding="utf-8")) if parent is not None else None
    settings: dict[str, Any] = {
        "schema": SETTINGS_SCHEMA,
        "run": {
            "id": "bench",
            "session": session,
            "parent": None,
            "fingerprint": "0" * 64,
            "kernel": f"owner/voice-{'ab'[session - 1]}",
            "kgtts": "0",
        },
        "accelerator": None,
        "gpu_name": None,
        "gpus": None,
        "internet": False,
        "dataset": {"source": dataset, "script": "MyTTSDataset/train_tts.py"},
        "model": {"source": model, "config": "model/config.json", "checkpoint": "model/model_file.pth"},
        "training": {
            "model": "vits",
            "sample_rate": 22_050,
            "language": "bn-Bangladesh",
            "batch_size": 2,
            "epochs": epochs,
            "until_step": None,
            "coqui": {},
            "time_limit_s": 600,
            "grace_s": 5,
        },
        "session_budget_s": 600,
        "stop": {"patience": None},
        "resume": before
        and {
            "kernel": "owner/voice-a",
            "version": 1,
            "run": "bench",
            "session": 1,
            "global_step": before["global_step"],
            "sha256": None,
            "dataset": None,
            "downloads": None,
        },
        "before": [],
        "speed": {
            "gpus": 1,
            "mixed_precision": False,
            "cudnn_benchmark": False,
            "loader_workers": None,
            "length_buckets": 0,
        },
        "data": {"bad_samples": "skip", "shortest_s": 0.4, "longest_s": 60.0},
        "disk": {"limit_bytes": None, "keep_checkpoints": 2},
        "install": {"packages": [], "wheelhouse": None},
        "voice": {"onnx": False, "packages": []},
        "samples": {"sentences": [], "enabled": False},
        "scores": {
            "enabled": True,
            "share": 0.5,
            "sentences": 8,
            "packages": [],
            "recogniser": None,
            "best_by": "mel_distance",
        },
    }
    packages = os.pathsep.join(
        filter(None, (str(standin_path(sys.executable) or ""), os.environ.get("PYTHONPATH")))
    )
    tools = Tools(root=root, env={**os.environ, "PYTHONPATH": packages})
    code = run(cast("SessionSettings", settings), tools)
    if code:
        raise SystemExit(code)
    found: dict[str, Any] = json.loads((root / "working" / STATE_FILE).read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Run what is asked."""
    if sys.argv[1:] == ["sounds"]:
        sounds()
    elif len(sys.argv) > 2 and sys.argv[1] == "training":
        training(Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
