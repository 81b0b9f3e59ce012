"""The voices and the data that the card's checks train on."""

import importlib.util
import json
import random
import shutil
import wave
from pathlib import Path
from typing import Any

from benchmarks.card.machine import ROOT, Card

VOICE = ROOT / "orchestrator" / "emulator" / "demo" / "voice.py"
SAMPLES = 192  # Of the speed part: whole batches of 8 and 16.


def small_voice() -> dict[str, Any]:
    """The demo's settings, with one period discriminator."""
    spec = importlib.util.spec_from_file_location("demo_voice", VOICE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values: dict[str, Any] = module.settings()
    values["model_args"]["periods_multi_period_discriminator"] = [2]
    return values


def made_up_data(folder: Path, count: int, shortest: float, longest: float) -> dict[str, Any]:
    """Write recordings of noise, with texts as long as they are. Returns Coqui's `datasets` entry."""
    draw = random.Random(1)  # noqa: S311 - noise, no secret.
    letters = "কখগঘচছজঝটঠডঢণতথদধনপফবভমযরলশষসহ"
    noise = bytes(
        value if at % 2 == 0 else value % 16 for at, value in enumerate(draw.randbytes(2 * 22050 * 10))
    )
    (folder / "wavs").mkdir(parents=True)
    lines = []
    for number in range(count):
        length = draw.uniform(shortest, longest)
        with wave.open(str(folder / "wavs" / f"{number:03d}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(22050)
            start = 2 * draw.randrange(22050)
            file.writeframes(noise[start : start + 2 * round(length * 22050)])
        text = "".join(draw.choice(letters) for _ in range(round(length * 12)))
        lines.append(f"{number:03d}|{text}|{text}\n")
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return {
        "formatter": "ljspeech",
        "dataset_name": "noise",
        "path": str(folder),
        "meta_file_train": "metadata.csv",
    }


def full_voice(card: Card, batch_size: int, lengths: tuple[float, float] = (3.0, 8.0)) -> dict[str, Any]:
    """Coqui's VITS as it is, in fp16, with recordings of so many seconds; the small voice in a dry run."""
    config = small_voice()
    if not card.dry:
        del config["model_args"]
    shared = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0  # noqa: S108 - its size.
    config |= {"batch_size": batch_size, "run_eval": False, "save_step": 10**6, "print_step": 25}
    config |= {"lr_gen": 0.0002, "lr_disc": 0.0002, "save_best_after": 10**6, "epochs": 1000}
    config |= {"num_loader_workers": 4 if shared > 2**30 and not card.dry else 0}
    config |= {"mixed_precision": not card.dry, "precision": "fp16"}
    data = card.work / "full-{}-{}".format(*lengths)
    if not data.is_dir():
        entry = made_up_data(data, 24 if card.dry else SAMPLES + 4, *((0.7, 1.2) if card.dry else lengths))
        (data / "entry.json").write_text(json.dumps(entry))
    entry = json.loads((data / "entry.json").read_text())
    config["datasets"] = [{**config["datasets"][0], **entry}]
    config |= {"eval_split_size": 4, "eval_split_max_size": 4}
    return config


def tiny_training(card: Card, **more: Any) -> dict[str, Any]:
    """The small voice, for what is not about speed."""
    config = small_voice()
    data = card.work / "small"
    if not data.is_dir():
        entry = made_up_data(data, 20, 0.8, 1.6)
        (data / "entry.json").write_text(json.dumps(entry))
    config["datasets"] = [{**config["datasets"][0], **json.loads((data / "entry.json").read_text())}]
    config |= {"batch_size": 4, "run_eval": False, "save_step": 10**6, "print_step": 1, "epochs": 10}
    config |= {"mixed_precision": not card.dry, "precision": "fp16", "save_best_after": 10**6}
    config |= {"eval_split_size": 4, "eval_split_max_size": 4, "cudnn_deterministic": True}
    if card.dry:
        config["model_args"]["periods_multi_period_discriminator"] = []
    return {**config, **more}


# ---- Parts
