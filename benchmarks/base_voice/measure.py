"""Measure whether a voice speaks: its sentences against eSpeak's own rendering of the same text.

    python -m benchmarks.base_voice.measure MODEL_FOLDER [VOICE [SPEED]]
    python -m benchmarks.base_voice.measure SAMPLES.npz

The folder holds `config.json` and `model_file.pth`; VOICE is the eSpeak voice to compare with (default: bn).
For comparison the same is measured of noise in the shape of the speech's loudness, of the right text in
another eSpeak voice, and of the wrong text in the right voice.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np

from benchmarks.base_voice import espeak
from benchmarks.base_voice.prepare import HOP, composed

TEXTS = (
    "আজ সকালে নদীর ধারে ঠান্ডা হাওয়া বইছে।",
    "আমার ছোট বোন প্রতিদিন স্কুলে যায়।",
    "বাজারে আজ মাছের দাম অনেক বেশি।",
    "তোমার নাম কী?",
    "বৃষ্টির পরে আকাশে রংধনু উঠেছে।",
    "দাদু আমাদের রাতে গল্প শোনান।",
    "ঢাকা বাংলাদেশের সবচেয়ে বড় শহর।",
    "গাছের পাতা ঝরে পড়ছে।",
    "আমি আজ বাজারে যাব।",
    "পাখিরা গান গাইছে, ফুল ফুটেছে।",
    "বিজ্ঞানীরা নতুন ঔষধ খুঁজছেন।",
    "ট্রেনটা আজ এক ঘণ্টা দেরি করেছে।",
)


def features(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mel cepstra without loudness, and loudness in dB, a frame each."""
    mel = librosa.feature.melspectrogram(
        y=wave, sr=espeak.RATE, n_fft=1024, hop_length=HOP, n_mels=40, fmax=8000
    )
    logs = np.log(mel + 1e-5)
    return librosa.feature.mfcc(S=logs, n_mfcc=14)[1:], 10 * np.log10(mel.sum(0) + 1e-6)


def trimmed(wave: np.ndarray) -> np.ndarray:
    """Without silence at the ends."""
    return librosa.effects.trim(wave, top_db=35, frame_length=1024, hop_length=HOP)[0] if wave.any() else wave


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance along the best path, a step."""
    cost, path = librosa.sequence.dtw(one, other, metric="euclidean")
    return float(cost[-1, -1] / len(path))


def figures(
    said: Sequence[np.ndarray], real: Sequence[np.ndarray], letters: Sequence[float]
) -> dict[str, float | str]:
    """Say how like speech the sentences are."""
    said, real = [trimmed(one) for one in said], [trimmed(one) for one in real]
    mine, theirs = [features(one) for one in said], [features(one) for one in real]
    table = np.array([[distance(a, b) for b, _ in theirs] for a, _ in mine])
    seconds = np.array([len(one) for one in said]) / espeak.RATE
    return {
        "mel distance": round(float(np.diag(table).mean()), 2),
        "to wrong sentences": round(float(table[~np.eye(len(table), dtype=bool)].mean()), 2),
        "recognised": f"{int((table.argmin(1) == np.arange(len(table))).sum())}/{len(table)}",
        "letters a second": round(float(np.sum(letters) / seconds.sum()), 1),
        "seconds by letters": round(float(np.corrcoef(letters, seconds)[0, 1]), 3)
        if seconds.std() > 0
        else 0.0,
        "loudness varies by dB": round(float(np.mean([loud.std() for _, loud in mine])), 1),
        "duration to eSpeak's": round(float(seconds.sum() * espeak.RATE / sum(map(len, real))), 2),
    }


def spoken_by(folder: Path, texts: Sequence[str]) -> list[np.ndarray]:
    """Let a Coqui voice speak the texts."""
    import torch
    from TTS.config import load_config
    from TTS.tts.models import setup_model

    config = load_config(str(folder / "config.json"))
    model = setup_model(config)
    model.load_checkpoint(config, str(folder / "model_file.pth"), eval=True)
    torch.manual_seed(1)
    result = []
    for text in texts:
        ids = torch.tensor(model.tokenizer.text_to_ids(text))[None]
        with torch.no_grad():
            result.append(model.inference(ids)["model_outputs"][0, 0].numpy())
    return result


def floats(spoken: Sequence[espeak.Spoken]) -> list[np.ndarray]:
    """Samples between -1 and 1."""
    return [one.samples.astype(np.float32) / 32768 for one in spoken]


def main() -> None:
    """Print the table."""
    path = Path(sys.argv[1])
    voice = sys.argv[2] if len(sys.argv) > 2 else "bn"
    speed = int(sys.argv[3]) if len(sys.argv) > 3 else 150
    if path.suffix == ".npz":
        with np.load(path) as stored:
            count = sum(name.startswith("said") for name in stored)
            real = [stored[f"real_{n}"].astype(np.float32) / 32768 for n in range(count)]
            letters = [len(one) / HOP / 7 for one in real]
            for kind in ("said", "forced"):
                said = [stored[f"{kind}_{n}"].astype(np.float32) / 32768 for n in range(count)]
                print(kind, json.dumps(figures(said, real, letters)))
        return
    letters = [len(text) for text in TEXTS]
    texts = [composed(text) for text in TEXTS]
    real = floats(espeak.speak(texts, voice, speed, 1))
    chance = np.random.default_rng(1)
    noise = [(chance.standard_normal(len(one)) * np.abs(one).mean()).astype(np.float32) for one in real]
    rows = {
        "the voice": spoken_by(path, TEXTS),
        "noise": noise,
        "another eSpeak voice": floats(espeak.speak(texts, "bn+f2" if voice == "bn" else "bn", speed, 1)),
        "wrong text": [*real[1:], real[0]],
    }
    for name, said in rows.items():
        print(f"{name:22}", json.dumps(figures(said, real, letters)))


if __name__ == "__main__":
    main()
