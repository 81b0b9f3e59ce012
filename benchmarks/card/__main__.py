"""Runs the parts asked for; see the package."""

import argparse
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.card.faults import part_memory, part_nan, part_ranks, part_resume
from benchmarks.card.inputs import tiny_training
from benchmarks.card.machine import Card
from benchmarks.card.own_machine import part_exact, part_train
from benchmarks.card.speed import part_both, part_compare, part_count, part_lengths, part_speed
from benchmarks.card.start import part_start

# What Coqui TTS needs beyond torch, numpy, scipy, numba, transformers, tensorboard and matplotlib.
WHEELS = [
    "coqui-tts==0.28.0",
    "coqui-tts-trainer==0.4.0",
    "coqpit-config==0.2.5",
    "anyascii==0.3.3",
    "inflect==7.6.0",
    "more-itertools==11.2.1",
    "typeguard==4.6.1",
    "ko-speech-tools==0.1.0",
    "librosa==0.11.0",
    "audioread==3.1.0",
    "decorator==5.3.1",
    "pooch==1.9.0",
    "platformdirs==4.14.8",
    "soxr==1.1.0",
    "monotonic-alignment-search==0.2.1",
    "num2words==0.5.14",
    "pysbd==0.3.4",
    "soundfile==0.14.0",
    "cffi==2.1.1",
    "pycparser==3.12",
    # What kgtts itself needs beyond what torch's images have.
    "annotated-types==0.8.0",
    "bleach==6.4.0",
    "espeakng-loader==0.2.4",
    "google-crc32c==1.9.0",
    "kaggle==2.2.5",
    "kagglesdk==0.1.38",
    "pydantic==2.14.4",
    "pydantic-core==2.50.5",
    "python-dotenv==1.2.4",
    "python-slugify==9.2.0",
    "stamina==26.1.0",
    "tenacity==9.2.1",
    "text-unidecode==1.3",
    "typing-inspection==0.4.5",
    "webencodings==0.6.1",
]
PLATFORMS = ("2_28", "2_27", "2_24", "2_17", "2_5", "2_1")


PARTS: dict[str, Callable[[Card], None]] = {
    "start": part_start,
    "speed": part_speed,
    "compare": part_compare,
    "lengths": part_lengths,
    "ranks": part_ranks,
    "memory": part_memory,
    "nan": part_nan,
    "resume": part_resume,
    "train": part_train,
    "exact": part_exact,
    "count": part_count,
}

UNTIMED = ("ranks", "memory", "nan", "resume", "exact")


def prepare(folder: Path) -> int:
    """Download the wheels. Returns pip's exit code."""
    platforms = [f"--platform=manylinux_{number}_x86_64" for number in PLATFORMS] + [
        "--platform=manylinux2014_x86_64",
        "--platform=manylinux1_x86_64",
    ]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=3.12",
    ]
    return subprocess.run(
        [*command, "--implementation=cp", *platforms, "-d", str(folder), *WHEELS], check=False
    ).returncode


def main() -> int:
    """Run the parts asked for. Returns 1 if one of them failed as a whole."""
    parser = argparse.ArgumentParser(description="What kgtts does on a real NVIDIA GPU.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, default=Path("card-results"))
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    if asked.prepare is not None:
        return prepare(asked.prepare)
    if unknown := [name for name in asked.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; the parts are {', '.join(PARTS)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        card = Card(asked.out.resolve(), Path(name), asked.minutes, asked.dry_run)
        for folder in ("numba", "working", "temp"):
            (card.work / folder).mkdir()
        tiny_training(card)  # Makes the data, before several parts want them.
        return int(not run_parts(card, asked.parts or [part for part in PARTS if part != "count"]))


def run_parts(card: Card, parts: list[str]) -> bool:
    """Run these parts; those that measure no time run side by side. Returns whether all went through."""
    works = dict(PARTS)
    if {"speed", "compare"} <= set(parts):
        works["speed"] = part_both
        parts = [part for part in parts if part != "compare"]

    def run(part: str) -> bool:
        began = time.monotonic()
        try:
            works[part](card)
        except Exception:  # noqa: BLE001 - the other parts go on.
            card.note(part, failed=traceback.format_exc()[-2000:])
            return False
        card.note(part, seconds=round(time.monotonic() - began, 1))
        return True

    def run_if_time(part: str) -> bool:
        if card.left < 10:
            card.note(part, skipped="no time left")
            return True
        return run(part)

    alone = [part for part in parts if part not in UNTIMED or card.dry]
    ended = [run_if_time(part) for part in alone]
    with ThreadPoolExecutor(len(UNTIMED)) as pool:
        ended += pool.map(run_if_time, [part for part in parts if part not in alone])
    return all(ended)


if __name__ == "__main__":
    raise SystemExit(main())
