"""Shared by the tests of the host: toy trainings on Coqui's real Trainer, session after session."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import kernel_template
from kernel_template.tools.lines import LineSplitter
from kernel_template.tools.process import ChildEnd, ChildPlan, ChildRunner, OnLine, StopCause
from orchestrator.emulator.demo.inputs import DemoInputs, provide_demo_inputs
from orchestrator.emulator.runner.standins import standin_path
from tests.kernel.kit import put

HAS_TRAINER = find_spec("trainer") is not None  # To import it takes seconds.
# The mark of a module whose tests train with Coqui's real Trainer.
REAL_TRAINER = pytest.mark.skipif(not HAS_TRAINER, reason="needs the extra `local`")
# The marks of a module that trains the demo's voice.
VITS_TRAINING = [
    pytest.mark.training,
    pytest.mark.xdist_group("training"),  # Two trainings at once would fight for the cores.
    pytest.mark.skipif(find_spec("TTS") is None, reason="needs the extra `local`"),
]
HOST = "kernel_template.host"
LAUNCH = f"{HOST}.launch"
PROBE = "kernel_template.start.probe_program"
PACKAGE = Path(kernel_template.__file__).parent
TOY = Path(__file__).parent / "toy_training.py"
CONFIG = {
    "epochs": 6,
    "batch_size": 3,
    "eval_batch_size": 2,
    "run_name": "toy",
    "print_step": 1,
    "plot_step": 1000,
    "save_step": 1000,
    "log_model_step": 100000,
    "save_n_checkpoints": 2,
    "test_delay_epochs": 1000,
    "grad_clip": [0.0, 0.0],
}


def has_ended(process: int) -> bool:
    """Whether a process has ended, even if nobody has asked for its status yet."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{process}/stat")
    return status.is_file() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def two_ports() -> int:
    """Return a port that is free, as is the next one."""
    while True:
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("", 0))
            port = int(one.getsockname()[1])
            other.bind(("", port + 1))
            return port


class ForkServer:
    """A process that has torch imported and forks a training for each job."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._job = threading.Lock()  # Of a session's threads, too.

    def run(  # noqa: PLR0913 - each is a way in which trainings differ.
        self,
        arguments: list[str],
        log: Path,
        *,
        signals: Any = None,
        stop_time: bool = False,
        ranks: int = 1,
        variables: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> int:
        """Run the host to its end. Returns the exit code: that of rank 0, or of the first that has failed.

        `signals` is called with the process id. With `stop_time`, time passes only in the script's sleeps.
        Several ranks meet in a folder beside `log`, as the launcher would let them.
        """
        environments = [dict(variables or {}) for _ in range(ranks)]
        if ranks > 1:
            rendezvous = Path(tempfile.mkdtemp(dir=log.parent, prefix="rendezvous-"))
            told = {
                "KGTTS_RANKS": str(ranks),
                "KGTTS_RENDEZVOUS": str(rendezvous),
                "GLOO_SOCKET_IFNAME": "lo",
            }
            for rank, environment in enumerate(environments):
                environment.update(told, KGTTS_RANK=str(rank), **({"RANK": str(rank)} if rank else {}))
        codes = self._do(
            {"arguments": arguments, "stop_time": stop_time, "ranks": environments}, log, cwd, signals
        )
        return codes[0] or next(filter(None, codes), 0)

    def launch(self, arguments: list[str], log: Path, variables: Mapping[str, str], cwd: Path | None) -> int:
        """Run the launcher of this machine's ranks. Returns its exit status."""
        job = {"kind": "launch", "arguments": arguments, "stop_time": False, "ranks": [dict(variables)]}
        return self._do(job, log, cwd)[0]

    def python(self, arguments: list[str], folder: Path) -> tuple[int, str]:
        """Do what Python does with `-m MODULE…` or `-c CODE`. Returns the exit status and the output."""
        log = put(folder / "log.txt", "")
        job = {"kind": "python", "arguments": arguments, "stop_time": False, "ranks": [{}]}
        return self._do(job, log, folder)[0], log.read_text(encoding="utf-8")

    def run_nodes(
        self, arguments: list[list[str]], log: Path, variables: dict[str, str], cwd: Path | None = None
    ) -> list[int]:
        """Run the launchers of several machines on loopback, with arguments for each. Returns their statuses.

        The log of machine 0 is `log`, that of machine 1 has `.rank1` behind it.
        """
        told = {"KGTTS_NODES": str(len(arguments)), "KGTTS_HEAD": "127.0.0.1", "KGTTS_PORT": str(two_ports())}
        nodes = [{**variables, **told, "KGTTS_NODE": str(node)} for node in range(len(arguments))]
        job = {"kind": "nodes", "arguments": arguments, "stop_time": False, "ranks": nodes}
        return self._do(job, log, cwd)

    def _do(self, job: dict[str, Any], log: Path, cwd: Path | None, signals: Any = None) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        folder = None if cwd is None else str(cwd)
        line = json.dumps({"kind": "host", "log": str(log), "cwd": folder, **job}) + "\n"
        with self._job:
            self._process.stdin.write(line)
            self._process.stdin.flush()
            processes = json.loads(self._process.stdout.readline())
            if signals is not None:
                signals(processes[0])
            codes: list[int] = json.loads(self._process.stdout.readline())
        return codes


@dataclass(frozen=True, slots=True)
class Forked:
    """Runs a training as forks of a server that has imported what Coqui needs."""

    server: ForkServer

    def __call__(
        self, plan: ChildPlan, on_line: OnLine, on_stop: Callable[[StopCause, bool], None] | None = None
    ) -> ChildEnd:
        """Run `plan` to its end; it is not stopped, since the host keeps its time."""
        command = list(plan.command)
        program = next((name for name in (HOST, LAUNCH, PROBE) if name in command), None)
        if program is None:
            return ChildRunner()(plan, on_line, on_stop)
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "log.txt")
            arguments = command[command.index(program) + 1 :]
            if program == PROBE:
                code, _ = self.server.python(["-m", program, *arguments], Path(folder))
            elif program == LAUNCH:
                code = self.server.launch(arguments, log, {**plan.env, "TRAINER_TELEMETRY": "0"}, plan.cwd)
            else:
                code = self.server.run(arguments, log, variables={"TRAINER_TELEMETRY": "0"}, cwd=plan.cwd)
            splitter = LineSplitter()
            for text, is_bar in [*splitter.feed(log.read_bytes()), *splitter.feed(b"", final=True)]:
                on_line(text, is_bar=is_bar)
        return ChildEnd(code, time.monotonic() - began)


def with_package(environment: Mapping[str, str], package: Path = PACKAGE) -> dict[str, str]:
    """Return `environment` as the kernel passes it to the host: PYTHONPATH begins with the package."""
    path = filter(None, (str(package.parent), environment.get("PYTHONPATH")))
    return {**environment, "PYTHONPATH": os.pathsep.join(path)}


@contextmanager
def start_fork_server(*preload: str, **variables: str) -> Iterator[ForkServer]:
    """Start the process with `preload` imported, and end it."""
    environment = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "TRAINER_TELEMETRY": "0",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    with subprocess.Popen(
        [sys.executable, "-u", str(Path(__file__).parent / "fork_server.py"), *preload],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=with_package({**environment, **variables}),
    ) as process:
        try:
            yield ForkServer(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


@contextmanager
def start_coqui_server(cache: Path) -> Iterator[ForkServer]:
    """Start one with most of what TTS imports, less the trainer, whose import the host watches for.

    Args:
        cache: keeps numba's code.
    """
    folders = (str(standin_path(sys.executable, cache=cache) or ""), os.environ.get("PYTHONPATH"))
    path = os.pathsep.join(filter(None, folders))
    preload = (
        *("librosa.core.spectrum", "librosa.filters", "librosa.util.utils"),
        *("matplotlib.backends.backend_agg", "scipy.signal", "soundfile", "transformers"),
        "tests.kernel.before_coqui",
    )
    with start_fork_server(*preload, PYTHONPATH=path, NUMBA_CACHE_DIR=str(cache / "numba")) as found:
        yield found


def demo_inputs(folder: Path, cache: Path) -> DemoInputs:
    """Return the demo's inputs below a folder, with short segments, which take less time to train."""
    demo = provide_demo_inputs(folder, "owner", cache=cache)
    config = demo.model / "model" / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    values["model_args"]["spec_segment_size"] = 4  # Frames of a sentence that the decoder makes in a step.
    put(config, json.dumps(values))
    return demo


def few_sentences(demo: DemoInputs) -> dict[str, str]:
    """Return where Coqui finds half of the demo's sentences: six to train on, and two for the evaluation."""
    data = demo.dataset / "MyTTSDataset"
    rows = (data / "metadata.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    put(data / "few.csv", "".join(rows[:8]))
    return {"path": str(data), "meta_file_train": "few.csv"}


@dataclass
class Toy:
    """A run of toy sessions in its own folder; each session resumes as the kernel would resume it."""

    server: ForkServer
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    ranks: int = 1
    variables: dict[str, str] = field(default_factory=dict)
    log: Path = field(init=False)
    code: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "log.txt"

    @property
    def run_folder(self) -> Path:
        """The trainer's folder."""
        (found,) = (self.folder / "out").iterdir()
        return found

    def session(
        self,
        *,
        signals: Any = None,
        stop_time: bool = False,
        control: dict[str, Any] | None = None,
        **config: Any,
    ) -> dict[str, Any]:
        """Run a session, which resumes from the one before. Returns HOST_REPORT.json."""
        report = self.folder / "HOST_REPORT.json"
        asked: dict[str, Any] = {"report": str(report), **(control or {})}
        values = {**CONFIG, "output_path": str(self.folder / "out"), **self.config, **config}
        path = self.folder / "config.json"
        arguments = ["--config_path", str(path)]
        if (self.folder / "out").is_dir():
            newest = self.newest()
            assert newest is not None
            path = self.run_folder / "config.json"
            best = max(self.run_folder.glob("best_model_*.pth"), key=step_of, default=None)
            asked |= {"continue_path": str(self.run_folder), "checkpoint": str(newest)}
            asked |= {"best_model": str(best)} if best else {}
            arguments = ["--config_path", str(path), "--continue_path", str(self.run_folder)]
        put(path, json.dumps(values))
        put(self.folder / "control.json", json.dumps(asked))
        self.code = self.server.run(
            [str(self.folder / "control.json"), str(TOY), *arguments],
            self.log,
            signals=signals,
            stop_time=stop_time,
            ranks=self.ranks,
            variables=self.variables,
        )
        found: dict[str, Any] = json.loads(report.read_text())
        return found

    def newest(self) -> Path | None:
        """Return the newest checkpoint by step; at the same step a checkpoint comes before a best model."""
        files = [*self.run_folder.glob("best_model_*.pth"), *self.run_folder.glob("checkpoint_*.pth")]
        return max(files, key=lambda path: (step_of(path), path.name), default=None)

    def text(self) -> str:
        """Everything that was printed."""
        return self.log.read_text()

    def batches(self) -> list[str]:
        """The batches that the training was given, in order."""
        return re.findall(r"^BATCH (\S+)", self.text(), re.MULTILINE)

    def steps(self) -> list[int]:
        """The global steps as printed."""
        return [int(step) for step in re.findall(r"GLOBAL_STEP: (\d+)", self.text())]

    def copy(self, folder: Path) -> "Toy":
        """Copy the run to another folder, to continue it differently."""
        shutil.copytree(self.folder, folder)
        return Toy(self.server, folder, self.config, self.ranks, self.variables)


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.stem.rpartition("_")[2])


def load(path: Path | None) -> dict[str, Any]:
    """Load a checkpoint with `weights_only=True`."""
    import torch  # noqa: PLC0415 - seconds that only these tests need.

    assert path is not None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint."""
    import torch  # noqa: PLC0415 - as above.

    torch.save(state, path)


def difference(one: Any, other: Any, where: str = "") -> str | None:
    """Return the first place at which two checkpoints differ, bit for bit; None if they are equal."""
    import torch  # noqa: PLC0415 - as above.

    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return None if one.dtype == other.dtype and torch.equal(one, other) else where
    if type(one) is not type(other):
        return where
    if isinstance(one, dict):
        if list(one) != list(other):
            return f"{where}: {sorted(map(str, set(one) ^ set(other)))}"
        pairs = [(f"{where}.{key}", one[key], other[key]) for key in one]
    elif isinstance(one, list):
        if len(one) != len(other):
            return where
        pairs = [(f"{where}[{index}]", *pair) for index, pair in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other or (one != one and other != other) else where  # noqa: PLR0124 - NaN.
    return next((found for name, a, b in pairs if (found := difference(a, b, name))), None)


def same_training(one: Path | None, other: Path | None) -> str | None:
    """Return the first difference between two checkpoints in everything that the training depends on."""
    first, second = load(one), load(other)
    for state in (first, second):
        for key in ("config", "date"):
            state.pop(key)
    return difference(first, second)
