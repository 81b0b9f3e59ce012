"""The demo: a whole run on this machine, against the emulator, with a real small voice.

The emulator's sessions are so short that the run needs a second one, which continues where the first stopped.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from kernel_template.contract import (
    CONFIG_FILE,
    METRICS_FILE,
    SAMPLES_FOLDER,
    STATE_FILE,
    TRAINING_LOG,
    VOICE_CARD,
    VOICE_FOLDER,
    EndReason,
    EventName,
    Status,
)
from orchestrator.download import TransferListener
from orchestrator.emulator.demo.inputs import DATASET, provide_demo_inputs
from orchestrator.emulator.demo.voice import TEST_SENTENCES
from orchestrator.emulator.emulator import Emulator
from orchestrator.emulator.options import EmulatorOptions
from orchestrator.errors import RunFailedError, UsageError
from orchestrator.files import write_atomically
from orchestrator.kaggle import URL_VARIABLE
from orchestrator.models import KernelRef
from orchestrator.ports import Kaggle
from orchestrator.report import read_report, write_report
from orchestrator.results import SessionFolder, pulled_sessions
from orchestrator.run.collect import Collected, collect
from orchestrator.run.context import RunContext, Target, open_context
from orchestrator.run.decide import RunState
from orchestrator.run.look import Pass, look
from orchestrator.run.view import RunView
from orchestrator.run.watch import Passes, Viewer, failure_of
from orchestrator.settings import FILE_NAME, Settings, default_toml, load_settings
from orchestrator.untrusted import read_bytes
from orchestrator.voice import load_card, open_voice
from orchestrator.voice.facts import read_facts
from orchestrator.voice.package import write_package
from orchestrator.voice.packaging import VoiceDetails, package_contents
from orchestrator.voice.speech import speak

_SLUG = "bangla-voice-demo"
_TOLD = ("result.json", "report.html", "speech.wav", "voice.zip")
_MADE = ("kaggle", "results", "ledger.db", *_TOLD)
_FAR_EPOCHS = 500  # More than the first session can train.
_MOST_SESSIONS = 6
_LATER = 4  # Times the first session's limit.
_ATTEMPTS = 3
_SHORTEST_LIMIT_S = 55


class DemoDisplay(Protocol):
    """Shows the demo as it goes."""

    def step(self, name: str, text: str) -> None:
        """Show that a step of the demo begins, or is done."""
        ...

    def viewer(self, context: RunContext) -> Viewer:
        """Return what shows passes and sessions."""
        ...

    def listener(self) -> AbstractContextManager[TransferListener]:
        """Return what shows the download."""
        ...


@dataclass(frozen=True, slots=True)
class Demo:
    """A finished demo.

    Attributes:
        folder: the folder of all that it made.
        result: the content of `result.json`.
        losses: the mel loss of the first and the last epoch; NaN if there is none.
    """

    folder: Path
    result: dict[str, Any]
    losses: tuple[float, float]

    @property
    def places(self) -> dict[str, Path]:
        """The path of each result, by what it is; the file may be missing."""
        results = self.folder / "results"
        return {
            "checkpoint": self.folder / self.result["checkpoint"],
            "config": results / CONFIG_FILE,
            "training log": results / TRAINING_LOG,
            "metrics": results / METRICS_FILE,
            "samples": results / SAMPLES_FOLDER,
            "state": results / STATE_FILE,
            "report": self.folder / "report.html",
            "speech": self.folder / "speech.wav",
            "package": self.folder / "voice.zip",
            "all of it": self.folder / "result.json",
        }


def rehearse(folder: Path, home: Path, epochs: int, stage: DemoDisplay) -> Demo:
    """Train a small voice through the whole chain: push, follow, continue, download.

    Args:
        folder: the folder for all that it makes; an earlier demo there is replaced.
        home: kgtts's own folder on this machine; what all demos share is kept in it.
        epochs: how long to train, beyond what the first session reaches.
        stage: shows it.

    Raises:
        UsageError: the folder holds something that no demo made.
        RunFailedError: this machine is too busy for sessions so short, or the training failed.
        KgttsError: as for any run.
    """
    _check_folder(folder)
    for name in _TOLD:  # Of an earlier demo: they would be taken for this one's if it is interrupted.
        (folder / name).unlink(missing_ok=True)
    _settings(folder, {"kernel.slug": _SLUG})  # From now on the folder is known as a demo's.
    limit = _session_limit()
    for _ in range(_ATTEMPTS):
        demo = _attempt(folder, home, limit, epochs, stage)
        if demo is not None:
            return demo
        limit *= 2
        stage.step("again", f"this machine is busy: {limit.seconds} s for a session")
    raise RunFailedError(
        "The demo's sessions are too short for this machine while it is so busy.",
        hint="try `kgtts demo` again when other programs have ended",
    )


def _check_folder(folder: Path) -> None:
    """See that nothing but an earlier demo would be replaced.

    Raises:
        UsageError: the folder has a kgtts.toml of another run, or results that no demo made.
    """
    settings = folder / FILE_NAME
    if settings.exists():
        if f'slug = "{_SLUG}"' in (read_bytes(settings) or b"").decode("utf-8", "replace").splitlines():
            return
        taken = settings
    else:
        found = [folder / name for name in _MADE if (folder / name).exists()]
        if not found:
            return
        taken = found[0]
    raise UsageError(
        f"{taken} was not made by a demo, and a demo would replace it.",
        hint="give a new folder: kgtts demo --dir DIR",
    )


def _attempt(folder: Path, home: Path, limit: timedelta, epochs: int, stage: DemoDisplay) -> Demo | None:
    """Make one demo with sessions of at most `limit`; None if they are too short to train anything."""
    root, cache = folder / "kaggle", home / "cache"
    options = EmulatorOptions(session_limit_s=_LATER * limit.total_seconds(), cache=cache)
    with Emulator(root, options=options) as emulator:
        stage.step("emulator", f"Kaggle's interface at {emulator.url}, its data in {root}")
        stage.step("inputs", "a woman's recordings and a base voice that speaks as a man (made once)")
        inputs = provide_demo_inputs(root, emulator.credentials[0], cache=cache, speaking=True)
        values: dict[str, object] = {
            "kernel.slug": _SLUG,
            "kernel.accelerator": "none",
            "kernel.internet": False,
            "inputs.dataset": inputs.dataset_source,
            "inputs.model": inputs.model_source,
            "training.batch_size": 2,
            "voice.onnx": False,
            "samples.enabled": False,
            "scores.enabled": False,
            **_times(limit),
        }
        environ = {**os.environ, URL_VARIABLE: emulator.url}
        with open_context(environ, folder / "ledger.db", login=emulator.credentials) as context:
            _forget_last_demo(context.kaggle, folder)
            # What comes after the first session ends by itself. It has time to export the voice and to speak
            # with the base voice too, and to measure both, also if other programs keep this machine busy.
            scores = {"scores.enabled": True, "scores.share": 0.3, "scores.packages": []}
            later = {**_times(_LATER * limit), "voice.onnx": True, "samples.enabled": True, **scores}
            run = _Training(context, folder, stage).train(values, epochs, later)
            if run is None:
                return None
            stage.step("pull", f"to {folder / 'results'}")
            target = Target(run.newest.ref, None)
            with stage.listener() as listener:
                collected = collect(context, target, folder / "results", list, listener)
            return Demo(folder, _write_result(folder, run, collected), _mel_losses(folder / "results"))


def _session_limit() -> timedelta:
    """Return a time limit for sessions: enough to start and train a little at this machine's speed."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=False, capture_output=True)
    return timedelta(seconds=min(120, max(_SHORTEST_LIMIT_S, round(25 * (time.monotonic() - began)))))


def _times(limit: timedelta) -> dict[str, object]:
    """Return the settings that keep a session within `limit`."""
    grace = timedelta(seconds=5)
    budget = limit - timedelta(seconds=5)
    return {
        "training.time_limit": budget - grace,
        "session.budget": budget,
        "session.grace": grace,
    }


@dataclass(frozen=True, slots=True)
class _Training:
    """Pass after pass of the demo's run."""

    context: RunContext
    folder: Path
    stage: DemoDisplay

    def train(self, values: dict[str, object], epochs: int, later: dict[str, object]) -> RunView | None:
        """Train until the run is done; None if its sessions are too short to save anything.

        The first session gets a target far beyond its limit, so that it has to stop in time on any machine.
        What it reached, and `epochs` more, is the run's target from then on, with the settings `later`.
        """
        viewer, target = self.stage.viewer(self.context), _FAR_EPOCHS
        self.stage.step(
            "target",
            f"{target} epochs for now, so that the first session has to stop in time; forecasts are about "
            f"these {target} until the demo lowers the target",
        )
        for _ in range(_MOST_SESSIONS):
            settings = _settings(self.folder, {**values, "training.epochs": target})
            done = Passes(settings, self.context).make()
            viewer.passed(done)
            if done.state is RunState.STALLED or _was_too_short(done):
                return None
            if (failure := failure_of(done)) is not None:
                raise failure
            if done.pushed is None:
                return done.view
            viewer.follow(done.pushed.target, None)
            view = look(settings.with_owner(self.context.kaggle.username), self.context).view
            if target == _FAR_EPOCHS and view is not None and view.resumable is not None:
                # Two at least, so that there is a first and a last epoch to compare.
                target = max(2, max(summary.to_epoch for summary in view.history) + epochs)
                values = {**values, **later}
                self.stage.step("target", f"{target} epochs from now on: the first session's and some more")
        return None


def _was_too_short(done: Pass) -> bool:
    """Whether the newest session ended at its limit before its first checkpoint."""
    result = done.view.newest.result if done.view is not None else None
    return result is not None and result.status == Status.FAILED and result.reason == EndReason.TIME_LIMIT


def _settings(folder: Path, values: dict[str, object]) -> Settings:
    """Write the demo's kgtts.toml and load it as any other."""
    file = folder / FILE_NAME
    write_atomically(file, default_toml(values))
    return load_settings(file, environ={}, cwd=folder).settings


def _forget_last_demo(kaggle: Kaggle, folder: Path) -> None:
    """Delete the kernels and the results of an earlier demo, so that each starts from nothing."""
    listed = {item.ref for item in kaggle.my_kernels()}
    for kernel in KernelRef(kaggle.username, _SLUG).siblings:
        if kernel in listed:
            kaggle.delete(kernel)
    results = folder / "results"
    if SessionFolder(results).has_outputs:  # Only what an earlier download made.
        shutil.rmtree(results)


def _write_result(folder: Path, view: RunView, collected: Collected) -> dict[str, Any]:
    """Write `result.json`, a contract with other programs: paths are relative to the demo's folder."""
    state = json.loads((collected.folder / STATE_FILE).read_text(encoding="utf-8"))
    results = collected.folder.relative_to(folder)
    result = {
        "run": view.run_id,
        "state": collected.status.state.value,
        "sessions": view.newest.stamp.session,
        "global_step": state["global_step"],
        "checkpoint": (results / state["checkpoint"]).as_posix(),
        "log": (results / TRAINING_LOG).as_posix(),
    }
    write_atomically(folder / "result.json", json.dumps(result, ensure_ascii=False, indent=2) + "\n")
    return result


def _mel_losses(results: Path) -> tuple[float, float]:
    epochs = [
        event["losses"]["loss_mel"]
        for line in (results / METRICS_FILE).read_text(encoding="utf-8").splitlines()
        if (event := json.loads(line))["event"] == EventName.EPOCH and "loss_mel" in event.get("losses", {})
    ]
    return (epochs[0], epochs[-1]) if epochs else (float("nan"), float("nan"))


def write_demo_report(demo: Demo) -> Path:
    """Write the run's report, with the dataset's recordings in it.

    Raises:
        LocalError: plotly is missing, or the file cannot be written.
    """
    recordings = next((demo.folder / "kaggle" / "datasets").glob(f"*/{DATASET}"), None)
    path = demo.places["report"]
    write_report(read_report(demo.folder / "results", recordings=recordings), path)
    return path


def speak_demo(demo: Demo) -> str:
    """Let the exported voice speak a sentence into a WAV file, without torch; return the sentence.

    Raises:
        KgttsError: as `orchestrator.voice`.
    """
    path = demo.places["speech"]
    path.unlink(missing_ok=True)
    speak(open_voice(demo.folder / "results" / VOICE_FOLDER / VOICE_CARD), TEST_SENTENCES[0], path)
    return TEST_SENTENCES[0]


def package_demo(demo: Demo) -> Path:
    """Make a package of the exported voice, which sherpa-onnx and Piper take; return its place.

    Raises:
        KgttsError: as `orchestrator.voice.packaging`.
    """
    results, out = demo.folder / "results", demo.places["package"]
    place = results / VOICE_FOLDER / VOICE_CARD
    facts = read_facts(pulled_sessions(results), load_card(place).global_step, {})
    write_package(out, package_contents(place, facts, VoiceDetails("kgtts demo")).files)
    return out
