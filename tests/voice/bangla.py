"""A hum that knows the letters of the released Bangla voices, and other programs that speak with it."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator.demo.voice import CHARACTERS as LETTERS
from orchestrator.emulator.demo.voice import PUNCTUATION
from tests.voice.making import HOP, graph, put_voice, rules

_SHERPA = """
import json, sys
import numpy, sherpa_onnx
folder, rules, speaker, texts = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
vits = sherpa_onnx.OfflineTtsVitsModelConfig(
    model=folder + "/voice.onnx", tokens=folder + "/tokens.txt", noise_scale=0.0, noise_scale_w=0.0
)
model = sherpa_onnx.OfflineTtsModelConfig(vits=vits)
tts = sherpa_onnx.OfflineTts(sherpa_onnx.OfflineTtsConfig(model=model, rule_fsts=rules))
asked = sherpa_onnx.GenerationConfig()
asked.silence_scale, asked.sid = 1.0, speaker
said = [numpy.asarray(tts.generate(text, asked).samples, dtype=numpy.float32) for text in texts]
numpy.savez(folder + "/said.npz", *said)
print(tts.num_speakers)
"""


def bangla_rules(letters: str = "।" + LETTERS + PUNCTUATION, **changes: Any) -> dict[str, Any]:
    """The `text` of a voice.json with these letters, each once; ids from 4 as Coqui has them."""
    table = {letter: number for number, letter in enumerate(dict.fromkeys(letters), start=4)}
    return rules(characters=table, steps=[], **changes)


def put_bangla_voice(folder: Path, *, speakers: bool = False, **changes: Any) -> Path:
    """Write a voice without metadata, as an earlier kgtts exported it, whose samples tell its ids."""
    described: dict[str, Any] = {"text": bangla_rules(), "scales": _QUIET, **changes}
    data = graph(speakers=speakers, factor=0.001)
    place = put_voice(folder, data, **described)
    if speakers:
        card = json.loads(place.read_text(encoding="utf-8"))
        card["onnx"]["inputs"].append("sid")
        place.write_text(json.dumps({**card, "speakers": {"আশা": 0, "রবি": 1}}), encoding="utf-8")
    return place


_QUIET = {"noise": 0.0, "length": 1.0, "duration_noise": 0.0}


def heard(samples: Any) -> list[int]:
    """The ids that a hum was made of."""
    return [round(float(value) * 1000) for value in samples[::HOP]]


def sherpa_says(folder: Path, texts: Sequence[str], *, rules: str = "", speaker: int = 0) -> list[Any]:
    """Let sherpa-onnx speak texts with a package's folder: in a process of its own, which it may end."""
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("sherpa_onnx")
    fst = str(folder / rules) if rules else ""
    command = [sys.executable, "-c", _SHERPA, str(folder), fst, str(speaker), json.dumps(list(texts))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    with numpy.load(folder / "said.npz") as said:
        return [said[f"arr_{number}"] for number in range(len(texts))]


def piper_says(folder: Path, text: str, speaker: int | None = None) -> Any:
    """Let Piper speak a text with a package's folder."""
    piper = pytest.importorskip("piper")
    voice = piper.PiperVoice.load(folder / "voice.onnx")
    asked = piper.SynthesisConfig(
        speaker_id=speaker, noise_scale=0.0, noise_w_scale=0.0, normalize_audio=False
    )
    (chunk,) = voice.synthesize(text, asked)
    return chunk.audio_float_array


def letters_of(ids: Sequence[int], table: Mapping[str, int]) -> str:
    """The letters that ids stand for, without blanks."""
    names = {number: letter for letter, number in table.items()}
    return "".join(names[number] for number in ids if number in names)
