"""The training's command and environment, and how it is run under the time limit."""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.settings import SessionSettings
from kernel_template.start.config_file import PreparedConfig, script_text
from kernel_template.start.gpu import visible_gpus
from kernel_template.start.inputs import Inputs
from kernel_template.tools.files import human_limit, human_seconds
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.paths import Paths
from kernel_template.tools.process import ChildEnd, ChildPlan, RunChild, StopCause, child_environment
from kernel_template.tools.report import MessageSink
from kernel_template.train.listener import TrainingListener

# A script that starts programs may leave the configuration to them.
_READS_CONFIG = re.compile(r"config_path|TTS\.bin\.train_tts|\bsubprocess\b|\bos\.system\b")


def reads_config_file(inputs: Inputs) -> bool:
    """Whether the script seems to read its configuration from `--config_path`, judged by its text."""
    text = script_text(inputs)
    return inputs.script is None or _READS_CONFIG.search(text) is not None


def override_arguments(overrides: Mapping[str, Any]) -> list[str]:
    """Make `--coqpit.key=value` arguments of the plain values among the overrides.

    Only for scripts that never read the configuration file: Coqui fails on any such argument if a list in the
    configuration is empty while its default is not.
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
    """The guide's command with the prepared configuration, run by the host.

    Args:
        inputs: the script and the base voice.
        prepared: the configuration.
        config: the file that has it.
        control: the host's CONTROL.json.
        folder: the run folder to continue in; None to start from the base voice.
        checkpoint: the checkpoint in it to continue from.
        ranks: processes that train together here, one for each GPU; `host.launch` starts several.
        nodes: machines that train together; `nodes.launch` starts the ranks of each.
    """

    inputs: Inputs
    prepared: PreparedConfig
    config: Path
    control: Path
    folder: Path | None = None
    checkpoint: Path | None = None
    ranks: int = 1
    nodes: int = 1

    def arguments(self, programs: PackagePrograms) -> list[str]:
        """The whole command."""
        inputs = self.inputs
        script = ["-m", inputs.module] if inputs.module is not None else [str(inputs.script)]
        asked = [str(self.control), *script, "--config_path", str(self.config)]
        command = programs.command("host", *asked)
        if self.nodes > 1:
            command = programs.command("nodes.launch", str(self.ranks), *asked)
        elif self.ranks > 1:
            command = programs.command("host.launch", str(self.ranks), *asked)
        if self.folder is not None:
            # The trainer reads the configuration of this folder, and takes no overrides. Some scripts
            # insist on
            # --restore_path; for the trainer --continue_path comes first.
            restore = ["--restore_path", str(self.checkpoint)] if self.checkpoint is not None else []
            return [*command, *restore, "--continue_path", str(self.folder)]
        command += ["--restore_path", str(inputs.checkpoint)]
        if not reads_config_file(inputs):
            command += override_arguments(self.prepared.overrides)
        return command


def training_ranks(settings: SessionSettings, gpus: int, env: Mapping[str, str]) -> int:
    """How many processes train: one for each GPU that is used.

    On the CPU, KGTTS_CPU_RANKS sets the number, to try out what several GPUs do.
    """
    if settings["accelerator"] is None:
        wanted = env.get("KGTTS_CPU_RANKS", "")
        return max(int(wanted), 1) if wanted.isdecimal() else 1
    return max(gpus, 1) if settings["speed"]["gpus"] == "all" else 1


def training_environment(base: Mapping[str, str], *, gpu: bool, ranks: int = 1) -> dict[str, str]:
    """The training's environment: it sees as many GPUs as there are ranks, or none on the CPU.

    With two GPUs visible the trainer refuses to start; the launcher gives each rank one.
    """
    visible = visible_gpus(base, sys.maxsize)  # On a machine of one's own.
    gpus = list(map(str, range(ranks))) if visible is None else visible[:ranks]
    extra = {
        "CUDA_VISIBLE_DEVICES": ",".join(gpus) if gpu else "",
        "TRAINER_TELEMETRY": "0",  # In trainer 0.0.36 it crashes without internet.
        "PYTHONIOENCODING": "utf-8:replace",
        "PYTHONFAULTHANDLER": "1",
    }
    return child_environment(base, extra)


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Runs the training once.

    Args:
        command: the whole command.
        env: its environment.
        paths: the session's folders; the training runs in the working folder.
        limit_s: seconds until it is asked to save and end.
        grace_s: seconds that saving may take.
    """

    command: list[str]
    env: Mapping[str, str]
    paths: Paths
    limit_s: float
    grace_s: float

    def __call__(self, run: RunChild, listener: TrainingListener, report: MessageSink) -> ChildEnd:
        """Run it to its end or to the time limit, and report which it was.

        Raises:
            OSError: the interpreter could not be started.
        """

        def on_stop(cause: StopCause, killed: bool) -> None:  # noqa: FBT001 - the runner's signature.
            if killed:
                report.warn(f"The training did not end within {human_seconds(self.grace_s)} and was killed.")
            elif cause is StopCause.TIME_LIMIT:
                report.say(f"⚠ Training timeout ({human_limit(self.limit_s)}) - process terminated")
                report.say(f"  It has been asked to save a checkpoint within {human_seconds(self.grace_s)}.")
            else:
                report.say(
                    "⚠ The session was told to stop: the training has been asked to save a checkpoint."
                )

        plan = ChildPlan(self.command, self.env, self.paths.working, self.limit_s, self.grace_s)
        end = run(plan, listener, on_stop)
        listener.finish()
        return end
