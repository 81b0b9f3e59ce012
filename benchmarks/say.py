"""How fast `kgtts say` speaks on this machine: the real-time factor of a voice, in threads and as a command.

    python -m benchmarks.say VOICE [--repeat 20] [--processors 2] [--speed 1]

VOICE is a voice.json or a folder that has one. A real-time factor of 0.05 means that a second of speech takes
a twentieth of a second to make. Medians of the repeats; the first, which warms up, does not count. The
processor time tells what it costs on a machine that others use too.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEXT = (
    "আমি বাংলায় গান গাই। আমি আমার আমিকে চিরদিন এই বাংলায় খুঁজে পাই। "
    "তুমি কেমন আছো? আজ সকালে বৃষ্টি হয়েছে, তাই রাস্তাঘাট ভেজা, তবু বাজারে অনেক মানুষ।"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("voice", type=Path)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument(
        "--processors", type=int, default=2, help="processors that are used, where that can be set"
    )
    parser.add_argument("--speed", type=float, default=1.0, help="how fast the voice speaks")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))[: asked.processors]
        os.sched_setaffinity(0, allowed)
        print(f"processors: {len(allowed)}")

    from orchestrator.voice import SynthesisOptions, find_card, open_voice  # noqa: PLC0415 - after the processors.

    began = time.perf_counter()
    place = find_card(asked.voice)
    voice = open_voice(place)
    print(
        f"voice: {place}, {voice.card.onnx.size / 1e6:.1f} MB; opened in {time.perf_counter() - began:.2f} s"
    )

    factors, busy, lasts = [], [], 0.0
    for _ in range(asked.repeat + 1):
        before = time.process_time()
        said = list(voice.say(TEXT, SynthesisOptions(speed=asked.speed, noise=0.0)))
        lasts = sum(item.seconds for item in said)
        busy.append((time.process_time() - before) / lasts)
        factors.append(sum(item.took_s for item in said) / lasts)
    middle, worst = statistics.median(factors[1:]), max(factors[1:])
    print(f"speech: {lasts:.1f} s in {len(said)} sentences")
    print(f"real-time factor: {middle:.4f} (worst of {asked.repeat}: {worst:.4f})")
    print(f"processor time: {statistics.median(busy[1:]):.4f} s for a second of speech")

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "orchestrator", "say", TEXT]
        command += [
            "--voice",
            str(place),
            "--speed",
            str(asked.speed),
            "--out",
            str(Path(folder) / "said.wav"),
        ]
        seconds = []
        for _ in range(max(3, asked.repeat // 4)):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
    print(f"kgtts say, the whole command: {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
