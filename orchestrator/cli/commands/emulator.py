"""`kgtts emulator`, and `kgtts kaggle`: the stock client on the same service."""

import os
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.context import Interrupted, data_folder, duration_option

if TYPE_CHECKING:
    from orchestrator.emulator import Emulator


@click.command(short_help="Serve Kaggle's wire on this machine")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7788, show_default=True, help="0 takes a free one."
)
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kaggle-emulator"),
    show_default=True,
    help="Where kernels, sessions and inputs lie; they survive a restart.",
)
@click.option("--demo-inputs", is_flag=True, help="Put the demo's data set and base voice there.")
@duration_option("--session-limit", default="12h", help="The longest that a session may run.")
@duration_option("--weekly-quota", default="30h", help="GPU time of a week.")
@duration_option("--queue-delay", default="0s", help="How long a session stays queued.")
@duration_option(
    "--dataset-processing", default="0s", help="How long an uploaded dataset takes until it can be mounted."
)
@click.option(
    "--layout", type=click.Choice(["current", "classic"]), default="current", help="How inputs are mounted."
)
@click.option(
    "--sandbox",
    type=click.Choice(["auto", "namespace", "relocate"]),
    default="auto",
    help="Whether sessions see /kaggle itself (needs user namespaces) or a folder in its place.",
)
@click.option(
    "--lose-failed-outputs", is_flag=True, help="Drop the outputs of failed sessions, as Kaggle may."
)
@click.option(
    "--faults",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A plan (TOML or JSON) of what shall go wrong; see the README.",
)
def emulator(
    *,
    port: int,
    root: Path,
    demo_inputs: bool,
    session_limit: timedelta,
    weekly_quota: timedelta,
    queue_delay: timedelta,
    dataset_processing: timedelta,
    layout: str,
    sandbox: str,
    lose_failed_outputs: bool,
    faults: Path | None,
) -> None:
    """Serve Kaggle's wire on loopback and run pushed kernels on this machine, until Ctrl-C.

    Inputs are plain folders: ROOT/datasets/OWNER/SLUG/ and
    ROOT/models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION/. Needs the extra `local`.
    """
    from orchestrator.emulator import Emulator, EmulatorOptions  # noqa: PLC0415  # Start-up.
    from orchestrator.emulator.faults.plan import load_plan  # noqa: PLC0415  # Start-up.

    plan = None if faults is None else load_plan(faults)
    options = EmulatorOptions(
        session_limit_s=session_limit.total_seconds(),
        weekly_quota_s=weekly_quota.total_seconds(),
        queue_delay_s=queue_delay.total_seconds(),
        dataset_processing_s=dataset_processing.total_seconds(),
        layout="classic" if layout == "classic" else "current",
        sandbox="namespace" if sandbox == "namespace" else "relocate" if sandbox == "relocate" else "auto",
        keep_failed_outputs=not lose_failed_outputs,
    )
    server = Emulator(root, options=options, port=port)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        with server:
            if plan is not None:
                server.server.faults.set(plan)
            _announce(server, root, demo_inputs=demo_inputs)
            while not stop.wait(3600):
                pass
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped; running sessions are ended, and everything is kept.",
            hint=f"`kgtts emulator --root {root}` serves it again",
        ) from None
    click.echo("Stopped; running sessions were ended.")


def _announce(server: "Emulator", root: Path, *, demo_inputs: bool) -> None:
    """Fill in the demo's inputs where they are wanted, and say how to reach the service."""
    username, key = server.credentials
    if demo_inputs:
        from orchestrator.emulator.demo.inputs import provide_demo_inputs  # noqa: PLC0415  # Not always wanted.

        provide_demo_inputs(root, username, cache=data_folder() / "cache")
    click.echo(f"Kaggle's wire is served at {server.url}; its data is in {root}. Ctrl-C ends it.")
    click.echo(f"  export KGTTS_KAGGLE_URL={server.url}")
    click.echo(f"  export KAGGLE_USERNAME={username}")
    # A key of the person's own is known to them and must not be shown; one made here must.
    own = os.environ.get("KAGGLE_KEY") == key
    click.echo("  (KAGGLE_KEY as it is set here)" if own else f"  export KAGGLE_KEY={key}")
    click.echo("Then `kgtts doctor`, or the stock client: kgtts kaggle kernels list --mine")
    if plan := server.server.faults.plan.faults:
        click.echo(f"Faults in force: {', '.join(fault.what for fault in plan)}.")
    click.echo("Sessions that ask for a GPU stop at once where there is none: --set kernel.accelerator=none")


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    short_help="Run the official client on the same service",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kaggle(arguments: tuple[str, ...]) -> None:
    """Run the official `kaggle` command line on the service that kgtts uses.

    It has no setting for the address; this points it to KGTTS_KAGGLE_URL and changes nothing else.
    """
    from orchestrator.kaggle import run_stock_client  # noqa: PLC0415  # Start-up.

    run_stock_client(arguments)
