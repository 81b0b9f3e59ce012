"""`kgtts demo`: the whole loop on this machine, against the emulator, with a real small voice."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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
from orchestrator.cli.context import Elsewhere, Interrupted, Workbench, data_folder, workbench
from orchestrator.errors import RunFailedError

if TYPE_CHECKING:
    from orchestrator.run.campaign import Collected
    from orchestrator.run.passes import Pass
    from orchestrator.run.session import RunView
    from orchestrator.settings import Settings

_SLUG = "bangla-voice-demo"
_EPOCHS = 2
_FAR_EPOCHS = 500
_MOST_SESSIONS = 6
_ATTEMPTS = 3
_SHORTEST_LIMIT_S = 55


@click.command(short_help="Rehearse everything on this machine")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Where everything of the demo lies.",
)
@click.option(
    "--epochs", type=click.IntRange(1, 1000), default=_EPOCHS, show_default=True, help="How long to train."
)
def demo(folder: Path, epochs: int) -> None:
    """Rehearse everything on this machine: no account, no GPU, no quota.

    An emulator of Kaggle comes up on loopback; the kernel is rendered, pushed with the official client and
    followed; it really fine-tunes a small Bangla voice. The emulator's sessions are so short that the run
    needs a second one, which goes on where the first stopped. Needs the extra `local`.
    """
    folder = folder.resolve()
    limit = _session_limit()
    for _ in range(_ATTEMPTS):
        result = _attempt(folder, limit, epochs)
        if result is not None:
            _print_end(folder, result)
            return
        limit *= 2
        _say("again", f"this machine is busy: {limit.seconds} s for a session")
    raise RunFailedError(
        "The demo's sessions are too short for this machine as busy as it is.", hint="kgtts demo"
    )


def _attempt(folder: Path, limit: timedelta, epochs: int) -> dict[str, Any] | None:
    """One demo with sessions of at most `limit`; None where they are too short to train anything."""
    from orchestrator.cli.show.transfer_display import Lines  # noqa: PLC0415  # As above.
    from orchestrator.emulator import Emulator, EmulatorOptions  # noqa: PLC0415  # As above.
    from orchestrator.run.campaign import Target  # noqa: PLC0415  # Start-up.

    root = folder / "kaggle"
    options = EmulatorOptions(session_limit_s=2 * limit.total_seconds(), cache=_cache())
    with Emulator(root, options=options) as emulator:
        _say("emulator", f"Kaggle's wire at {emulator.url}, its data in {root}")
        _say("inputs", "a Bangla data set and a small base voice (made once, then kept)")
        values = _values(folder, emulator.credentials[0], limit)
        with workbench(Elsewhere(emulator.url, emulator.credentials, folder / "ledger.db")) as bench:
            _forget_last_demo(bench.kaggle, folder)
            try:
                # What comes after the first session ends by itself, and then has time to export the voice.
                later = {**_times(2 * limit), "voice.onnx": True}
                last = _train(bench, folder, values, epochs, later=later)
            except Interrupted:
                raise Interrupted(
                    "Stopped; the demo's emulator ends with it, and so does the training.",
                    hint="`kgtts demo` starts it anew",
                ) from None
            if last is None:
                return None
            _say("pull", f"to {folder / 'results'}")
            target = Target(last.newest.ref, None)
            collected = bench.campaign.collect(target, folder / "results", list, Lines())
            return _write_result(folder, last, collected)


def _cache() -> Path:
    """What all demos of this user share: the base voice and compiled code."""
    return data_folder() / "cache"


def _session_limit() -> timedelta:
    """How long a session of this demo may take: to start and train a little, by this machine's speed."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=False, capture_output=True)
    return timedelta(seconds=min(120, max(_SHORTEST_LIMIT_S, round(25 * (time.monotonic() - began)))))


def _values(folder: Path, owner: str, limit: timedelta) -> dict[str, object]:
    """Make the inputs, and the settings that the demo's own kgtts.toml has."""
    from orchestrator.emulator.demo.inputs import provide_demo_inputs  # noqa: PLC0415  # Start-up.

    inputs = provide_demo_inputs(folder / "kaggle", owner, cache=_cache())
    return {
        "kernel.slug": _SLUG,
        "kernel.accelerator": "none",
        "kernel.internet": False,
        "inputs.dataset": inputs.dataset_source,
        "inputs.model": inputs.model_source,
        "training.batch_size": 2,
        "voice.onnx": False,
        **_times(limit),
    }


def _times(limit: timedelta) -> dict[str, object]:
    """The settings that keep a session within `limit`."""
    grace = timedelta(seconds=5)
    budget = limit - timedelta(seconds=5)
    return {
        "training.time_limit": budget - grace,
        "session.budget": budget,
        "session.grace": grace,
    }


def _train(
    bench: Workbench, folder: Path, values: dict[str, object], epochs: int, *, later: dict[str, object]
) -> "RunView | None":
    """Pass after pass until the run is done; None where its sessions are too short to save anything.

    The first session gets a target far beyond its limit, so that it has to stop in time on any machine; what
    it reached, and `epochs` more, is the run's target from then on, with the settings `later`.
    """
    from orchestrator.cli.commands.sync import one_pass, raise_failure  # noqa: PLC0415  # As above.
    from orchestrator.cli.show.follow import follow_session  # noqa: PLC0415  # As above.
    from orchestrator.cli.show.live_background import Surroundings  # noqa: PLC0415  # As above.
    from orchestrator.cli.show.pass_words import print_pass  # noqa: PLC0415  # As above.
    from orchestrator.models import KernelRef  # noqa: PLC0415  # As above.
    from orchestrator.run.decide import RunState  # noqa: PLC0415  # Slow to import.
    from orchestrator.run.view import observe  # noqa: PLC0415  # As above.

    target = _FAR_EPOCHS
    for _ in range(_MOST_SESSIONS):
        done = one_pass(bench, _settings(folder, {**values, "training.epochs": target}), pull=False)
        print_pass(done)
        if done.state is RunState.STALLED or _was_too_short(done):
            return None
        raise_failure(done)
        if done.launched is None:
            return done.view
        started = done.launched.target
        around = Surroundings(bench.kaggle, started.ref)
        follow_session(bench.campaign, started, surroundings=around)
        view = observe(bench.kaggle, KernelRef(bench.kaggle.username, _SLUG))
        if target == _FAR_EPOCHS and view is not None and view.resumable is not None:
            # Two at least, so that there is a first and a last epoch to compare.
            target = max(2, max(summary.to_epoch for summary in view.history) + epochs)
            values = {**values, **later}
            _say("target", f"{target} epochs from now on: the first session's, and some more")
    return None


def _was_too_short(done: "Pass") -> bool:
    """Whether the newest session ended at its limit before its first checkpoint."""
    result = done.view.newest.result if done.view is not None else None
    return result is not None and result.status == Status.FAILED and result.reason == EndReason.TIME_LIMIT


def _settings(folder: Path, values: dict[str, object]) -> "Settings":
    """Write the demo's kgtts.toml and read it as any other."""
    from orchestrator.files import write_atomically  # noqa: PLC0415  # As above.
    from orchestrator.settings import FILE_NAME, default_toml, load_settings  # noqa: PLC0415  # Start-up.

    file = folder / FILE_NAME
    write_atomically(file, default_toml(values))
    return load_settings(file, environ={}, cwd=folder).settings


def _forget_last_demo(kaggle: Any, folder: Path) -> None:
    """Delete the kernel and the results of an earlier demo, so that each starts from nothing."""
    from orchestrator.download import INDEX_NAME  # noqa: PLC0415  # As above.
    from orchestrator.errors import NotFoundError  # noqa: PLC0415  # As above.
    from orchestrator.models import KernelRef  # noqa: PLC0415  # As above.

    for kernel in KernelRef(kaggle.username, _SLUG).siblings:
        with contextlib.suppress(NotFoundError):
            kaggle.delete(kernel)
    results = folder / "results"
    if (results / INDEX_NAME).is_file():  # Only what an earlier pull made.
        shutil.rmtree(results)


def _write_result(folder: Path, view: "RunView", collected: "Collected") -> dict[str, Any]:
    """Write `result.json`, a contract with other programs: paths are relative to the demo's folder."""
    from orchestrator.files import write_atomically  # noqa: PLC0415  # Start-up.

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


def _print_end(folder: Path, result: dict[str, Any]) -> None:
    """Say where each result lies, how the losses moved, and what to type for the real Kaggle."""
    results = folder / "results"
    report, speech = _write_report(folder), _speak(folder)
    first, last = _mel_losses(results / METRICS_FILE)
    click.echo()
    click.secho(f"Trained to step {result['global_step']}.", fg="green", bold=True, nl=False)
    click.echo(f" Mel loss: {first:.2f} in the first epoch, {last:.2f} in the last.")
    click.echo("An hour on a GPU makes a voice of it; these few steps only show that everything works.\n")
    for name, path in (
        ("checkpoint", folder / result["checkpoint"]),
        ("config", results / CONFIG_FILE),
        ("training log", results / TRAINING_LOG),
        ("metrics", results / METRICS_FILE),
        ("samples", results / SAMPLES_FOLDER),
        ("state", results / STATE_FILE),
        ("report", report),
        ("speech", speech),
        ("all of it", folder / "result.json"),
    ):
        there = "" if path.exists() else "  (missing)"
        click.echo(f"  {name:<13} {path}{there}")
    click.echo("\nFor the real Kaggle:")
    for command, what in (
        ("kgtts init", "writes kgtts.toml; set your data set and base voice in it"),
        ("export KAGGLE_API_TOKEN=…", "from https://www.kaggle.com/settings/api"),
        ("kgtts doctor", "checks inputs, credentials and quota"),
        ("kgtts push --wait", "trains"),
        ("kgtts pull", "brings the voice home"),
    ):
        click.echo(f"  {click.style(f'{command:<26}', bold=True)} {what}")


def _write_report(folder: Path) -> Path:
    """Write the run's report, with the data set's recordings in it; gives its place, written or not."""
    from orchestrator.emulator.demo.inputs import DATASET  # noqa: PLC0415  # Start-up.
    from orchestrator.errors import LocalError  # noqa: PLC0415  # As above.
    from orchestrator.report import read_report, write_report  # noqa: PLC0415  # As above.

    path = folder / "report.html"
    recordings = next((folder / "kaggle" / "datasets").glob(f"*/{DATASET}"), None)
    try:
        write_report(read_report(folder / "results", recordings=recordings), path)
    except LocalError as error:  # The demo has done its work without it.
        click.secho(f"{error.message} {error.hint or ''}", fg="yellow", err=True)
    return path


def _speak(folder: Path) -> Path:
    """Let the exported voice say a sentence, without torch; gives the sound's place, written or not."""
    from orchestrator.cli.commands.say import speak_to  # noqa: PLC0415  # Start-up.
    from orchestrator.emulator.demo.voice import TEST_SENTENCES  # noqa: PLC0415  # As above.
    from orchestrator.errors import KgttsError  # noqa: PLC0415  # As above.

    path = folder / "speech.wav"
    path.unlink(missing_ok=True)
    try:
        speak_to(folder / "results" / VOICE_FOLDER / VOICE_CARD, TEST_SENTENCES[0], path)
        _say("say", f"“{TEST_SENTENCES[0]}”")
    except KgttsError as error:  # The demo has done its work without it.
        click.secho(f"{error.message} {error.hint or ''}", fg="yellow", err=True)
    return path


def _mel_losses(metrics: Path) -> tuple[float, float]:
    epochs = [
        event["losses"]["loss_mel"]
        for line in metrics.read_text(encoding="utf-8").splitlines()
        if (event := json.loads(line))["event"] == EventName.EPOCH and "loss_mel" in event.get("losses", {})
    ]
    return (epochs[0], epochs[-1]) if epochs else (float("nan"), float("nan"))


def _say(step: str, text: str) -> None:
    click.echo(f"{click.style(f'{step:<10}', fg='cyan')} {text}")
