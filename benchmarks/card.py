"""What kgtts does on a real NVIDIA GPU: speed against Coqui's own command, two ranks, and faults.

Run it from the repository, on a machine with torch, Coqui TTS and a GPU; it needs no network:

    python -m benchmarks.card [PART ...] [--out FOLDER] [--minutes N] [--dry-run]

Parts, in this order without any named:

- `start`: versions, the texts of nvidia-smi, the kernel's start report, and the GPU's own ceilings.
- `speed`: the whole VITS (83 million parameters) in fp16 by Coqui's command and under the kernel's host.
- `compare`: one process, the same batches, each of the host's ways to make a step faster in turn; a profile.
- `ranks`: two ranks on the one GPU over gloo: gradients, weights, and steps that the loss scaler skips.
- `memory`: GPU memory that really runs out, on either rank, in the forward and the backward pass.
- `nan`: losses that are not finite.
- `resume`: sessions that are stopped or killed and resumed, against one that is not.

`count` (only if named) counts operations and bytes of a step; it needs no GPU.

Every result is written at once to `card.jsonl` and `card.txt` in the folder, the ends of logs to
`card-logs.txt`. A part that fails or takes too long ends alone. `--dry-run` does all of it on the CPU with a
small voice. Without a network, bring Coqui TTS and what it needs as wheels; for Python 3.12 on x86-64:

    python -m benchmarks.card --prepare FOLDER
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import math
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "card_training.py"
STANDINS = ROOT / "orchestrator" / "emulator" / "runner" / "standins" / "sources"
VOICE = ROOT / "orchestrator" / "emulator" / "demo" / "voice.py"
# What Coqui TTS needs beyond torch, numpy, scipy, numba, transformers, tensorboard and matplotlib.
WHEELS = [
    "coqui-tts==0.28.0",
    "coqui-tts-trainer==0.4.0",
    "coqpit-config==0.2.5",
    "anyascii==0.3.3",
    "inflect==7.6.0",
    "more-itertools==11.2.1",
    "typeguard==4.6.1",
    "ko-speech-tools==0.1.0",
    "librosa==0.11.0",
    "audioread==3.1.0",
    "decorator==5.3.1",
    "pooch==1.9.0",
    "platformdirs==4.14.8",
    "soxr==1.1.0",
    "monotonic-alignment-search==0.2.1",
    "num2words==0.5.14",
    "pysbd==0.3.4",
    "soundfile==0.14.0",
    "cffi==2.1.1",
    "pycparser==3.12",
]
PLATFORMS = ("2_28", "2_27", "2_24", "2_17", "2_5", "2_1")
SAMPLES = 192  # Of the speed part: whole batches of 8 and 16.


@dataclass
class Card:
    """One run of this script.

    Args:
        out: the folder for the results.
        work: the folder for everything else.
        minutes: after that many no part begins, and those that run are ended.
        dry: on the CPU, with a small voice.
    """

    out: Path
    work: Path
    minutes: float
    dry: bool
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.minutes * 60 - (time.monotonic() - self.began)

    def note(self, part: str, **result: Any) -> None:
        """Write a result, for programs and for people."""
        at = round(time.monotonic() - self.began, 1)
        with (self.out / "card.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"part": part, "at": at, **result}, ensure_ascii=False, default=str) + "\n")
        text = "\n".join(f"    {name}: {_shown(value)}" for name, value in result.items())
        with (self.out / "card.txt").open("a", encoding="utf-8") as file:
            file.write(f"[{at:6.1f} s] {part}\n{text}\n")
        sys.stdout.write(f"[{at:6.1f} s] {part}\n{text[:1500]}\n")
        sys.stdout.flush()

    def keep_log(self, title: str, text: str, lines: int = 60) -> None:
        """Keep the end of a log."""
        with (self.out / "card-logs.txt").open("a", encoding="utf-8") as file:
            file.write(f"===== {title}\n" + "\n".join(text.splitlines()[-lines:])[-12_000:] + "\n")

    # ---- Processes

    def environment(self, asked: dict[str, Any], gpus: str = "0", **more: str) -> dict[str, str]:
        """As the kernel gives it to a training."""
        paths = [str(ROOT), str(STANDINS), os.environ.get("PYTHONPATH")]
        return {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "" if self.dry else gpus,
            "TRAINER_TELEMETRY": "0",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "NUMBA_CACHE_DIR": str(self.work / "numba"),
            "PYTHONFAULTHANDLER": "1",
            "KGTTS_CARD": json.dumps(asked),
            **({"OMP_NUM_THREADS": "1"} if self.dry else {}),
            **more,
        }

    def start(self, name: str, command: list[str], env: dict[str, str]) -> "Child":
        """Start a process whose output goes to a file."""
        folder = self.work / name.replace(" ", "-").replace(",", "")
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.txt"
        with log.open("ab") as file:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        return Child(name, process, log)

    def training(
        self,
        folder: Path,
        config: dict[str, Any],
        *,
        hosted: dict[str, Any] | None,
        ranks: int = 1,
        resumed: bool = False,
    ) -> list[str]:
        """The command of a training.

        Args:
            folder: for its files.
            config: Coqui's configuration.
            hosted: CONTROL.json; None for Coqui's own command.
            ranks: processes that train together.
            resumed: continue with the newest checkpoint in the folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        arguments = [str(SCRIPT)]
        path = folder / "config.json"
        path.write_text(json.dumps({**config, "output_path": str(folder / "out")}))
        where = []
        asked = {"report": str(folder / "HOST_REPORT.json"), **(hosted or {})}
        if resumed:
            (run,) = (folder / "out").iterdir()
            newest = max(run.glob("checkpoint_*.pth"), key=lambda item: int(item.stem.rpartition("_")[2]))
            asked |= {"continue_path": str(run), "checkpoint": str(newest)}
            path, where = run / "config.json", ["--continue_path", str(run)]
        arguments += ["--config_path", str(path), *where]
        if hosted is None:
            return [sys.executable, "-u", *arguments]
        (folder / "control.json").write_text(json.dumps(asked))
        program = ["kernel_template.host.launch", str(ranks)] if ranks > 1 else ["kernel_template.host"]
        return [sys.executable, "-u", "-m", *program, str(folder / "control.json"), *arguments]


@dataclass
class Child:
    """A process of ours."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def wait(self, seconds: float) -> int | None:
        """Wait for its end. Returns the exit code; None if it was ended because it took too long."""
        try:
            return self.process.wait(max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            self.end()
            return None

    def end(self) -> None:
        """End it, and what it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "".join(f"\n        {name}: {_shown(item)}" for name, item in value.items())
    text = str(value)
    return text if "\n" not in text else "".join(f"\n        {line}" for line in text.splitlines())


# ---- Inputs


def small_voice() -> dict[str, Any]:
    """The demo's settings, with one period discriminator."""
    spec = importlib.util.spec_from_file_location("demo_voice", VOICE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values: dict[str, Any] = module.settings()
    values["model_args"]["periods_multi_period_discriminator"] = [2]
    return values


def made_up_data(folder: Path, count: int, shortest: float, longest: float) -> dict[str, Any]:
    """Write recordings of noise, with texts as long as they are. Returns Coqui's `datasets` entry."""
    draw = random.Random(1)  # noqa: S311 - noise, no secret.
    letters = "কখগঘচছজঝটঠডঢণতথদধনপফবভমযরলশষসহ"
    noise = bytes(
        value if at % 2 == 0 else value % 16 for at, value in enumerate(draw.randbytes(2 * 22050 * 10))
    )
    (folder / "wavs").mkdir(parents=True)
    lines = []
    for number in range(count):
        length = draw.uniform(shortest, longest)
        with wave.open(str(folder / "wavs" / f"{number:03d}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(22050)
            start = 2 * draw.randrange(22050)
            file.writeframes(noise[start : start + 2 * round(length * 22050)])
        text = "".join(draw.choice(letters) for _ in range(round(length * 12)))
        lines.append(f"{number:03d}|{text}|{text}\n")
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return {
        "formatter": "ljspeech",
        "dataset_name": "noise",
        "path": str(folder),
        "meta_file_train": "metadata.csv",
    }


def full_voice(card: Card, batch_size: int, lengths: tuple[float, float] = (3.0, 8.0)) -> dict[str, Any]:
    """Coqui's VITS as it is, in fp16, with recordings of so many seconds; the small voice in a dry run."""
    config = small_voice()
    if not card.dry:
        del config["model_args"]
    shared = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0  # noqa: S108 - its size.
    config |= {"batch_size": batch_size, "run_eval": False, "save_step": 10**6, "print_step": 25}
    config |= {"lr_gen": 0.0002, "lr_disc": 0.0002, "save_best_after": 10**6, "epochs": 1000}
    config |= {"num_loader_workers": 4 if shared > 2**30 and not card.dry else 0}
    config |= {"mixed_precision": not card.dry, "precision": "fp16"}
    data = card.work / "full-{}-{}".format(*lengths)
    if not data.is_dir():
        entry = made_up_data(data, 24 if card.dry else SAMPLES + 4, *((0.7, 1.2) if card.dry else lengths))
        (data / "entry.json").write_text(json.dumps(entry))
    entry = json.loads((data / "entry.json").read_text())
    config["datasets"] = [{**config["datasets"][0], **entry}]
    config |= {"eval_split_size": 4, "eval_split_max_size": 4}
    return config


def tiny_training(card: Card, **more: Any) -> dict[str, Any]:
    """The small voice, for what is not about speed."""
    config = small_voice()
    data = card.work / "small"
    if not data.is_dir():
        entry = made_up_data(data, 20, 0.8, 1.6)
        (data / "entry.json").write_text(json.dumps(entry))
    config["datasets"] = [{**config["datasets"][0], **json.loads((data / "entry.json").read_text())}]
    config |= {"batch_size": 4, "run_eval": False, "save_step": 10**6, "print_step": 1, "epochs": 10}
    config |= {"mixed_precision": not card.dry, "precision": "fp16", "save_best_after": 10**6}
    config |= {"eval_split_size": 4, "eval_split_max_size": 4, "cudnn_deterministic": True}
    if card.dry:
        config["model_args"]["periods_multi_period_discriminator"] = []
    return {**config, **more}


# ---- Parts


def part_start(card: Card) -> None:
    """What machine this is, as the kernel sees it."""
    from kernel_template.start.environment import describe_environment  # noqa: PLC0415 - a part may fail alone.
    from kernel_template.start.gpu import list_gpus  # noqa: PLC0415 - as above.
    from kernel_template.start.probe import probe_tts  # noqa: PLC0415 - as above.
    from kernel_template.tools.package import PackagePrograms  # noqa: PLC0415 - as above.
    from kernel_template.tools.paths import Paths  # noqa: PLC0415 - as above.
    from kernel_template.tools.process import capture_output  # noqa: PLC0415 - as above.
    from kernel_template.usage.readings import read_gpus  # noqa: PLC0415 - as above.

    class Sink:
        def __init__(self) -> None:
            self.lines: list[str] = []

        def say(self, text: str) -> None:
            self.lines.append(text)

        def warn(self, message: str) -> None:
            self.lines.append(f"! {message}")

    env = card.environment({})
    queries = {
        "nvidia-smi": ["nvidia-smi"],
        "nvidia-smi -L": ["nvidia-smi", "-L"],
        "nvidia-smi -q": ["nvidia-smi", "-q"],
        "as the kernel asks at its start": [
            *("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
        ],
        "as the meter asks": [
            *("nvidia-smi", "--query-gpu=utilization.gpu,memory.used,memory.total"),
            "--format=csv,noheader,nounits",
        ],
        "df": ["df", "-h", "/dev/shm", "/tmp"],  # noqa: S108 - their sizes.
    }
    for name, command in queries.items():
        answer = capture_output(command, env, 20)
        card.note(
            "start", query=name, answer=answer.output if answer else None, code=answer and answer.returncode
        )
    sink = Sink()
    gpus = list_gpus(capture_output, env)
    with contextlib.suppress(Exception):
        describe_environment(Paths(card.work), gpus, sink)
    probe = probe_tts(capture_output, PackagePrograms(), env)
    card.note(
        "start", report="\n".join(sink.lines), gpus=gpus, readings=read_gpus(capture_output, env), probe=probe
    )
    # The first import of librosa's filters compiles for 20 s; the trainings find that in numba's cache.
    program = (
        "import time, torch; b = time.time()\n"
        "import TTS.tts.models.vits, TTS.bin.train_tts, librosa\n"
        "librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80); print('imports', time.time() - b)\n"
        "def rate(work, amount):\n"
        "    [work() for _ in range(3)]; torch.cuda.synchronize(); b = time.time()\n"
        "    [work() for _ in range(10)]; torch.cuda.synchronize(); return amount * 10 / (time.time() - b)\n"
        "if torch.cuda.is_available():\n"
        "    a = torch.randn(2**28, device='cuda'); c = torch.empty_like(a)\n"
        "    print('copy GB/s', rate(lambda: c.copy_(a), 2 * a.nbytes / 1e9))\n"
        "    m = torch.randn(8192, 8192, device='cuda', dtype=torch.float16)\n"
        "    print('fp16 product TFLOP/s', rate(lambda: m @ m, 2 * 8192**3 / 1e12))\n"
        "    print(torch.__version__, torch.version.cuda, torch.backends.cudnn.version())\n"
    )
    answer = capture_output([sys.executable, "-c", program], env, min(120, card.left))
    card.note("start", warm=answer.output[-3000:] if answer else None)


@dataclass(frozen=True)
class Job:
    """A training that gets the GPU for itself for a while."""

    child: Child
    facts: dict[str, Any]  # Of its result.
    turn: Path
    result: Path
    limit_s: float


def speed_jobs(card: Card) -> list[Job]:
    """Coqui's command and ours, with batches of 16 and 8."""
    ways: list[tuple[str, dict[str, Any] | None]] = [("by Coqui", None), ("ours", {"length_buckets": 8})]
    return [
        _job(
            card,
            f"speed {size} {way}",
            {"mode": "time", "epochs": 3},
            {"way": way, "batch_size": size},
            full_voice(card, size),
            control,
            limit_s=90,
        )
        for size in ((4,) if card.dry else (16, 8))
        for way, control in ways
    ]


def compare_jobs(card: Card) -> list[Job]:
    """Each rule on and off, in one process on the same batches."""
    size = 4 if card.dry else 16
    asked = {
        "mode": "compare",
        "batches": 2 if card.dry else 5,
        "rounds": 2 if card.dry else 5,
        "seconds": 30,
    }
    config = full_voice(card, size)
    return [_job(card, "compare", asked, {"batch_size": size}, config, {"length_buckets": 8}, limit_s=90)]


def _job(  # noqa: PLR0913, PLR0917 - each is a fact of its own.
    card: Card,
    name: str,
    asked: dict[str, Any],
    facts: dict[str, Any],
    config: dict[str, Any],
    hosted: dict[str, Any] | None,
    limit_s: float = 60,
) -> Job:
    """Start it; it will wait for its turn."""
    folder = card.work / name.replace(" ", "-")
    command = card.training(folder, config, hosted=hosted)
    turn, result = folder / "turn", folder / "result.json"
    env = card.environment({**asked, "result": str(result), "turn": str(turn)})
    return Job(card.start(name, command, env), facts, turn, result, limit_s * (4 if card.dry else 1))


def take_turns(card: Card, part: str, jobs: list[Job]) -> None:
    """Wait until all have imported what they need; then let one after the other have the GPU."""
    try:
        until = time.monotonic() + min(90, card.left)
        for job in jobs:
            while not Path(f"{job.turn}.ready").exists() and job.child.process.poll() is None:
                if time.monotonic() > until:
                    break
                time.sleep(0.1)
        for job in jobs:
            Path(f"{job.turn}.go").touch()
            code = job.child.wait(min(job.limit_s, card.left))
            card.keep_log(job.child.name, job.child.text, 15)
            if not job.result.exists():
                log = job.child.text[-1500:]
                card.note(part, **job.facts, failed=f"{job.child.name}: exit code {code}", log=log)
                continue
            found = json.loads(job.result.read_text())
            if "medians" in found:
                _note_comparison(card, found, job.facts)
            else:
                card.note(part, **job.facts, **_step_figures(found, job.facts["batch_size"]))
    finally:
        for job in jobs:
            job.child.end()


def _step_figures(found: dict[str, Any], size: int) -> dict[str, Any]:
    """Figures of all epochs but the first."""
    steps = [step for step in found.pop("steps") if step[0] > 0]
    taken = [end - begin for _, begin, end in steps]
    waits = [after[1] - before[2] for before, after in itertools.pairwise(steps) if after[0] == before[0]]
    mean, wait = statistics.mean(taken), statistics.mean(waits or [0.0])
    return {
        "steps": len(taken),
        "ms_per_step": round(mean * 1000, 2),
        "ms_median": round(statistics.median(taken) * 1000, 2),
        "ms_wait_for_batch": round(wait * 1000, 2),
        "steps_per_s": round(1 / (mean + wait), 3),
        "samples_per_s": round(size / (mean + wait), 2),
        **found,
    }


def _note_comparison(card: Card, found: dict[str, Any], facts: dict[str, Any]) -> None:
    base = found["medians"].get("as Coqui")
    ratios = {name: round(base / value, 3) for name, value in found["medians"].items()} if base else {}
    profiles = found.pop("profiles")
    card.note("compare", **facts, speedup=ratios, **found)
    for name, profile in profiles.items():
        card.note("compare", profile=name, **profile)


def part_speed(card: Card) -> None:
    """Each alone on the GPU, though all are started at once."""
    take_turns(card, "speed", speed_jobs(card))


def part_compare(card: Card) -> None:
    """Each rule on and off."""
    take_turns(card, "compare", compare_jobs(card))


def part_both(card: Card) -> None:
    """`speed` and `compare`, which saves the time to start the latter."""
    take_turns(card, "speed", [*speed_jobs(card), *compare_jobs(card)])


def _sessions(card: Card, name: str, plans: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """Run sessions of one small training after each other. Returns what each left."""
    found = []
    until = time.monotonic() + min(seconds, card.left)
    folder = card.work / name.replace(" ", "-").replace(",", "")
    for number, plan in enumerate(plans):
        ranks, config = plan.get("ranks", 1), plan.get("config", {})
        result = folder / f"session{number}"
        asked = {
            "mode": "watch",
            "result": str(result),
            "fault": plan.get("fault"),
            "gradients": "watch" in plan,
        }
        command = card.training(
            folder,
            tiny_training(card, **config),
            hosted=plan.get("control", {}),
            ranks=ranks,
            resumed=number > 0,
        )
        more = {"KGTTS_WATCH": str(folder), "KGTTS_WATCH_STEPS": plan["watch"]} if "watch" in plan else {}
        child = card.start(name, command, card.environment(asked, ",".join(["0"] * ranks), **more))
        began = time.monotonic()
        code = child.wait(until - time.monotonic())
        steps = [
            [json.loads(line) for line in path.read_text().splitlines()]
            for path in sorted(folder.glob(f"session{number}.rank*"))
        ]
        report = folder / "HOST_REPORT.json"
        found.append(
            {
                "code": code,
                "seconds": round(time.monotonic() - began, 1),
                "report": json.loads(report.read_text()) if report.exists() else None,
                "files": sorted(item.name for item in (folder / "out").glob("*/*.pth")),
                "steps": steps,
                "log": child.text,
            }
        )
        card.keep_log(f"{name}, session {number}: exit code {code}", child.text, 80)
        if code is None:
            break
    return found


def _brief(session: dict[str, Any]) -> dict[str, Any]:
    report = session["report"] or {}
    kept = ("stopped", "finished", "global_step", "epoch", "batch", "ranks", "warnings")
    return {
        "code": session["code"],
        "seconds": session["seconds"],
        **{name: report.get(name) for name in kept},
        "files": session["files"],
        "steps_seen": [len(rank) for rank in session["steps"]],
        "said": [line for line in session["log"].splitlines() if "kgtts" in line.lower() or "Error" in line][
            -8:
        ],
    }


def part_ranks(card: Card) -> None:
    """Two ranks on one GPU: equal weights, gradients that are means, steps skipped alike."""
    inf = {"kind": "inf", "rank": 1, "step": 2, "optimizer": 1}
    control = {"until_step": 5, "length_buckets": 2}
    # An epoch is one step of watch.py's; the batches are those of 16 samples.
    plan = {
        "ranks": 2,
        "control": control,
        "fault": None if card.dry else inf,  # Without a loss scaler it would spoil the weights.
        "watch": "1,3",
        "config": {"batch_size": 2, "epochs": 20},
    }
    name = "ranks"
    (session,) = _sessions(card, name, [plan], 150)
    card.note("ranks", **_brief(session))
    one, other = [*session["steps"], [], []][:2]
    card.note(
        "ranks",
        weights_alike=[a["weights"] == b["weights"] for a, b in zip(one, other, strict=False)],
        scales=[[line["scale"] for line in rank] for rank in (one, other)],
        scales_alike=[a["scale"] == b["scale"] for a, b in zip(one, other, strict=False)],
    )
    result = card.work / name / "gradients.json"
    asked = {"mode": "gradients", "folder": str(card.work / name), "result": str(result)}
    child = card.start(name, [sys.executable, str(SCRIPT)], card.environment(asked))
    child.wait(min(60, card.left))
    card.note("ranks", gradients=json.loads(result.read_text()) if result.exists() else child.text[-500:])


def part_memory(card: Card) -> None:
    """Memory that runs out, on one rank and on either of two."""
    kinds = ("memory in the forward pass", "memory in the backward pass")
    cases = [(ranks, rank, kind) for kind in kinds for ranks, rank in ((1, 0), (2, 0), (2, 1))]

    def run(case: tuple[int, int, str]) -> None:
        ranks, rank, kind = case
        fault = {"kind": kind, "rank": rank, "step": 3}
        plan = {"ranks": ranks, "fault": fault, "control": {"until_step": 6}, "config": {"batch_size": 2}}
        then = {"ranks": ranks, "control": {"until_step": 6, "batch_size": 1, "accumulate": 2}}
        name = f"memory {ranks} ranks rank {rank} {kind.split()[3]}"
        sessions = _sessions(card, name, [plan, {**then, "config": {"batch_size": 2}}], 170)
        card.note("memory", ranks=ranks, rank=rank, kind=kind, sessions=[_brief(item) for item in sessions])

    _together(card, "memory", run, cases[::5] if card.dry else cases)


def part_nan(card: Card) -> None:
    """Losses that are not finite: once, and from some step on."""
    cases = [("nan", False, 0), ("nan", True, 1), ("inf", True, 1)]

    def run(case: tuple[str, bool, int]) -> None:
        kind, stays, optimizer = case
        fault = {"kind": kind, "rank": 0, "step": 3, "stays": stays, "optimizer": optimizer}
        plan = {"fault": fault, "control": {"until_step": 12}, "config": {"save_step": 2}}
        name = f"nan {kind} {'stays' if stays else 'once'} {optimizer}"
        (session,) = _sessions(card, name, [plan], 120)
        scales = [[line["scale"], line["losses"].get("loss_1")] for line in session["steps"][0]]
        card.note("nan", fault=fault, scales=scales, **_brief(session))

    _together(card, "nan", run, cases[:1] if card.dry else cases)


def part_resume(card: Card) -> None:
    """A session stopped in an epoch and one killed, against one that runs through."""
    kill = {"kind": "kill", "rank": 0, "step": 6}
    plans: dict[str, list[dict[str, Any]]] = {
        "whole": [{"control": {"until_step": 9}}],
        "whole again": [{"control": {"until_step": 9}}],
        "stopped": [{"control": {"until_step": 3}}, {"control": {"until_step": 9}}],
        "killed": [{"control": {"until_step": 9}, "fault": kill}, {"control": {"until_step": 9}}],
    }
    found: dict[str, dict[int, Any]] = {}

    def run(name: str) -> None:
        config = {"save_step": 2, "save_n_checkpoints": 10}
        sessions = _sessions(
            card, f"resume {name}", [{**plan, "config": config} for plan in plans[name]], 150
        )
        found[name] = {line["step"]: line for session in sessions for line in (session["steps"] or [[]])[0]}
        card.note("resume", way=name, sessions=[_brief(item) for item in sessions])

    _together(card, "resume", run, ["whole", "killed"] if card.dry else list(plans))
    whole = found.get("whole", {})
    for name, steps in found.items():
        same = {
            what: [step for step in whole if whole[step][what] != steps.get(step, {}).get(what)]
            for what in ("weights", "random", "scale", "losses")
        }
        worst = max(
            (
                abs(value - steps[step]["losses"].get(key, math.nan)) / (abs(value) + 1e-12)
                for step in whole
                if step in steps
                for key, value in whole[step]["losses"].items()
            ),
            default=None,
        )
        card.note("resume", against_whole=name, steps=sorted(steps), steps_that_differ=same, worst_loss=worst)


def _together(card: Card, part: str, run: Callable[[Any], None], cases: list[Any]) -> None:
    """Run cases side by side; on the CPU after each other."""

    def guarded(case: Any) -> None:
        try:
            run(case)
        except Exception:  # noqa: BLE001 - the other cases go on.
            card.note(part, case=case, failed=traceback.format_exc()[-1500:])

    with ThreadPoolExecutor(1 if card.dry else len(cases)) as pool:
        list(pool.map(guarded, cases))


def part_count(card: Card) -> None:
    """Operations of a step, by torch's own counter, and the bytes that each reads and writes.

    With recordings of one length both grow by the same for each sample of a batch, so two small batches tell
    all others.
    """
    found = {}
    for size in (1, 2):
        name = f"count-{size}"
        config = full_voice(card, size, (5.0, 5.0)) | {"num_loader_workers": 0}
        result = card.work / name / "result.json"
        command = card.training(card.work / name, config, hosted={})
        asked = {"mode": "count", "result": str(result)}
        child = card.start(name, command, card.environment(asked, OMP_NUM_THREADS="1"))
        code = child.wait(min(600, card.left))
        if not result.exists():
            card.note("count", batch_size=size, failed=f"exit code {code}", log=child.text[-1500:])
            return
        found[size] = json.loads(result.read_text())
        card.note("count", batch_size=size, **found[size])
    for size in (8, 16):
        grown = {
            what: found[1][what] + (size - 1) * (found[2][what] - found[1][what])
            for what in ("operations", "bytes")
        }
        card.note("count", batch_size=size, calculated=True, **grown)


PARTS: dict[str, Callable[[Card], None]] = {
    "start": part_start,
    "speed": part_speed,
    "compare": part_compare,
    "ranks": part_ranks,
    "memory": part_memory,
    "nan": part_nan,
    "resume": part_resume,
    "count": part_count,
}

UNTIMED = ("ranks", "memory", "nan", "resume")


def prepare(folder: Path) -> int:
    """Download the wheels. Returns pip's exit code."""
    platforms = [f"--platform=manylinux_{number}_x86_64" for number in PLATFORMS] + [
        "--platform=manylinux2014_x86_64",
        "--platform=manylinux1_x86_64",
    ]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=3.12",
    ]
    return subprocess.run(
        [*command, "--implementation=cp", *platforms, "-d", str(folder), *WHEELS], check=False
    ).returncode


def main() -> int:
    """Run the parts asked for. Returns 1 if one of them failed as a whole."""
    parser = argparse.ArgumentParser(description="What kgtts does on a real NVIDIA GPU.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, default=Path("card-results"))
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    if asked.prepare is not None:
        return prepare(asked.prepare)
    if unknown := [name for name in asked.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; the parts are {', '.join(PARTS)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        card = Card(asked.out.resolve(), Path(name), asked.minutes, asked.dry_run)
        for folder in ("numba", "working", "temp"):
            (card.work / folder).mkdir()
        tiny_training(card)  # Makes the data, before several parts want them.
        return int(not run_parts(card, asked.parts or [part for part in PARTS if part != "count"]))


def run_parts(card: Card, parts: list[str]) -> bool:
    """Run these parts; those that measure no time run side by side. Returns whether all went through."""
    works = dict(PARTS)
    if {"speed", "compare"} <= set(parts):
        works["speed"] = part_both
        parts = [part for part in parts if part != "compare"]

    def run(part: str) -> bool:
        began = time.monotonic()
        try:
            works[part](card)
        except Exception:  # noqa: BLE001 - the other parts go on.
            card.note(part, failed=traceback.format_exc()[-2000:])
            return False
        card.note(part, seconds=round(time.monotonic() - began, 1))
        return True

    def run_if_time(part: str) -> bool:
        if card.left < 10:
            card.note(part, skipped="no time left")
            return True
        return run(part)

    alone = [part for part in parts if part not in UNTIMED or card.dry]
    ended = [run_if_time(part) for part in alone]
    with ThreadPoolExecutor(len(UNTIMED)) as pool:
        ended += pool.map(run_if_time, [part for part in parts if part not in alone])
    return all(ended)


if __name__ == "__main__":
    raise SystemExit(main())
