"""`kgtts train`: the run's next session on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import click

from kernel_template.contract import LOCAL
from orchestrator.cli.context import (
    complete_run,
    data_folder,
    load_to_train,
    on_interrupt,
    repeating,
    settings_options,
    workbench,
)
from orchestrator.cli.show.console import shown, warn
from orchestrator.cli.show.training import Shown, finish, run_session
from orchestrator.cli.show.transfer import Occasional
from orchestrator.errors import ServiceError
from orchestrator.files import home_folder
from orchestrator.kaggle.auth import NoLoginError, known_username
from orchestrator.locks import machine_lock
from orchestrator.places.beginning import Account, Beginning
from orchestrator.places.inputs import Wanted, newest_voice
from orchestrator.places.local import LocalPlace
from orchestrator.places.machine import check_system, count_gpus, describe_machine, find_python
from orchestrator.results import Results
from orchestrator.settings import Settings

_NO_OWNER = (
    "No Kaggle user is known. To be able to continue this run on Kaggle, stop now, set kernel.owner in "
    "kgtts.toml, and begin again with --new."
)


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path), help="What `kgtts data prepare` made. Default: data."
)
@click.option("--voice", metavar="NAME|FOLDER|ZIP|URL", help="The base voice, as `kgtts base add` takes it.")
@click.option(
    "--hours", type=click.FloatRange(0, min_open=True), help="Stop, save and end after so many hours."
)
@click.option("--python", metavar="PROGRAM", help="The Python that trains. Default: the one that runs kgtts.")
@click.option("--new", is_flag=True, help="Begin another run, even if there is one that is not done.")
@click.option(
    "--from",
    "source",
    metavar="RUN",
    help="With --new: begin with the best model of another run, whose results are here.",
    shell_complete=complete_run,
)
@click.option("--offline", is_flag=True, help="Do not look at Kaggle: go on from what is here.")
@settings_options
def train(
    *,
    data: Path | None,
    voice: str | None,
    hours: float | None,
    python: str | None,
    new: bool,
    source: str | None,
    offline: bool,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train on this machine: on all its NVIDIA GPUs, or its CPU.

    The first call begins the run that kgtts.toml describes; each later one goes on exactly where it stopped,
    also with a run that was begun on Kaggle. Ctrl-C saves and stops. Results lie in runs/, as if they had
    been pulled. Without --data and --voice, the dataset is that of `kgtts data prepare ... --to data`, and
    what is not here is downloaded from Kaggle, with a login.

    Needs the extra `train`: pip install "kgtts[train]", or in a clone of kgtts pip install ".[train]".
    """
    if source is not None and not new:
        raise click.UsageError("--from begins another run; give --new as well.")
    check_system()
    settings = load_to_train(config_path, overrides).settings
    results = Results(Path(settings.pull.to).absolute())
    if source is not None:
        named = newest_voice(results.find(source, settings.kernel.slug), source)
        overrides = (*overrides, f'inputs.voice_of="{named}"')
        settings = load_to_train(config_path, overrides).settings
    own, before = settings.train, Wanted.recall(results.to / settings.kernel.slug)
    wanted = Wanted(
        data or (Path(own.data) if own.data else before.data),
        voice or own.voice or before.voice,
        python or own.python or before.python,
    )
    turn = f"train {results.to / settings.kernel.slug}"
    with repeating(config_path, overrides), machine_lock(data_folder(), turn, timeout_s=0.5):
        program = find_python(wanted.python)
        with (
            on_interrupt("Stopped before the training began.", hint="`kgtts train` begins again"),
            _account(settings, offline=offline) as account,
        ):
            warning = partial(warn, err=True)
            home = data_folder()
            begin = Beginning(settings, results, overrides, account, home, Occasional, _say, warning)
            series = begin.find_run(new=new)
            if series.done is not None:
                click.echo(series.done)
                click.echo("Next: raise training.epochs to train on, or begin another run with --new")
                return
            if series.is_new and series.settings.kernel.owner == LOCAL:
                _say(_NO_OWNER)
            trees = begin.find_inputs(series, wanted)
            wanted.remember(results.to / settings.kernel.slug)
        gpus = _gpus(series.settings)
        place = LocalPlace(series, program, os.environ)
        machine = describe_machine(series.folder, gpus=gpus, hours=hours or own.hours or None)
        ended, stops = run_session(series, place, machine, trees)
        finish(Shown(series, results, ended, stops))


@contextmanager
def _account(settings: Settings, *, offline: bool) -> Iterator[Account]:
    known = settings.kernel.owner or ""
    with suppress(OSError, RuntimeError):
        known = known or known_username(os.environ, home_folder()) or ""
    if offline:
        yield Account(name=known)
        return
    bench = workbench(starts=True)
    try:
        opened = bench.__enter__()
    except NoLoginError:
        yield Account(name=known)
        return
    except ServiceError as error:
        yield Account(name=known, problem=error)
        return
    try:
        yield Account(opened, settings.kernel.owner or opened.kaggle.username)
    finally:
        bench.__exit__(None, None, None)


def _gpus(settings: Settings) -> int:
    """How many GPUs train: those of this machine, unless the settings want none."""
    if not settings.accelerator.has_gpu:
        return 0
    gpus = count_gpus(os.environ)
    if not gpus:
        warn("nvidia-smi shows no GPU here, so the CPU trains, which is many times slower.", err=True)
    return gpus


def _say(words: str) -> None:
    click.echo(shown(words), err=True)
