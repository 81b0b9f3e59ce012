"""Plays the corpus and prints its table; exits with 1 if a shape did not end as it must."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.corpus.runner import HEADER, Corpus
from tests.corpus.shapes import SHAPES
from tests.kernel.hosting import start_coqui_server


def say(text: str) -> None:
    """Print a line at once: the corpus takes an hour."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Play what the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("names", nargs="*", help="shapes; all of them if none is named")
    parser.add_argument("--ranks", type=int, choices=(1, 2), help="only on so many ranks")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "kgtts-corpus")
    parser.add_argument("--logs", type=Path, help="where the logs of what goes wrong are kept")
    asked = parser.parse_args()
    chosen = [shape for shape in SHAPES if not asked.names or shape.name in asked.names]
    say(HEADER)
    began, wrong = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="kgtts-corpus-") as made:
        folder = Path(made)
        with start_coqui_server(asked.cache) as server:
            corpus = Corpus(folder, asked.cache, server)
            for shape in chosen:
                for ranks in shape.ranks:
                    if asked.ranks in (None, ranks):
                        result = corpus.play(shape, ranks)
                        wrong += result.fault is not None
                        say(result.row)
        if asked.logs is not None:
            asked.logs.mkdir(parents=True, exist_ok=True)
            for log in folder.glob("*.log"):
                (asked.logs / log.name).write_bytes(log.read_bytes())
    say(f"\n{wrong} went otherwise than they should; {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
