"""The training: its command, its output on the way through, and its clock."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.start.config_file import PreparedConfig, script_text
from kernel_template.start.environment import Paths
from kernel_template.start.inputs import Inputs, damage
from kernel_template.tools.files import LineFile, human_limit, human_seconds
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import ChildEnd, ChildPlan, Cut, RunChild, child_environment
from kernel_template.tools.report import EVENT_PREFIX, Reporter
from kernel_template.train.checkpoints import Checkpoint
from kernel_template.train.notices import TrainingNotices
from kernel_template.train.progress import Event, ProgressParser, file_step

_TAIL_LINES = 400
_BAR_EVERY_S = 10.0  # A progress bar redraws itself ten times a second; a log of twelve hours need not.
_LOOK_EVERY_S = 0.5  # How often a checkpoint that is being written is looked at.


def reads_config_file(inputs: Inputs) -> bool:
    """Whether the script takes its configuration from `--config_path`, by its text."""
    text = script_text(inputs)
    return inputs.script is None or "config_path" in text or "TTS.bin.train_tts" in text


def override_arguments(overrides: Mapping[str, Any]) -> list[str]:
    """`--coqpit.key=value` for the plain values among the overrides.

    Only for scripts that never read the configuration file: Coqui fails on any such argument when a list in
    the configuration is empty while its default is not.
    """
    arguments = []
    for key, value in overrides.items():
        if isinstance(value, bool | int | float):
            arguments.append(f"--coqpit.{key}={json.dumps(value)}")
        elif isinstance(value, str):
            arguments.append(f"--coqpit.{key}={value}")
    return arguments


@dataclass(frozen=True, slots=True)
class TrainingCommand:
    """The guide's command through the host, with the prepared configuration in place of the base voice's.

    Args:
        inputs: the script and the base voice.
        prepared: the configuration.
        config: where it was written.
        control: what the host is asked.
        folder: the run folder to continue in; None to start from the base voice.
        ranks: processes that train together; with several, `host.launch` starts them.
    """

    inputs: Inputs
    prepared: PreparedConfig
    config: Path
    control: Path
    folder: Path | None = None
    ranks: int = 1

    def arguments(self, programs: PackagePrograms) -> list[str]:
        """The whole command."""
        inputs = self.inputs
        script = ["-m", inputs.module] if inputs.module is not None else [str(inputs.script)]
        asked = [str(self.control), *script, "--config_path", str(self.config)]
        command = programs.command("host", *asked)
        if self.ranks > 1:
            command = programs.command("host.launch", str(self.ranks), *asked)
        if self.folder is not None:
            # The trainer takes the configuration of this folder, and no overrides.
            return [*command, "--continue_path", str(self.folder)]
        command += ["--restore_path", str(inputs.checkpoint)]
        if not reads_config_file(inputs):
            command += override_arguments(self.prepared.overrides)
        return command


def training_ranks(settings: Mapping[str, Any], cards: int, env: Mapping[str, str]) -> int:
    """How many processes train: one for each card that is to be used.

    On a machine without a GPU, KGTTS_CPU_RANKS says how many, to try out there what two cards do.
    """
    if settings.get("accelerator") is None:
        told = env.get("KGTTS_CPU_RANKS", "")
        return max(int(told), 1) if told.isdecimal() else 1
    return max(cards, 1) if (settings.get("speed") or {}).get("gpus", 1) == "all" else 1


def training_environment(base: Mapping[str, str], *, gpu: bool, cards: int = 1) -> dict[str, str]:
    """One card, or none: with two visible the trainer refuses to start. launch.py deals several out."""
    extra = {
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(cards))) if gpu else "",
        "TRAINER_TELEMETRY": "0",  # trainer 0.0.36 crashes in it when there is no internet.
        "PYTHONIOENCODING": "utf-8:replace",
        "PYTHONFAULTHANDLER": "1",
    }
    return child_environment(base, extra)


class TrainingListener:
    """Hears the training: prints and keeps its lines, says its progress, notices whole checkpoints.

    Args:
        parser: reads the trainer's lines.
        report: where lines and events go.
        log: working/train_log.txt.
        paths: the session's folders.
        clock: seconds of a steady clock.
        on_checkpoint: hears of each checkpoint once its file is whole.
    """

    def __init__(  # noqa: PLR0913 - the listener joins what the session has.
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
        self.notices = TrainingNotices(report)
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
            text = self._bar  # The bar's last state, which a bare newline ended.
        if not is_bar:
            self._bar = ""
        self._say(text)
        for event in self.parser.feed(text, now):
            self._handle(event)
        if self._saving and now - self._looked >= _LOOK_EVERY_S:
            self._look_at_files()

    def finish(self) -> None:
        """Take what is left when the training has ended."""
        for event in self.parser.finish(self._clock()):
            self._handle(event)
        self.notices.finish()
        self._look_at_files()

    def _say(self, text: str) -> None:
        # A script must not speak in the kernel's name.
        shown = f" {text}" if text.startswith(EVENT_PREFIX) else text
        self._report.say(shown)
        self._log.write(shown)
        self.tail.append(text)
        self.notices.hear(text)

    def _handle(self, event: Event) -> None:
        kind = event.pop("event")
        if kind == "saving":
            path = Path(event["path"])
            if not path.is_absolute():
                path = self._paths.working / path
            step = file_step(path.name)
            if step is not None:
                self.epochs[path] = event["epoch"] or 0
                self._saving.append(Checkpoint(path, step, best=event["best"]))
        elif kind == "not_finite":
            self._report.warn(
                f"{event['name']} is {event['value']} at step {event['global_step']}: the training has "
                f"become unstable."
            )
        else:
            self._report.event(kind, **event)

    def _look_at_files(self) -> None:
        """Tell of the checkpoints that are whole by now; the trainer says their names before it writes."""
        self._looked = self._clock()
        waiting = []
        for checkpoint in self._saving:
            if damage(checkpoint.path) is not None:
                waiting.append(checkpoint)
                continue
            self._report.event(
                "checkpoint",
                path=self._paths.relative(checkpoint.path),
                global_step=checkpoint.global_step,
                best=checkpoint.best,
            )
            self._on_checkpoint(checkpoint)
        self._saving = waiting


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Runs the training once.

    Args:
        command: the whole command.
        env: its environment.
        paths: the session's folders; the training runs in the working folder.
        limit_s: seconds until it is asked to save and end.
        grace_s: seconds that the saving may take.
    """

    command: list[str]
    env: Mapping[str, str]
    paths: Paths
    limit_s: float
    grace_s: float

    def __call__(self, run: RunChild, listener: TrainingListener, report: Reporter) -> ChildEnd:
        """Run it to its end or to the time limit, and say which it was.

        Raises:
            OSError: the interpreter could not be started.
        """

        def on_cut(cut: Cut, killed: bool) -> None:  # noqa: FBT001 - the shape that the runner calls.
            if killed:
                report.warn(f"The training did not end within {human_seconds(self.grace_s)} and was killed.")
            elif cut is Cut.TIME_LIMIT:
                report.say(f"⚠ Training timeout ({human_limit(self.limit_s)}) - process terminated")
                report.say(
                    f"  It was asked to save a checkpoint and has {human_seconds(self.grace_s)} for it."
                )
            else:
                report.say("⚠ The session was told to stop: the training is asked to save a checkpoint.")

        plan = ChildPlan(self.command, self.env, self.paths.working, self.limit_s, self.grace_s)
        end = run(plan, listener, on_cut)
        listener.finish()
        return end
