"""Whether scores rank as they must: known sounds, and a voice after short and after longer training.

    python -m benchmarks.scores sounds
    python -m benchmarks.scores training FOLDER [EPOCHS]
    python -m benchmarks.scores exact FOLDER [EPOCHS]

`sounds` compares recordings (eSpeak NG as the demo's woman), an imitation (eSpeak's man says the same), the
recordings with noise, and a hum. `training` runs two sessions of the kernel on the demo's voice, each of
EPOCHS (default 2, of seven steps), with `run.best_by = "mel_distance"`, and prints what they measured.
`exact` runs them with and without scores, and compares every weight, optimizer state and random state.
Similarity and opinion score come if Resemblyzer, distillmos and xls-r-sqa are on PYTHONPATH. It needs the
extra `local`.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

from benchmarks.base_voice import espeak
from benchmarks.base_voice.prepare import composed
from kernel_template.context import Tools
from kernel_template.contract import MEASURES, STATE_FILE
from kernel_template.main import run
from kernel_template.scores.models import Models
from kernel_template.scores.sounds import RATE, Sound, compare, resampled
from orchestrator.emulator.demo.inputs import SENTENCES, provide_demo_inputs
from orchestrator.emulator.runner.standins import standin_path
from orchestrator.models import Resume
from orchestrator.render.kernel import kernel_settings
from orchestrator.render.stamp import RunStamp
from orchestrator.settings import Settings

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


def training(folder: Path, epochs: int, *, scored: bool = True) -> list[Path]:
    """Run both sessions, and print what each of them measured. Returns their newest checkpoints."""
    inputs = provide_demo_inputs(folder / "inputs", "owner", cache=folder / "cache", speaking=True)
    newest: list[Path] = []
    parent: tuple[Path, dict[str, Any]] | None = None
    for session in (1, 2):
        root = folder / f"{'scored' if scored else 'plain'}{session}"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(inputs.dataset, root / "input" / "datasets" / inputs.dataset_source)
        shutil.copytree(inputs.model, root / "input" / "models" / inputs.model_source)
        if parent is not None:
            shutil.copytree(parent[0], root / "input" / "notebooks" / "owner" / "voice-a")
        changes: dict[str, Any] = {
            "kernel": {"owner": "owner", "slug": "voice", "accelerator": "none", "internet": False},
            "inputs": {"dataset": inputs.dataset_source, "model": inputs.model_source},
            "training": {"batch_size": 2, "epochs": epochs * session, "time_limit": "10m"},
            "session": {"budget": "12m", "grace": "5s"},
            "run": {"best_by": "mel_distance" if scored else "trainer"},
            "install": {"packages": ["coqui-tts"]},
            "voice": {"onnx": False},
            "samples": {"enabled": False},
            "scores": {"enabled": scored, "share": 0.5, "packages": []},
        }
        state = _session(root, Settings.model_validate(changes), session, parent and parent[1])
        parent = root / "working", state
        newest.append(root / "working" / state["checkpoint"])
        if (scores := state["scores"]) is None:
            continue
        print(json.dumps({key: scores[key] for key in ("state", "why", "seconds", "limit_s", "best")}))
        for item in filter(None, [scores["recordings"], scores["base"], *scores["steps"]]):
            told = {name: (mean["mean"], mean["spread"]) for name, mean in item["means"].items()}
            print(item["of"], item["global_step"], f"{item['seconds']} s", told)
    return newest


def _session(root: Path, settings: Settings, session: int, before: dict[str, Any] | None) -> dict[str, Any]:
    """Run a session of the kernel in this process. Returns its state.json."""
    resume = None
    if before is not None:
        resume = Resume("owner/voice-a", 1, "bench", session - 1, before["global_step"], None)
    stamp = RunStamp("bench", session, None, "0" * 64, f"owner/voice-{'ab'[session - 1]}", "0")
    paths = [str(standin_path(sys.executable) or ""), os.environ.get("PYTHONPATH", "")]
    tools = Tools(root=root, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))})
    if code := run(kernel_settings(settings, stamp, resume), tools):
        raise SystemExit(code)
    found: dict[str, Any] = json.loads((root / "working" / STATE_FILE).read_text(encoding="utf-8"))
    return found


def exact(folder: Path, epochs: int) -> None:
    """Train with and without scores, and compare all weights and optimizer states of both sessions."""
    for one, other in zip(training(folder, epochs), training(folder, epochs, scored=False), strict=True):
        states = [torch.load(path, map_location="cpu", weights_only=True) for path in (one, other)]
        tensors = [
            dict(_tensors({key: state[key] for key in ("model", "optimizer", "kgtts")})) for state in states
        ]
        differing = [
            name
            for name in tensors[0].keys() | tensors[1].keys()
            if name not in tensors[0]
            or name not in tensors[1]
            or not torch.equal(tensors[0][name], tensors[1][name])
        ]
        print(f"{one.name}, {other.name}: {len(tensors[0])} tensors, {len(differing)} differ", differing[:5])


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in a checkpoint, the random states among them, by their place."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(item, f"{name}/{key}")


def main() -> None:
    """Run what is asked."""
    if sys.argv[1:] == ["sounds"]:
        sounds()
    elif len(sys.argv) > 2 and sys.argv[1] in ("training", "exact"):
        chosen = training if sys.argv[1] == "training" else exact
        chosen(Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
