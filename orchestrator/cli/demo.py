"""`kgtts demo`: the whole loop on this machine, against the emulator, with a real small voice."""

import contextlib
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.context import Elsewhere, Interrupted, data_folder, workbench

if TYPE_CHECKING:
    from orchestrator.campaign import Collected
    from orchestrator.config import Settings

_SLUG = "bangla-voice-demo"
_EPOCHS = 2


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
    "--epochs", type=click.IntRange(2, 1000), default=_EPOCHS, show_default=True, help="How long to train."
)
def demo(folder: Path, epochs: int) -> None:
    """Rehearse everything on this machine: no account, no GPU, no quota.

    An emulator of Kaggle comes up on loopback; the kernel is rendered, pushed with the official client and
    followed; it really fine-tunes a small Bangla voice, and the results are pulled. Needs the extra `local`.
    """
    from orchestrator.cli.follow import follow_to_end  # noqa: PLC0415  # Start-up.
    from orchestrator.cli.transfer_display import Lines  # noqa: PLC0415  # As above.
    from orchestrator.emulator import Emulator  # noqa: PLC0415  # As above.
    from orchestrator.launch import launch  # noqa: PLC0415  # As above.
    from orchestrator.ports import SystemClock  # noqa: PLC0415  # As above.

    folder = folder.resolve()
    root = folder / "kaggle"
    with Emulator(root) as emulator:
        _say("emulator", f"Kaggle's wire at {emulator.url}, its data in {root}")
        _say("inputs", "a Bangla data set and a small base voice (made once, then kept)")
        settings = _settings(folder, emulator.credentials[0], epochs)
        service = Elsewhere(emulator.url, emulator.credentials, folder / "ledger.db")
        with workbench(service) as bench:
            _forget_last_demo(bench.kaggle, folder)
            launched = launch(settings, bench.kaggle, bench.ledger, SystemClock())
            _say("push", f"{launched.target.ref}, through the official client")
            try:
                follow_to_end(bench.campaign, launched.target)
            except Interrupted:
                raise Interrupted(
                    "Stopped; the demo's emulator ends with it, and so does the training.",
                    hint="`kgtts demo` starts it anew",
                ) from None
            _say("pull", f"to {folder / 'results'}")
            collected = bench.campaign.collect(launched.target, folder / "results", list, Lines())
            result = _write_result(
                folder, launched.target.record.run_id if launched.target.record else "", collected
            )
    _print_end(folder, result)


def _settings(folder: Path, owner: str, epochs: int) -> "Settings":
    """Make the inputs and the demo's own kgtts.toml."""
    from orchestrator.config import FILE_NAME, default_toml, load_settings  # noqa: PLC0415  # Start-up.
    from orchestrator.emulator.inputs import provide_demo_inputs  # noqa: PLC0415  # As above.
    from orchestrator.files import write_atomically  # noqa: PLC0415  # As above.

    inputs = provide_demo_inputs(folder / "kaggle", owner, cache=data_folder() / "cache")
    values = {
        "kernel.slug": _SLUG,
        "kernel.accelerator": "none",
        "kernel.internet": False,
        "inputs.dataset": inputs.dataset_source,
        "inputs.model": inputs.model_source,
        "training.batch_size": 2,
        "training.epochs": epochs,
        "training.time_limit": timedelta(minutes=20),
        "session.budget": timedelta(minutes=30),
        "session.grace": timedelta(minutes=1),
    }
    file = folder / FILE_NAME
    write_atomically(file, default_toml(values))
    return load_settings(file, environ={}, cwd=folder).settings


def _forget_last_demo(kaggle: Any, folder: Path) -> None:
    """Delete the kernel and the results of an earlier demo, so that each starts from nothing."""
    from orchestrator.errors import NotFoundError  # noqa: PLC0415  # Start-up.
    from orchestrator.models import KernelRef  # noqa: PLC0415  # As above.
    from orchestrator.transfer import INDEX_NAME  # noqa: PLC0415  # As above.

    with contextlib.suppress(NotFoundError):
        kaggle.delete(KernelRef(kaggle.username, _SLUG))
    results = folder / "results"
    if (results / INDEX_NAME).is_file():  # Only what an earlier pull made.
        shutil.rmtree(results)


def _write_result(folder: Path, run: str, collected: "Collected") -> dict[str, Any]:
    """Write `result.json`, a contract with other programs: paths are relative to the demo's folder."""
    from orchestrator.files import write_atomically  # noqa: PLC0415  # Start-up.

    state = json.loads((collected.folder / "state.json").read_text(encoding="utf-8"))
    results = collected.folder.relative_to(folder)
    result = {
        "run": run,
        "state": collected.status.state.value,
        "sessions": 1,
        "global_step": state["global_step"],
        "checkpoint": (results / state["checkpoint"]).as_posix(),
        "log": (results / "train_log.txt").as_posix(),
    }
    write_atomically(folder / "result.json", json.dumps(result, ensure_ascii=False, indent=2) + "\n")
    return result


def _print_end(folder: Path, result: dict[str, Any]) -> None:
    """Say where each result lies, how the losses moved, and what to type for the real Kaggle."""
    results = folder / "results"
    first, last = _mel_losses(results / "metrics.jsonl")
    click.echo()
    click.secho(f"Trained to step {result['global_step']}.", fg="green", bold=True, nl=False)
    click.echo(f" Mel loss: {first:.2f} in the first epoch, {last:.2f} in the last.")
    click.echo("An hour on a GPU makes a voice of it; these few steps only show that everything works.\n")
    for name, path in (
        ("checkpoint", folder / result["checkpoint"]),
        ("config", results / "config.json"),
        ("training log", results / "train_log.txt"),
        ("metrics", results / "metrics.jsonl"),
        ("samples", results / "validation_samples"),
        ("state", results / "state.json"),
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


def _mel_losses(metrics: Path) -> tuple[float, float]:
    epochs = [
        event["losses"]["loss_mel"]
        for line in metrics.read_text(encoding="utf-8").splitlines()
        if (event := json.loads(line))["event"] == "epoch" and "loss_mel" in event.get("losses", {})
    ]
    return (epochs[0], epochs[-1]) if epochs else (float("nan"), float("nan"))


def _say(step: str, text: str) -> None:
    click.echo(f"{click.style(f'{step:<10}', fg='cyan')} {text}")
