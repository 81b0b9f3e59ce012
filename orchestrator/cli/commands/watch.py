"""`kgtts watch`: follow a run from session to session to its end."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import click

from orchestrator.cli.context import (
    Interrupted,
    duration_option,
    load_to_train,
    on_interrupt,
    repeating,
    settings_options,
    workbench,
)
from orchestrator.cli.show.follow import Screen
from orchestrator.cli.show.transfer import Silent
from orchestrator.errors import WaitTimeoutError
from orchestrator.run.watch import Passes
from orchestrator.run.watch import watch as watch_run

_COME_BACK = "`kgtts watch` comes back to the run"


@click.command()
@duration_option("--timeout", help="Watch at most this long, for example 90m. The run continues.")
@click.option("--no-pull", is_flag=True, help="Do not download results.")
@settings_options
def watch(
    *, timeout: timedelta | None, no_pull: bool, config_path: Path | None, overrides: tuple[str, ...]
) -> None:
    """Follow a run from session to session until it is over.

    It starts each session when it is time, as `kgtts sync` would, downloads each one's results, and waits
    while the week's GPU hours are used up. Ctrl-C leaves the run alone; start it again to come back.
    """
    settings = load_to_train(config_path, overrides).settings
    with repeating(config_path, overrides), workbench(starts=True) as bench, way_back():
        listener = None if no_pull else Silent()
        passes = Passes(settings, bench, listener, overrides)
        screen = Screen(bench, tells=settings)
        watch_run(passes, screen, timeout=timeout)
        screen.check()


@contextmanager
def way_back() -> Iterator[None]:
    """On an interrupt or a timeout, say how to come back to the whole run, not just to its session."""
    try:
        with on_interrupt("Stopped between two sessions; what was done is on Kaggle.", hint=_COME_BACK):
            yield
    except (Interrupted, WaitTimeoutError) as left:
        raise type(left)(left.message, hint=_COME_BACK) from None
