"""Runs the part that is asked for."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.scaling import calculated, clock, sharding, sync
from benchmarks.scaling.rate import Rates


def lines(asked: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Yield the lines of the part that is asked for."""
    match asked.part:
        case "sharding":
            yield from sharding.table()
        case "sync":
            yield from sync.report(folder)
        case "time":
            yield from clock.rounds(folder, asked.rounds)
        case "calculated":
            yield from calculated.table()
        case "rate":
            rates = Rates(folder, speaking=asked.speaking)
            yield f"{rates.run(asked.minutes, asked.jobs)} missing"
            yield from rates.table()


def main() -> None:
    """Print the figures of one part."""
    parser = argparse.ArgumentParser(description="What several ranks change.")
    parser.add_argument("part", choices=("sharding", "sync", "time", "rate", "calculated"))
    parser.add_argument("--folder", type=Path, help="for files; without it, a temporary one")
    parser.add_argument("--rounds", type=int, default=5, help="of `time`")
    parser.add_argument("--minutes", type=float, default=1e6, help="`rate` begins no training after that")
    parser.add_argument("--jobs", type=int, default=2, help="trainings of `rate` at a time")
    parser.add_argument("--speaking", action="store_true", help="`rate` fine-tunes the voice that speaks")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for line in lines(asked, asked.folder or Path(name)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
