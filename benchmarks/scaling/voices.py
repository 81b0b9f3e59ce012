"""The small VITS and its data, and how a training of it is started on one rank or several."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.base_voice.sentences import sentences
from orchestrator.emulator.demo import speech, voice
from orchestrator.emulator.demo.inputs import provide_demo_inputs
from orchestrator.emulator.runner.standins import standin_path

ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = Path(__file__).resolve().with_name("training.py")


@dataclass(frozen=True, slots=True)
class SmallVoice:
    """The demo's base voice and recordings of eSpeak NG's `bn+f1` to train it on."""

    folder: Path
    config: dict[str, Any]
    checkpoint: Path

    @classmethod
    def make(cls, folder: Path, *, utterances: int, held_out: int, speaking: bool) -> "SmallVoice":
        """Make its files.

        Args:
            folder: for all files.
            utterances: how many recordings to train on.
            held_out: how many more to measure with.
            speaking: the voice that speaks (3.3 million weights) instead of the one that hums (0.2 million).
        """
        demo = provide_demo_inputs(folder / "demo", "owner", cache=folder / "cache", speaking=speaking)
        model = demo.model / "model"
        config: dict[str, Any] = json.loads((model / "config.json").read_text(encoding="utf-8"))
        data = folder / f"data-{utterances + held_out}"
        if not data.is_dir():
            part = data.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            (part / "wavs").mkdir(parents=True)
            made = sentences(utterances + held_out, 3, f"{voice.CHARACTERS}{voice.PUNCTUATION}।")
            texts = {f"{number:04d}": text.replace("|", "।") for number, text in enumerate(made)}
            speech.speak(texts, part / "wavs")
            lines = [f"{name}|{text}|{text}\n" for name, text in texts.items()]
            (part / "metadata.csv").write_text("".join(lines), encoding="utf-8")
            part.replace(data)
        config["datasets"][0]["path"] = str(data)
        config |= {"eval_split_size": held_out, "eval_split_max_size": held_out, "run_eval": False}
        config["model_args"]["spec_segment_size"] = 8  # Of 32: the discriminator is what takes time.
        config |= {"save_step": 10**6, "save_best_after": 10**6, "print_step": 1000}
        return cls(folder, config, model / "model_file.pth")

    def arguments(self, name: str, changes: dict[str, Any], **control: Any) -> tuple[list[str], Path]:
        """Write the files of a training. Returns the host's arguments, and where its result will be.

        Args:
            name: of its folder.
            changes: Coqui's settings that differ.
            control: what the session asks of the host.
        """
        run = self.folder / "runs" / name
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
        config = self.config | changes | {"output_path": str(run / "out")}
        (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
        values = {"report": str(run / "report.json"), **control}
        (run / "control.json").write_text(json.dumps(values), encoding="utf-8")
        arguments = [str(run / "control.json"), str(_SCRIPT), "--config_path", str(run / "config.json")]
        return [*arguments, "--restore_path", str(self.checkpoint)], run / "result.json"

    def environment(self, result: Path, **asked: Any) -> dict[str, str]:
        """As the kernel gives it to a training, one thread for each rank."""
        paths = [str(ROOT), str(ROOT), str(standin_path(sys.executable) or ""), os.environ.get("PYTHONPATH")]
        return {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "TRAINER_TELEMETRY": "0",
            "OMP_NUM_THREADS": "1",
            # The host takes the first one away again; training.py imports from the repository.
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "NUMBA_CACHE_DIR": str(self.folder / "numba"),
            "KGTTS_SCALING": json.dumps({"result": str(result), **asked}),
        }

    def train(
        self,
        name: str,
        changes: dict[str, Any],
        *,
        ranks: int = 1,
        steps: int | None = None,
        before: tuple[str, ...] = (),
        **asked: Any,
    ) -> dict[str, Any]:
        """Train in processes of their own. Returns what rank 0 wrote.

        Args:
            name: of the training's folder.
            changes: Coqui's settings that differ.
            ranks: processes that train together.
            steps: after which to stop; None for all epochs.
            before: a command that runs the training's.
            asked: for training.py.

        Raises:
            SystemExit: the training failed.
        """
        arguments, result = self.arguments(name, changes, until_step=steps)
        program = ["kernel_template.host.launch", str(ranks)] if ranks > 1 else ["kernel_template.host"]
        done = subprocess.run(
            [*before, sys.executable, "-u", "-P", "-m", *program, *arguments],
            cwd=result.parent,
            env=self.environment(result, **asked),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not result.exists():
            raise SystemExit(f"{name} failed:\n{(done.stdout + done.stderr)[-3000:]}")
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        shutil.rmtree(result.parent)  # Its checkpoints are large.
        return found
