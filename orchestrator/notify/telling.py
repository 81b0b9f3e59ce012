"""Tell each event once."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator import untrusted
from orchestrator.errors import KgttsError, LocalError
from orchestrator.files import write_atomically
from orchestrator.notify.events import Event, EventKind
from orchestrator.notify.sending import Undelivered, send

MEMORY_FILE = ".kgtts-told"
_KEPT = 500  # Of what was told, the newest.
_OLD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Told:
    """What became of the events of a pass: how many messages were sent, and what to warn of."""

    sent: int = 0
    warnings: Sequence[str] = ()


class Notifier:
    """Tells events to addresses, each once to each.

    Args:
        addresses: where to; see `addresses_in`.
        kinds: which events.
        memory: the file that remembers what was told.
        deliver: sends one event to one address.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        kinds: Sequence[EventKind],
        memory: Path,
        deliver: Callable[[str, Event], Undelivered | None] = send,
    ) -> None:
        self._addresses, self._kinds, self._memory, self._deliver = addresses, kinds, memory, deliver

    def tell(self, events: Sequence[Event], now: datetime) -> Told:
        """Tell what was not told before; whatever fails is a warning, and told again by the next pass."""
        wanted = [event for event in events if event.kind in self._kinds]
        if not wanted or not self._addresses:
            return Told()
        known = self._read()
        told, sent = list(known or ()), 0
        warnings: list[str] = []
        for event in wanted:
            for address in self._addresses:
                mark = _mark(event, address)
                if mark in told:
                    continue
                if known is None and _is_old(event, now):
                    told.append(mark)
                    continue
                try:
                    failure = self._deliver(address, event)
                except LocalError as error:
                    return Told(sent, [f"{error.message} Next: {error.hint}"])
                if failure is not None:
                    warnings.append(f'"{event.title}" could not be sent: {failure}.')
                    continue
                told.append(mark)
                sent += 1
        if told != list(known or ()):
            try:
                write_atomically(self._memory, json.dumps(told[-_KEPT:], indent=0) + "\n")
            except KgttsError as error:
                warnings.append(f"{error.message} The next pass may tell the same again.")
        return Told(sent, warnings)

    def _read(self) -> list[str] | None:
        """What was told; None if nothing is remembered at all."""
        content = untrusted.read_bytes(self._memory)
        if content is None:
            return None
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            return None
        return [item for item in found if isinstance(item, str)] if isinstance(found, list) else None


def _mark(event: Event, address: str) -> str:
    """The event and the address, without the secrets in it."""
    return f"{event.key} {hashlib.sha256(address.encode()).hexdigest()[:12]}"


def _is_old(event: Event, now: datetime) -> bool:
    return event.happened is not None and now - event.happened > _OLD
