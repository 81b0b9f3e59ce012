"""Turns remarks of the trainer that people should not miss into warnings.

Coqui prints these among its other lines and continues (coqui-tts 0.28.0, trainer 0.4.0): if half of a dataset
cannot be read, it trains on the other half.
"""

import re

from kernel_template.tools.report import MessageSink

_RESTORED = re.compile(r"> Restoring from |> Model restored from step")
_LAYERS = re.compile(r"> (\d+) / (\d+) layers are restored")
_UNREADABLE = re.compile(r"Failed to compute length, skipping (.+?)\s*$")
_DISCARDED = re.compile(r"Num\. instances discarded samples: ([1-9]\d*)\s*$")


class TrainerWarnings:
    """Reads the training's lines and prints each such warning once."""

    def __init__(self, report: MessageSink) -> None:
        self.restored = False
        self._report = report
        self._unreadable: dict[str, None] = {}

    def hear(self, text: str) -> None:
        """Read one line of the training's output."""
        if _RESTORED.search(text):
            self.restored = True
        elif (match := _LAYERS.search(text)) and match.group(1) != match.group(2):
            self._report.warn(
                f"Only {match.group(1)} of {match.group(2)} layers could be loaded from the base voice: its "
                "checkpoint and configuration do not match, or the settings change the model's shape."
            )
        elif match := _UNREADABLE.search(text):
            if not self._unreadable:
                self._report.warn(f"{match.group(1)} cannot be read; the training goes on without it.")
            self._unreadable[match.group(1)] = None
        elif match := _DISCARDED.search(text):
            self._report.warn(
                f"{match.group(1)} samples are not used: their audio or text is shorter or longer than "
                "min_audio_len, max_audio_len, min_text_len and max_text_len in training.coqui allow."
            )

    def finish(self) -> None:
        """Print the warnings that need a count of all lines."""
        if len(self._unreadable) > 1:
            self._report.warn(f"{len(self._unreadable)} recordings could not be read and were not used.")
