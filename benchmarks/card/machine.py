"""One run of the card's checks: its folders, its time, its results, and the processes that it starts."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).resolve().parent / "training.py"
STANDINS = ROOT / "orchestrator" / "emulator" / "runner" / "standins" / "sources"


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
        # The host takes the first one away again; training.py imports what stands beside it.
        paths = [str(ROOT), str(ROOT), str(STANDINS), os.environ.get("PYTHONPATH")]
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
