"""Reading metrics: megabytes a second of each format, best of some rounds.

`python -m benchmarks.metrics [ROUNDS]` from the repository. A training of 50 epochs of 630 steps is written
as each format has it, with every step printed, and read in pieces of 256 KiB. Seconds are processor time;
the share that making the floats takes alone shows how near the bound is.
"""

import io
import sys
import time
from collections.abc import Callable

from orchestrator.metrics import Format, continuous, read_metrics
from tests.metrics.writing import CURRENT, KEPT, Writing, as_events, as_stored


def _seconds(what: Callable[[], object], rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        what()
        best = min(best, time.process_time() - start)
    return best


def main() -> int:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    current, kept = Writing(CURRENT, print_every=1), Writing(KEPT, print_every=1)
    coloured, plain = current.text(), kept.text()
    files = {
        "metrics.jsonl": (as_events(Writing(CURRENT, print_every=1)), Format.EVENTS),
        "trainer_0_log.txt": (coloured, Format.LOG),
        "a notebook's log": (plain, Format.LOG),
        "Kaggle's JSON log": (as_stored(coloured), Format.STORED),
        "progress bars only": (" 12%|#2        | 75/630 [00:44<05:20,  1.73it/s]\r" * 400_000, Format.LOG),
    }
    print(f"{'format':<22} {'MB':>6} {'rows':>9} {'s':>6} {'MB/s':>6} {'floats alone':>13}")
    for name, (text, kind) in files.items():
        data = text.encode()
        table = read_metrics(io.BytesIO(data), kind=kind)
        taken = _seconds(lambda data=data, kind=kind: read_metrics(io.BytesIO(data), kind=kind), rounds)  # type: ignore[misc]  # Bound now.
        numbers = [repr(row.value) for row in table]
        floats = _seconds(lambda numbers=numbers: [*map(float, numbers)], rounds)  # type: ignore[misc]  # As above.
        size = len(data) / 1e6
        print(
            f"{name:<22} {size:6.1f} {len(table):9,} {taken:6.2f} {size / taken:6.0f} {floats / taken:12.0%}"
        )
    table = read_metrics(io.BytesIO(coloured.encode()))
    print(f"series of {len(table):,} rows: {_seconds(lambda: continuous(table), 1):.2f} s to check", end="")
    print(f", {_seconds(table.series, 1):.2f} s to part by names")
    return 0


if __name__ == "__main__":
    sys.exit(main())
