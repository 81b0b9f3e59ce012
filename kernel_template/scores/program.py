"""Measure voices by their held-out sentences, within a time limit that counts from the program's start.

The only argument is a JSON file with a `ScoringPlan`. Prints a line for each voice that is measured:
`{"scored": {"of", "global_step", "checkpoint", "seconds", "means", "sentences", "missing"}}`, and
`{"skipped": {"of", "global_step", "why"}}` for one that is not.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from kernel_template.contract import HeldOut
from kernel_template.tools.garbage import end_quickly

NO_TIME = "no time is left"  # Why a voice was not measured.


class Voice(TypedDict):
    """Who is to speak; the recordings have no files."""

    of: str  # A Speaker.
    global_step: int | None
    config: str | None
    checkpoint: str | None
    name: str | None  # The checkpoint as the outputs have it.
    letters: str | None  # A JSON file: the counts of the training texts' letters.
    folder: str


class ScoringPlan(TypedDict):
    """What to do."""

    sentences: list[HeldOut]
    sounds: list[str]  # The path of each sentence's recording.
    voices: list[Voice]  # In the order of their worth.
    recogniser: str | None
    limit_s: float


def main(arguments: Sequence[str]) -> int:
    """Do what the plan says. Returns the exit code."""
    began = time.monotonic()

    def say(tag: str, record: Mapping[str, Any]) -> None:
        sys.stdout.write("\n" + json.dumps({tag: record}) + "\n")
        sys.stdout.flush()

    plan: ScoringPlan = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    # It imports torch, which counts.
    from kernel_template.scores.measuring import Measuring  # noqa: PLC0415

    Measuring(plan, say, lambda: time.monotonic() - began).run()
    return 0


if __name__ == "__main__":
    end_quickly()
    raise SystemExit(main(sys.argv[1:]))
