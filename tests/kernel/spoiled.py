"""Samples in the form of Coqui's formatters, good and bad ones."""

import math
import struct
import wave
from pathlib import Path
from typing import Any

from kernel_template.host.protocol import SampleRules

RULES = SampleRules(shortest_s=0.4, longest_s=60.0)


def recording(
    path: Path, *, seconds: float = 1.0, rate: int = 22050, channels: int = 1, loudest: float = 0.1
) -> Path:
    """A WAV file of a hum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        count = int(seconds * rate)
        wave_form = [
            round(32767 * loudest * math.sin(math.tau * 220 * at / rate)) for at in range(rate // 10)
        ]
        tenth = b"".join(struct.pack("<h", value) * channels for value in wave_form)
        file.writeframes((tenth * (count * 10 // rate + 1))[: 2 * channels * count])
    return path


def sample(path: Path | str, text: str = "আমি ভাত খাই", **more: Any) -> dict[str, Any]:
    """Return a sample in the form of Coqui's formatters."""
    return {"audio_file": str(path), "text": text, "language": "bn", **more}


def mixed(folder: Path) -> dict[str, Any]:
    """Return ten samples: four are bad, and one is unusual but usable."""
    good = [sample(recording(folder / "wavs" / f"{n}.wav"), root_path=str(folder)) for n in range(6)]
    bad = [
        sample(folder / "wavs" / "no.wav", root_path=str(folder)),
        sample(recording(folder / "wavs" / "two.wav", channels=2), root_path=str(folder)),
        sample(good[0]["audio_file"], '=HYPERLINK("http://x")\nমি\x1b[31m', root_path=str(folder)),
        sample(recording(folder / "wavs" / "fast.wav", rate=44100), "", root_path=str(folder)),
    ]
    odd = sample(good[1]["audio_file"], "আমি, ভাত", root_path=str(folder))
    return {"train_samples": [*good[:4], *bad[:3], odd], "eval_samples": [*good[4:], bad[3]]}
