"""`kgtts train` as a person types it: a whole VITS, and whether interrupting a training changes a bit."""

import json
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from benchmarks.card.inputs import full_voice, small_voice, tiny_training
from benchmarks.card.machine import Card, Child
from benchmarks.full_voice import MAKE_CHECKPOINT
from orchestrator.settings import default_toml

_SLUG = "voice"
_LIMIT_S = 240.0


class Place:
    """A folder with a kgtts.toml, in which commands of kgtts run.

    Args:
        card: this run.
        name: the folder's name.
        voice: the folder of the base voice.
        data: the folder of the dataset.
        settings: by dotted name.
    """

    def __init__(self, card: Card, name: str, voice: Path, data: Path, **settings: Any) -> None:
        self.card, self.name = card, name
        self.folder = card.work / name
        self.folder.mkdir()
        self._train = ["train", "--offline", "--data", str(data), "--voice", str(voice)]
        common = {"kernel.slug": _SLUG, "kernel.owner": "somebody", "scores.enabled": False}
        (self.folder / "kgtts.toml").write_text(default_toml({**common, **settings}), encoding="utf-8")

    @property
    def results(self) -> Path:
        """The folder of the run's sessions."""
        return self.folder / "runs" / _SLUG

    def start(self, *arguments: str) -> Child:
        """Start a command of kgtts."""
        env = self.card.environment({}, HOME=str(self.card.work), KGTTS_HOME=str(self.folder / "home"))
        log = self.folder / f"{arguments[0]}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", *arguments],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Child(f"{self.name}: kgtts {arguments[0]}", process, log)

    def kgtts(self, *arguments: str) -> dict[str, Any]:
        """Run a command to its end. Returns how it went."""
        began = time.monotonic()
        child = self.start(*arguments)
        code = child.wait(min(_LIMIT_S, self.card.left))
        self.card.keep_log(f"{child.name}: exit code {code}", child.text)
        return {"code": code, "seconds": round(time.monotonic() - began, 1), "said": child.text[-600:]}

    def train(self, *stops: int) -> dict[str, Any]:
        """Train to the end of the run, interrupted at these steps as by Ctrl-C."""
        for step in stops:
            child = self.start(*self._train)
            try:
                while self.steps() < step and child.process.poll() is None and self.card.left > 1:
                    time.sleep(0.05)
                child.process.send_signal(signal.SIGINT)
                child.wait(min(_LIMIT_S, self.card.left))
            finally:
                child.end()
        return self.kgtts(*self._train)

    def steps(self) -> int:
        """The newest step that was made."""
        found = [0]
        for path in self.results.glob("*/metrics.jsonl"):
            found += map(int, re.findall(r'"global_step": ?(\d+)', path.read_text()))
        return max(found)

    def newest(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The newest session's state, and the content of its newest checkpoint."""
        folder = max(self.results.glob("session-*"))
        state = json.loads((folder / "state.json").read_text())
        return state, torch.load(folder / state["checkpoint"], map_location="cpu", weights_only=True)


def base_voice(card: Card, name: str, config: dict[str, Any]) -> Path:
    """A base voice with random weights. Returns its folder."""
    folder = card.work / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    arguments = [str(folder / "config.json"), str(folder / "model_file.pth")]
    command = [sys.executable, "-c", MAKE_CHECKPOINT, *arguments]
    subprocess.run(command, env=card.environment({}), check=True, timeout=120, capture_output=True)
    return folder


def part_train(card: Card) -> None:
    """A whole VITS by `kgtts train`: interrupted once, gone on with, exported, spoken with and packaged."""
    size = 4 if card.dry else 16
    config = full_voice(card, size)
    data = Path(config["datasets"][0]["path"])
    kept = small_voice() if card.dry else {key: config[key] for key in small_voice() if key != "model_args"}
    voice = base_voice(card, "full-voice", kept)
    target = 12 if card.dry else 120
    place = Place(
        card,
        "train",
        voice,
        data,
        **{"training.batch_size": size, "run.until_step": target, "training.epochs": 1000},
        **{"training.coqui": {"save_step": target // 3, "print_step": 10, "eval_split_size": 4}},
    )
    card.note("train", target=target, **place.train(target // 3))
    state, _ = place.newest()
    wanted = ("global_step", "reason", "ranks", "history", "checkpoint", "voice")
    card.note("train", state={name: state.get(name) for name in wanted if name in state})
    for path in sorted(place.results.glob("session-*")):
        card.note(
            "train", files={item.name: item.stat().st_size for item in path.iterdir() if item.is_file()}
        )
        for name in ("usage.jsonl", "HOST_REPORT.json"):
            if (path / name).exists():
                card.keep_log(f"{path.name}/{name}", (path / name).read_text(), 20)
        (card.out / f"{path.name}-metrics.jsonl").write_text((path / "metrics.jsonl").read_text())
    for command in (
        ["status", "--from", "runs"],
        ["say", "আমি বাংলায় গান গাই।", "--out", "said.wav"],
        ["voice", "package", "--out", "package.zip"],
    ):
        card.note("train", command=command[0], **place.kgtts(*command))


def part_exact(card: Card) -> None:
    """A small voice by `kgtts train` with `speed.deterministic`, whole and interrupted: the same bits?"""
    config = tiny_training(card)
    data = Path(config["datasets"][0]["path"])
    voice = base_voice(card, "small-voice", small_voice())

    def run(name: str, *stops: int) -> dict[str, Any]:
        place = Place(
            card,
            f"exact-{name}",
            voice,
            data,
            **{"training.batch_size": 2, "training.epochs": 4, "speed.deterministic": True},
            **{"training.coqui": {"save_step": 3, "print_step": 1}},
            **{"voice.onnx": False, "samples.enabled": False},
        )
        card.note("exact", way=name, **place.train(*stops))
        state, content = place.newest()
        sessions = [[item[key] for key in ("from_step", "to_step", "reason")] for item in state["history"]]
        card.note("exact", way=name, global_step=state["global_step"], sessions=sessions)
        return content

    with ThreadPoolExecutor(2) as pool:
        begun = pool.submit(run, "whole"), pool.submit(run, "interrupted", 8, 20)
        whole, other = (item.result() for item in begun)
    card.note("exact", equal={key: _equal(whole[key], other[key]) for key in ("model", "optimizer", "step")})


def _equal(one: Any, other: Any) -> bool:
    pairs = list(zip(tree_leaves(one), tree_leaves(other), strict=True))
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)
