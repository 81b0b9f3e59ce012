"""Tell people what a pass did, if they asked for it; whatever fails is a warning."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.show.console import warn
from orchestrator.errors import KgttsError
from orchestrator.notify import MEMORY_FILE, Event, EventKind, Notifier, addresses_in, events_of
from orchestrator.notify.sending import ENVIRONMENT_VARIABLE
from orchestrator.results import Results
from orchestrator.run.look import Pass
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.metrics import Verdict


def addresses(settings: Settings) -> Sequence[str]:
    """Give the addresses in kgtts.toml and in the environment."""
    return addresses_in(settings.notify.to, os.environ.get(ENVIRONMENT_VARIABLE))


def tell(settings: Settings, done: Pass, verdict: "Verdict | None", now: datetime) -> bool:
    """Send the events of a pass, and warn of what could not be sent. Return whether anything was sent."""
    if not addresses(settings):
        return False
    # Imports the voice and the report, and few people are told anything.
    from orchestrator.notify.files import files_of  # noqa: PLC0415 - see above.

    results = Results(Path(settings.pull.to))
    try:
        files = files_of(results, done) if done.state.is_over and "done" in settings.notify.events else ()
    except KgttsError:
        files = ()
    return tell_events(settings, [*events_of(done, verdict, files)], now)


def tell_events(settings: Settings, events: Sequence[Event], now: datetime) -> bool:
    """Send events, and warn of what could not be sent. Return whether anything was sent."""
    to = addresses(settings)
    kinds = [EventKind(kind) for kind in settings.notify.events]
    told = Notifier(to, kinds, Path(settings.pull.to) / MEMORY_FILE).tell(events, now)
    for warning in told.warnings:
        warn(warning, err=True)
    return told.sent > 0
