"""Runs one of Coqui's training scripts and records what it does: `voice_training.py SCRIPT [ARGUMENTS…]`.

It draws no figures, which take as long as the steps of a small voice. With KGTTS_UNSYNCHRONISED set, the
ranks do not average their gradients.
"""

import os
import runpy
import sys
from typing import Any

import watching  # type: ignore[import-not-found] # It stands beside this script.
from trainer import Trainer
from TTS.tts.models.vits import Vits


def main() -> None:
    """Record what the script's Trainer does."""
    fit = Trainer.fit

    def watched(trainer: Any) -> None:
        watching.watch(trainer)
        fit(trainer)

    Trainer.fit = watched
    Vits._create_logs = lambda *_: ({}, {})
    if os.environ.get("KGTTS_UNSYNCHRONISED"):
        watching.unsynchronised()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
