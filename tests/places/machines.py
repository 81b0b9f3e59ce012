"""Plays the machines of SkyPilot: brings a task's files there and runs its own setup and run steps."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.emulator.runner.standins import standin_path

_FRESH = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Machine:
    """A fresh machine of a task.

    Attributes:
        home: its home folder, which is all that it has of its own.
        task: the content of task.yaml.
        rank: its number among the task's machines.
        head: the address of machine 0.
        programs: the folder of the programs that its image has; by default that of this Python.
    """

    home: Path
    task: Mapping[str, Any]
    rank: int = 0
    head: str = "127.0.0.1"
    programs: Path = Path(sys.executable).parent

    @classmethod
    def of(
        cls,
        task: Path,
        home: Path,
        rank: int = 0,
        *,
        bucket: Path | None = None,
        python: str | None = None,
    ) -> "Machine":
        """A machine with the task's files, as SkyPilot brings them.

        Args:
            task: the file task.yaml.
            home: its home folder, which is made.
            rank: its number among the task's machines.
            bucket: the folder that stands for the bucket.
            python: what its image has as python3; None is this Python.
        """
        found: dict[str, Any] = yaml.safe_load(task.read_text(encoding="utf-8"))
        for place, source in found["file_mounts"].items():
            target = home / place.removeprefix("~/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source if isinstance(source, str) else bucket or source["source"])
        if python is None:
            return cls(home, found, rank)
        programs = home / "image"
        programs.mkdir()
        (programs / "python3").symlink_to(python)
        return cls(home, found, rank, programs=programs)

    def environment(self, **more: str) -> dict[str, str]:
        """What a step finds in its environment; this Python comes first."""
        nodes = self.task["num_nodes"]
        kept = {name: os.environ[name] for name in _FRESH if name in os.environ}
        if (standins := standin_path(sys.executable)) is not None:
            kept["PYTHONPATH"] = str(standins)
        return {
            **kept,
            "PATH": os.pathsep.join([str(self.programs), kept.get("PATH", os.defpath)]),
            "HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            **self.task["envs"],
            "SKYPILOT_NODE_RANK": str(self.rank),
            "SKYPILOT_NODE_IPS": "\n".join([self.head] * nodes),
            "SKYPILOT_NUM_NODES": str(nodes),
            "SKYPILOT_NUM_GPUS_PER_NODE": "0",
            "SKYPILOT_TASK_ID": "sky-managed-2026-11-27_kgtts_1-0",
            **more,
        }

    def step(self, name: str, log: Path, **more: str) -> "subprocess.Popen[bytes]":
        """Start `setup` or `run` as a process group of its own."""
        with log.open("ab") as output:
            return subprocess.Popen(
                ["/bin/bash", "-c", self.task[name]],
                cwd=self.home,
                env=self.environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def take_away(machine: Machine) -> None:
    """Kill everything on a machine at once, as when a cloud takes it back (Linux)."""
    mark = b"HOME=" + os.fsencode(machine.home) + b"\0"
    while found := [number for number in _processes() if mark in _environment(number)]:
        for number in found:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def _processes() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]


def _environment(process: int) -> bytes:
    """Its environment; empty for one that has ended, a zombie too."""
    with suppress(OSError):
        return b"\0" + Path(f"/proc/{process}/environ").read_bytes()
    return b""
