"""Listens to the training: prints and keeps its lines, reports its progress, notices whole checkpoints."""

import re
from collections import deque
from collections.abc import Callable
from pathlib import Path

from kernel_template.contract import EVENT_PREFIX
from kernel_template.events import CheckpointEvent
from kernel_template.start.inputs import damage
from kernel_template.tools.files import LineFile
from kernel_template.tools.paths import Paths
from kernel_template.tools.report import MessageSink, Reporter
from kernel_template.train.checkpoints import Checkpoint
from kernel_template.train.progress import NotFinite, ProgressParser, Saving, TrainerEvent, file_step

_TAIL_LINES = 400
_BAR_EVERY_S = 10.0  # A progress bar redraws itself ten times a second; a log of twelve hours need not.
_LOOK_EVERY_S = 0.5  # How often to look whether a checkpoint is whole.
_RESTORED = re.compile(r"> Restoring from |> Model restored from step")
_LAYERS = re.compile(r"> (\d+) / (\d+) layers are restored")
_UNREADABLE = re.compile(r"Failed to compute length, skipping (.+?)\s*$")
_DISCARDED = re.compile(r"Num\. instances discarded samples: ([1-9]\d*)\s*$")


class TrainerWarnings:
    """Turns remarks of the trainer that people should not miss into warnings, each printed once.

    Coqui prints these among its other lines and continues (coqui-tts 0.28.0, trainer 0.4.0): if half of a
    dataset cannot be read, it trains on the other half.
    """

    def __init__(self, report: MessageSink) -> None:
        self.restored = False
        self._report = report
        self._unreadable: dict[str, None] = {}

    def read(self, text: str) -> None:
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


class TrainingListener:
    """Takes each line of the training.

    Args:
        parser: reads the trainer's lines.
        report: prints lines and events.
        log: the log of the training.
        paths: the session's folders.
        clock: seconds, monotonic.
        on_checkpoint: called with each checkpoint once its file is whole.

    Attributes:
        tail: the last lines.
        epochs: the epoch in which each checkpoint was saved.
        warnings: turns the trainer's remarks into warnings.
    """

    def __init__(  # noqa: PLR0913 - it connects all these.
        self,
        *,
        parser: ProgressParser,
        report: Reporter,
        log: LineFile,
        paths: Paths,
        clock: Callable[[], float],
        on_checkpoint: Callable[[Checkpoint], None],
    ) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.epochs: dict[Path, int] = {}
        self.warnings = TrainerWarnings(report)
        self.parser = parser
        self._report = report
        self._log = log
        self._paths = paths
        self._clock = clock
        self._on_checkpoint = on_checkpoint
        self._saving: list[Checkpoint] = []
        self._looked = clock()
        self._bar_said = float("-inf")
        self._bar = ""

    def __call__(self, text: str, *, is_bar: bool) -> None:
        """Take one line of the training's output."""
        now = self._clock()
        if is_bar:
            self._bar = text
            if now - self._bar_said < _BAR_EVERY_S or not text.strip():
                return
            self._bar_said = now
        elif self._bar and not text:
            text = self._bar  # The last state of a bar that a bare newline ended.
        if not is_bar:
            self._bar = ""
        self._print(text)
        for event in self.parser.feed(text, now):
            self._handle(event)
        if self._saving and now - self._looked >= _LOOK_EVERY_S:
            self._look_at_files()

    def finish(self) -> None:
        """Handle what is left once the training has ended."""
        for event in self.parser.finish(self._clock()):
            self._handle(event)
        self.warnings.finish()
        self._look_at_files()

    def _print(self, text: str) -> None:
        # A script cannot print events.
        shown = f" {text}" if text.startswith(EVENT_PREFIX) else text
        self._report.say(shown)
        self._log.write(shown)
        self.tail.append(text)
        self.warnings.read(text)

    def _handle(self, event: TrainerEvent) -> None:
        if isinstance(event, Saving):
            path = Path(event.path)
            if not path.is_absolute():
                path = self._paths.working / path
            step = file_step(path.name)
            if step is not None:
                self.epochs[path] = event.epoch or 0
                self._saving.append(Checkpoint(path, step, best=event.best))
        elif isinstance(event, NotFinite):
            self._report.warn(
                f"{event.name} is {event.value} at step {event.global_step}: the training is unstable."
            )
        else:
            self._report.event(event)

    def _look_at_files(self) -> None:
        """Report the checkpoints that have become whole; the trainer prints their names before it writes."""
        self._looked = self._clock()
        waiting = []
        for checkpoint in self._saving:
            if damage(checkpoint.path) is not None:
                waiting.append(checkpoint)
                continue
            path = self._paths.relative(checkpoint.path)
            self._report.event(CheckpointEvent(path, checkpoint.global_step, checkpoint.best))
            self._on_checkpoint(checkpoint)
        self._saving = waiting
