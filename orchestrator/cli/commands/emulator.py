"""`kgtts emulator`: serve Kaggle's interface on this machine."""

import os
import signal
import threading
from datetime import timedelta
from pathlib import Path

import click

from orchestrator.cli.context import data_folder, duration_option, on_interrupt
from orchestrator.emulator import Emulator, EmulatorOptions, conceal_environment
from orchestrator.emulator.demo.inputs import provide_demo_inputs
from orchestrator.emulator.faults.plan import load_plan
from orchestrator.emulator.options import ABSENT, MOUNT_LAYOUTS, SANDBOXES


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7788,
    show_default=True,
    help="The port on this machine; 0 takes any free one.",
)
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kaggle-emulator"),
    show_default=True,
    help="The folder for kernels, sessions and inputs; it survives a restart.",
)
@click.option("--demo-inputs", is_flag=True, help="Put the demo's dataset and base voice there.")
@duration_option("--session-limit", default="12h", help="How long a session may run at most.")
@duration_option("--weekly-quota", default="30h", help="The GPU time of a week.")
@duration_option("--queue-delay", default="0s", help="How long a session stays queued.")
@duration_option(
    "--dataset-processing",
    default="0s",
    help="How long an uploaded dataset or model takes until it can be mounted.",
)
@click.option(
    "--version-while-processing", is_flag=True, help="Accept another version while one is processed."
)
@click.option(
    "--layout",
    type=click.Choice(list(MOUNT_LAYOUTS)),
    default="current",
    show_default=True,
    help="Which of Kaggle's folder layouts inputs are mounted in.",
)
@click.option(
    "--sandbox",
    type=click.Choice(SANDBOXES),
    default="auto",
    show_default=True,
    help="namespace: sessions see a real /kaggle (Linux only). relocate: a folder stands for it.",
)
@click.option(
    "--lose-failed-outputs", is_flag=True, help="Drop the outputs of failed sessions, as Kaggle may."
)
@click.option("--crash-is-complete", is_flag=True, help="A script that fails ends as COMPLETE, not as ERROR.")
@click.option(
    "--keep-deleted-names", is_flag=True, help="Refuse a push under the name of a kernel that was deleted."
)
@click.option(
    "--refused-leaves-nothing",
    is_flag=True,
    help="A kernel's first push that a limit refuses leaves no half-made kernel, and can be repeated.",
)
@duration_option("--saving", default="0s", help="How long the outputs of an ended session take to be saved.")
@click.option(
    "--flat-errors", is_flag=True, help="Write errors as www.kaggle.com does, not as api.kaggle.com."
)
@click.option(
    "--absent",
    type=click.Choice([str(status) for status in ABSENT]),
    default=str(ABSENT[0]),
    show_default=True,
    help="The answer for a kernel, dataset or model that does not exist.",
)
@click.option(
    "--never-run-is-new-script", is_flag=True, help="Give a version that never ran a state, instead of a 404."
)
@click.option(
    "--status-refuses-version",
    is_flag=True,
    help="Tell only the status of a kernel's newest session; a version is a 400.",
)
@click.option(
    "--legacy-key-may-cancel", is_flag=True, help="Let a username with a key stop sessions (kgtts stop)."
)
@click.option("--write-queued", is_flag=True, help="Write out the state QUEUED, which is left out otherwise.")
@click.option("--no-phone", is_flag=True, help="Refuse internet and GPUs: the phone is not verified.")
@click.option(
    "--faults",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A plan (TOML or JSON) of what is to go wrong; the docs describe it.",
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
    version_while_processing: bool,
    layout: str,
    sandbox: str,
    lose_failed_outputs: bool,
    crash_is_complete: bool,
    keep_deleted_names: bool,
    refused_leaves_nothing: bool,
    saving: timedelta,
    flat_errors: bool,
    absent: str,
    never_run_is_new_script: bool,
    status_refuses_version: bool,
    legacy_key_may_cancel: bool,
    write_queued: bool,
    no_phone: bool,
    faults: Path | None,
) -> None:
    """Serve Kaggle's interface on this machine and run pushed kernels here, until Ctrl-C.

    Inputs are plain folders: ROOT/datasets/OWNER/SLUG/ and
    ROOT/models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION/.

    Needs the extra `local`: in a clone of kgtts, pip install ".[local]" --constraint constraints.txt.
    """
    plan = None if faults is None else load_plan(faults)
    options = EmulatorOptions(
        session_limit_s=session_limit.total_seconds(),
        weekly_quota_s=weekly_quota.total_seconds(),
        queue_delay_s=queue_delay.total_seconds(),
        dataset_processing_s=dataset_processing.total_seconds(),
        version_while_processing=version_while_processing,
        layout=layout,
        sandbox=sandbox,
        keep_failed_outputs=not lose_failed_outputs,
        crash_is_complete=crash_is_complete,
        keep_deleted_names=keep_deleted_names,
        refused_leaves_shell=not refused_leaves_nothing,
        saving_s=saving.total_seconds(),
        nested_errors=not flat_errors,
        absent=int(absent),
        never_run_is_new_script=never_run_is_new_script,
        status_by_version=not status_refuses_version,
        legacy_key_may_cancel=legacy_key_may_cancel,
        omit_queued=not write_queued,
        phone_verified=not no_phone,
    )
    conceal_environment()
    stop, interrupted = threading.Event(), threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()  # The exception alone is lost if it is raised where Python ignores exceptions.
        stop.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, interrupt)
    with on_interrupt(
        "Stopped; running sessions have ended, and everything is kept.",
        hint=f"`kgtts emulator --root {root}` serves it again",
    ):
        with Emulator(root, options=options, port=port) as server:
            if plan is not None:
                server.server.faults.set(plan)
            if demo_inputs:
                provide_demo_inputs(root, server.credentials[0], cache=data_folder() / "cache", speaking=True)
            _announce(server, root)
            while not stop.wait(1):  # Not longer: a signal just before a wait is seen only after it.
                pass
            if interrupted.is_set():
                raise KeyboardInterrupt
        click.echo("Stopped; running sessions have ended.")


def _announce(server: Emulator, root: Path) -> None:
    """Print how to reach the service."""
    username, key = server.credentials
    click.echo(f"Kaggle's interface is served at {server.url}; its data is in {root}. Ctrl-C ends it.")
    click.echo(f"  export KGTTS_KAGGLE_URL={server.url}")
    click.echo(f"  export KAGGLE_USERNAME={username}")
    # A key that the user set is theirs and must not be shown; one made here must be.
    own = os.environ.get("KAGGLE_KEY") == key
    click.echo("  (KAGGLE_KEY as it is set here)" if own else f"  export KAGGLE_KEY={key}")
    click.echo("Then run `kgtts doctor`, or the official client: kgtts kaggle kernels list --mine")
    if plan := server.server.faults.plan.faults:
        click.echo(f"Faults in force: {', '.join(fault.what for fault in plan)}.")
    click.echo("Without a GPU here, sessions need --set kernel.accelerator=none, or they stop at once.")
