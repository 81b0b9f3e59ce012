"""Shared by the kernel's tests: folders, programs and a clock to run the kernel in."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from kernel_template.context import Tools
from kernel_template.contract import BY_TRAINER, SETTINGS_SCHEMA
from kernel_template.settings import SessionSettings, TrainingSettings
from kernel_template.tools.files import write_atomic
from kernel_template.tools.paths import Paths
from kernel_template.tools.process import Captured, ChildEnd, ChildPlan, OnLine, StopCause
from kernel_template.tools.report import Reporter
from tests.fakes.clock import FakeClock

DATASET = "owner/datahrbnn"
MODEL = "owner/ttsbnng/transformers/default/1"
PROBE_OK = {"ok": True, "TTS": "0.28.0", "torch": "2.10.0", "cuda": False, "devices": []}


class Log:
    """Collects what the kernel prints, and can react to it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.reactions: list[tuple[str, Callable[[], None]]] = []

    def __call__(self, text: str) -> None:
        """Add lines."""
        self.lines += text.split("\n")
        for word, act in self.reactions:
            if word in text:
                act()

    @property
    def text(self) -> str:
        """Everything that was printed."""
        return "\n".join(self.lines)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the `@kgtts` events, all or those of one kind."""
        found = [json.loads(line[7:]) for line in self.lines if line.startswith("@kgtts ")]
        return [event for event in found if kind is None or event["event"] == kind]


def reporter(log: Log, clock: FakeClock | None = None) -> Reporter:
    """Make a reporter that prints to `log`."""
    return Reporter(session=1, clock=clock or FakeClock(), out=log)


def put(path: Path, content: str | bytes = "x") -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def put_checkpoint(path: Path, content: str = "weights") -> Path:
    """Write a complete ZIP archive, which is what torch's checkpoints are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", content)
    return path


def base_config(**changes: Any) -> dict[str, Any]:
    """Return a base voice's configuration, with paths of the machine that wrote it."""
    config: dict[str, Any] = {
        "model": "vits",
        "batch_size": 32,
        "epochs": 10,
        "output_path": "/home/somebody/out",
        "lr_gen": 0.0002,
        "audio": {"sample_rate": 22050, "fft_size": 1024},
        "datasets": [
            {
                "formatter": "ljspeech",
                "path": "/kaggle/input/datahrbn/MyTTSDataset",
                "meta_file_train": "metadata.csv",
                "language": "",
            }
        ],
        "test_sentences": [["আমি ভাত খাই।"], ["কেমন আছেন?"]],
    }
    return {**config, **changes}


def training_settings(**changes: Any) -> TrainingSettings:
    """The section `training` of the settings."""
    training: TrainingSettings = {
        "model": "vits",
        "sample_rate": 22050,
        "language": "bn-Bangladesh",
        "batch_size": 16,
        "epochs": 2,
        "until_step": None,
        "coqui": {},
        "time_limit_s": 3600,
        "grace_s": 30,
    }
    return cast("TrainingSettings", {**training, **changes})


def settings(**changes: Any) -> SessionSettings:
    """The session's settings; `training` holds changes to that section."""
    training = changes.pop("training", {})
    base: SessionSettings = {
        "schema": SETTINGS_SCHEMA,
        "run": {
            "id": "3f9c",
            "session": 1,
            "parent": None,
            "fingerprint": "0" * 64,
            "kernel": "owner/bangla-voice",
            "kgtts": "0.1.0",
        },
        "accelerator": None,
        "gpu_name": None,
        "gpus": None,
        "internet": True,
        "dataset": {"source": DATASET, "script": "MyTTSDataset/train_tts.py"},
        "model": {"source": MODEL, "config": "model/config.json", "checkpoint": "model/model_file.pth"},
        "training": training_settings(**training),
        "session_budget_s": None,
        "series_budget_s": None,
        "stop": {"patience": None},
        "resume": None,
        "before": [],
        "speed": {
            "gpus": 1,
            "mixed_precision": False,
            "cudnn_benchmark": False,
            "round_lengths": False,
            "deterministic": False,
            "loader_workers": None,
            "length_buckets": 0,
        },
        "data": {"bad_samples": None, "shortest_s": 0.4, "longest_s": 60.0},
        "disk": {"limit_bytes": None, "keep_checkpoints": None},
        "install": {"packages": ["coqui-tts>=0.27,<0.29"], "wheelhouse": None},
        "voice": {"onnx": False, "packages": []},
        "samples": {"sentences": ["আমি ভাত খাই।"], "enabled": True},
        "scores": {
            "enabled": False,
            "share": 0.02,
            "sentences": 8,
            "packages": [],
            "recogniser": None,
            "best_by": BY_TRAINER,
        },
    }
    values: dict[str, Any] = dict(base)
    for name, value in changes.items():
        section = values[name]
        values[name] = {**section, **value} if isinstance(section, dict) else value
    return cast("SessionSettings", values)


def mount_inputs(
    root: Path, *, script: str = "print('x')", config: Any = None, layout: str = "current"
) -> Path:
    """Mount a dataset and a base voice below `root`. Returns the dataset's folder."""
    if layout == "current":
        dataset, model = root / "datasets" / DATASET, root / "models" / MODEL
    else:
        dataset, model = root / DATASET.split("/")[1], root / MODEL.split("/", 1)[1]
    put(dataset / "MyTTSDataset" / "train_tts.py", script)
    put(dataset / "MyTTSDataset" / "metadata.csv", "a|আমি|আমি\n")
    put(dataset / "MyTTSDataset" / "wavs" / "a.wav", b"RIFF")
    put(model / "model" / "config.json", json.dumps(base_config() if config is None else config))
    put_checkpoint(model / "model" / "model_file.pth")
    return dataset


@dataclass
class Capture:
    """Answers short programs from a table: the first entry whose word stands in the command."""

    answers: dict[str, Captured | list[Captured | None] | None] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Captured | None:
        """Return the answer; None if there is no such program."""
        self.asked.append(list(command))
        self.environments.append(dict(env))
        for word, answer in self.answers.items():
            if any(word in part for part in command):
                if isinstance(answer, list):
                    return answer.pop(0) if len(answer) > 1 else answer[0]
                return answer
        return None


def probe_answer(**changes: Any) -> Captured:
    """What the probe program prints."""
    found = {**PROBE_OK, **changes}
    return Captured(0 if found["ok"] else 1, "a warning\n" + json.dumps(found) + "\n")


@dataclass
class Child:
    """Plays a child process: prints its lines and exits."""

    lines: Sequence[str] = ()
    returncode: int = 0
    stop_cause: StopCause | None = None
    error: OSError | None = None
    plans: list[ChildPlan] = field(default_factory=list)
    before: Callable[[ChildPlan], None] | None = None

    def __call__(
        self, plan: ChildPlan, on_line: OnLine, on_stop: Callable[[StopCause, bool], None] | None = None
    ) -> ChildEnd:
        """Run."""
        self.plans.append(plan)
        if self.error is not None:
            raise self.error
        if self.before is not None:
            self.before(plan)
        for line in self.lines:
            on_line(line, is_bar=False)
        return ChildEnd(self.returncode, 1.0, self.stop_cause)


def make_tools(root: Path, log: Log, **changes: Any) -> Tools:
    """Make tools without a GPU and with TTS installed; time stands still unless a test moves it."""
    wanted: dict[str, Any] = {
        "root": root,
        "clock": FakeClock(),
        "now": lambda: datetime(2026, 11, 22, 7, 31, tzinfo=UTC),
        "out": log,
        "env": {"PATH": "/usr/bin:/bin", "KAGGLE_USER_SECRETS_TOKEN": "secret", "LANG": "C.UTF-8"},
        "capture": Capture({"start.probe_program": probe_answer()}),
        "versions": lambda _names: {"torch": "2.10.0", "coqui-tts": "0.28.0"},
        "write": write_atomic,
        "sleep": FakeClock().sleep,
    }
    return Tools(**{**wanted, **changes})


def paths_in(root: Path) -> Paths:
    """Return the session's folders, and create them."""
    paths = Paths(root)
    for folder in (paths.input, paths.working, paths.temp, paths.training):
        folder.mkdir(parents=True, exist_ok=True)
    return paths
