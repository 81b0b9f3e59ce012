"""Tells people what became of a run, through the services that apprise knows: Telegram, ntfy, Discord, mail.

Each event is told once. That a session ended and the next began is told by the pass that pushed the next:
what a pass did itself needs no memory. A run that is over, and a wait for quota, are found by every later
pass, so what was told is remembered in a file beside the results, which the Action keeps in its cache. The
ledger would not do: a machine that lives for one pass has a new one. Where nothing at all is remembered, an
end of more than a day ago counts as told.

What goes along is chosen in `files`, which is not imported here: it needs the voice and the report.
"""

from orchestrator.notify.events import Event, EventKind, events_of
from orchestrator.notify.sending import Undelivered, addresses_in, send
from orchestrator.notify.telling import MEMORY_FILE, Notifier, Told

__all__ = [
    "MEMORY_FILE",
    "Event",
    "EventKind",
    "Notifier",
    "Told",
    "Undelivered",
    "addresses_in",
    "events_of",
    "send",
]
