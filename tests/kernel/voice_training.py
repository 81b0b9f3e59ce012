"""Runs one of Coqui's training scripts and records what it does: `voice_training.py SCRIPT [ARGUMENTS…]`.

With KGTTS_UNSYNCHRONISED set, the ranks do not average their gradients.
"""

import os
import runpy
import sys
from typing import Any

import watching  # type: ignore[import-not-found] # It stands beside this script.
from trainer import Trainer


def main() -> None:
    """Record what the script's Trainer does."""
    fit = Trainer.fit

    def watched(trainer: Any) -> None:
        watching.watch(trainer)
        fit(trainer)

    Trainer.fit = watched
    if os.environ.get("KGTTS_UNSYNCHRONISED"):
        watching.unsynchronised()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
