"""How long `kgtts data prepare` takes for thousands of recordings, and what that time is.

    python -m benchmarks.data_prepare            5,000 recordings of 5 s
    python -m benchmarks.data_prepare 500 1      500, with one process

Makes recordings of 44.1 kHz, stereo, 16 bit (a few distinct ones, each with another sample changed), prepares
them, and prepares them again. Beside it stands the bare cost: decoding, resampling and writing the same files
with the same libraries in as many processes, without measuring, judging or texts. Prints seconds, megabytes a
second, and the memory of the largest process.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr

from kernel_template.text.speaking import spoken
from orchestrator.data.pool import cores
from orchestrator.data.prepare import prepare
from orchestrator.data.study import Request
from orchestrator.data.work import AudioSettings

_SECONDS, _RATE, _TARGET = 5, 44_100, 22_050
_TEXT = "আমরা সবাই মিলে নদীর ধারে বসে গান গাই, আর সন্ধ্যা হলে ঘরে ফিরে আসি।"


class _Quiet:
    """Hears nothing."""

    def started(self, total: int) -> None:
        """Nothing to show."""

    def advanced(self, name: str) -> None:
        """Nothing to show."""


def make(folder: Path, count: int) -> int:
    """Make the recordings and their transcript; returns their size in bytes."""
    folder.mkdir()
    random = np.random.default_rng(1)
    time_axis = np.arange(_SECONDS * _RATE) / _RATE
    spoken_part = (time_axis > 0.4) & (time_axis < _SECONDS - 0.4)
    voice = sum(np.sin(2 * np.pi * 140 * number * time_axis) / number for number in range(1, 12))
    sound = 0.1 * voice * (0.15 + 0.85 * np.abs(np.sin(2 * np.pi * 2.3 * time_axis))) * spoken_part
    sound += random.normal(0, 0.001, len(sound))
    both = np.rint(np.stack([sound, sound * 0.8], axis=1) * 32767).astype(np.int16)
    lines = []
    for number in range(count):
        both[number % len(both), 0] ^= 1  # No two recordings are the same.
        soundfile.write(folder / f"Rec {number:05}.wav", both, _RATE, subtype="PCM_16")
        lines.append(f"Rec {number:05}\t{_TEXT}\n")
    (folder / "transcript.tsv").write_text("".join(lines), encoding="utf-8")
    return sum(path.stat().st_size for path in folder.glob("*.wav"))


def bare(paths: tuple[Path, Path]) -> None:
    """Decode, mix, resample and write one recording."""
    samples, rate = soundfile.read(paths[0], dtype="float32", always_2d=True)
    mono = (samples[:, 0] + samples[:, 1]) / 2
    soundfile.write(paths[1], soxr.resample(mono, rate, _TARGET), _TARGET, subtype="PCM_16")


def all_bare(source: Path, target: Path, processes: int) -> None:
    """Do so with all recordings."""
    target.mkdir()
    jobs = [(path, target / path.name) for path in source.glob("*.wav")]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for _ in pool.imap_unordered(bare, jobs, chunksize=8):
            pass


def copied(source: Path, target: Path) -> None:
    """Read every recording and write as many bytes as the dataset has: what the disk takes."""
    target.mkdir()
    for path in source.glob("*.wav"):
        data = path.read_bytes()
        (target / path.name).write_bytes(data[: len(data) // 4])


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Do something; returns seconds and seconds of processors, of child processes too."""
    began = time.perf_counter()
    before = [resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in _WHOSE]
    work()
    after = [resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in _WHOSE]
    return time.perf_counter() - began, sum(after) - sum(before)


_WHOSE = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, target = folder / "in", folder / "out"
        size = make(source, count) / 1e6
        print(f"{count} recordings of {_SECONDS} s, {size:.0f} MB, {processes} processes")
        request = Request(source, (), AudioSettings(rate=_TARGET), spoken, processes=processes)
        for what, work in (
            ("reading and writing alone", lambda: copied(source, folder / "copied")),
            ("decode, resample, write alone", lambda: all_bare(source, folder / "bare", processes)),
            ("prepare", lambda: prepare(request, target, _Quiet())),
            ("prepare again", lambda: prepare(request, target, _Quiet())),
        ):
            seconds, busy = timed(work)
            print(
                f"{what:<30} {seconds:7.1f} s  {size / seconds:6.0f} MB/s  "
                f"{busy:6.1f} s of processors, {busy / count * 1e3:5.2f} ms a recording",
                flush=True,
            )
        for who, whose in (("this process", _WHOSE[0]), ("the largest other", _WHOSE[1])):
            print(f"memory of {who:<20} {resource.getrusage(whose).ru_maxrss / 1024:7.0f} MB")


if __name__ == "__main__":
    main()
