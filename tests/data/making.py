"""Recordings and transcripts as people have them, made by arithmetic."""

import csv
import io
import math
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from kernel_template.text.speaking import spoken
from orchestrator.data.findings import Outcome
from orchestrator.data.prepare import Prepared, prepare
from orchestrator.data.study import Found, Request, check
from orchestrator.data.work import AudioSettings

Samples = npt.NDArray[np.float64]
PACE = 14.0  # Letters a second.
TEXTS = (
    "আমি আজ ১২টি বই কিনেছি।",
    "সময়কে সম্মান করো।",
    'তিনি বললেন, "কাল আসব"।',
    "দাম ৳২৫০ মাত্র।",
    "ড. রহিম ২০২৪ সালে এসেছেন।",
    "দুই লাইনের বাক্য।",
    "নদীর ধারে একটি গ্রাম আছে।",
    "বৃষ্টি পড়ছে সকাল থেকে।",
    "আমরা সবাই মিলে গান গাই।",
    "পথের শেষে একটি বাড়ি।",
    "মা রান্নাঘরে ভাত রাঁধছেন।",
    "ঢাকা বাংলাদেশের রাজধানী।",
)  # fmt: skip


@dataclass
class Heard:
    """A listener that counts."""

    total: int = 0
    names: tuple[str, ...] = ()

    def started(self, total: int) -> None:
        """Note how many are to be worked on."""
        self.total = total

    def advanced(self, name: str) -> None:
        """Note which is done."""
        self.names = (*self.names, name)


def speech(seconds: float, rate: int = 44_100, level: float = 0.2, pitch: float = 140.0) -> Samples:
    """Make a voiced sound with syllables, whose level varies as speech does."""
    time = np.arange(round(seconds * rate)) / rate
    voice = sum(np.sin(2 * math.pi * pitch * number * time) / number for number in range(1, 12))
    syllables = 0.15 + 0.85 * np.abs(np.sin(2 * math.pi * 2.3 * time))
    return np.asarray(level * voice * syllables / 1.9)


def noise(seconds: float, rate: int = 44_100, level: float = 0.001, seed: int = 7) -> Samples:
    """Make the noise of a quiet room."""
    return np.random.default_rng(seed).normal(0.0, level, round(seconds * rate))


def said(
    text: str, rate: int = 44_100, *, before: float = 0.4, after: float = 0.6, level: float = 0.2
) -> Samples:
    """Make a recording of a text: speech of its length, with silence at both ends."""
    letters = sum(letter.isalnum() or not letter.isascii() for letter in spoken(text).text if letter != " ")
    body = speech(letters / PACE, rate, level, pitch=100 + sum(map(ord, text)) % 97)
    whole = np.concatenate([np.zeros(round(before * rate)), body, np.zeros(round(after * rate))])
    return whole + noise(len(whole) / rate, rate)[: len(whole)]


def write(path: Path, samples: Samples, rate: int = 44_100, subtype: str | None = None) -> Path:
    """Write a recording in the format of its extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def stereo(samples: Samples) -> Samples:
    """Put a sound on two channels."""
    return np.stack([samples, samples * 0.8], axis=1)


def write_folder(folder: Path, *, converter: str | None = None) -> Path:
    """Write twelve recordings as a new user has them, and a transcript saved from Excel.

    44.1 kHz stereo WAV, MP3, FLAC, Ogg and, if ffmpeg is there, M4A; names with spaces.

    Args:
        folder: where to.
        converter: the path of ffmpeg; without it the last recording is WAV.
    """
    names = []
    for number, text in enumerate(TEXTS, 1):
        ending = {3: ".flac", 6: ".mp3", 9: ".ogg"}.get(number, ".wav")
        path = write(folder / f"Rec {number:02}{ending}", stereo(said(text)))
        if number == len(TEXTS) and converter is not None:
            target = path.with_suffix(".m4a")
            subprocess.run([converter, "-v", "error", "-i", path, target], check=True)
            path.unlink()
        names.append(path.stem)
    write_csv(folder / "transcript.csv", [("ফাইল", "বাক্য"), *zip(names, TEXTS, strict=True)])
    return folder


def write_csv(path: Path, rows: Sequence[Sequence[str]], encoding: str = "utf-8-sig") -> Path:
    """Write a table as Excel does: every cell quoted, CRLF, a byte order mark."""
    target = io.StringIO(newline="")
    csv.writer(target, quoting=csv.QUOTE_ALL).writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(target.getvalue().encode(encoding))
    return path


def request(folder: Path, *transcripts: Path, rate: int = 22_050, by_folder: bool = False) -> Request:
    """Ask for a dataset of a folder, in this process."""
    return Request(folder, transcripts, AudioSettings(rate=rate), spoken, by_folder=by_folder, processes=1)


def checked(folder: Path, *transcripts: Path, by_folder: bool = False) -> tuple[Found, Outcome]:
    """Check a folder."""
    return check(request(folder, *transcripts, by_folder=by_folder), Heard())


def prepared(folder: Path, target: Path, *accept: str, by_folder: bool = False) -> Prepared:
    """Prepare a folder."""
    return prepare(request(folder, by_folder=by_folder), target, Heard(), accept)


def kinds(outcome: Outcome) -> dict[str, list[str]]:
    """Return the findings by kind: of each, where it is."""
    found: dict[str, list[str]] = {}
    for item in outcome.all_findings:
        found.setdefault(item.kind, []).append(item.file if item.line is None else f"{item.file}:{item.line}")
    return found
