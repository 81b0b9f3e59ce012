"""Send an event through apprise (https://github.com/caronc/apprise), which knows some hundred services."""

import importlib
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import LocalError, UsageError
from orchestrator.notify.events import Event, EventKind
from orchestrator.scrubbing import Scrubber, learn, scrub
from orchestrator.untrusted import terminal_line

ENVIRONMENT_VARIABLE = "KGTTS_NOTIFY"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?=://)")
_PARTS = re.compile(r"[/:@?&=,]+")
_LARGEST_FILE = 8_000_000  # Bytes: Discord takes 10 MB of a message, mail servers often as little.
_KINDS = {EventKind.DONE: "success", EventKind.FAILED: "failure", EventKind.QUOTA: "warning"}


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A service that did not take an event: its kind, such as `tgram`, and why, without its address."""

    service: str
    why: str

    def __str__(self) -> str:
        return f"{self.service}: {self.why}"


def addresses_in(configured: Sequence[str], variable: str | None) -> tuple[str, ...]:
    """All addresses, each once: those of kgtts.toml and those in KGTTS_NOTIFY, separated by white space.

    No message shows them from now on.
    """
    found = tuple(dict.fromkeys([*configured, *(variable or "").split()]))
    for address in found:
        learn(address)
    return found


def service_of(address: str) -> str:
    """The kind of service that an address names, such as `tgram`; nothing else of it."""
    found = _SCHEME.match(address)
    return found[0].lower() if found else "an address without ://"


def check_address(address: str) -> None:
    """See that apprise understands an address; nothing is sent.

    Raises:
        UsageError: it does not.
        LocalError: apprise is not installed.
    """
    with _heard(address):
        service = _apprise().Apprise.instantiate(address, suppress_exceptions=True)
    if service is None:
        raise UsageError(
            f"{service_of(address)}: apprise does not understand the address.",
            hint="compare it with https://appriseit.com/services/",
        )


def send(address: str, event: Event) -> Undelivered | None:
    """Send an event to one address. Returns why that failed; None if the service took it.

    Files that are small enough go with it, unless the service refuses them.

    Raises:
        LocalError: apprise is not installed.
    """
    service = _apprise().Apprise()
    with _heard(address) as heard:
        try:
            if not service.add(address):
                return Undelivered(service_of(address), "apprise does not understand the address")
            message = {
                "title": event.title,
                "body": event.text,
                "notify_type": _KINDS.get(event.kind, "info"),
            }
            files = [str(file) for file in event.files if _is_small(file)]
            if files and service.notify(**message, attach=files):
                return None
            if service.notify(**message):
                return None
        except Exception as error:  # noqa: BLE001 - one of a hundred services; a pass must not end by it.
            return Undelivered(service_of(address), type(error).__name__)
    return Undelivered(service_of(address), heard.last or "it did not take the message")


def _apprise() -> Any:
    try:
        return importlib.import_module("apprise")
    except ImportError:
        raise LocalError("Notifications need the extra notify.", hint='pip install "kgtts[notify]"') from None


def _is_small(file: Path) -> bool:
    return file.is_file() and file.stat().st_size <= _LARGEST_FILE


@contextmanager
def _heard(address: str) -> Iterator["_Heard"]:
    """Hear what apprise logs meanwhile, and let nobody else hear it: it holds the address."""
    heard, logger = _Heard(address), logging.getLogger("apprise")
    before = logger.propagate
    logger.addHandler(heard)
    logger.propagate = False
    try:
        yield heard
    finally:
        logger.removeHandler(heard)
        logger.propagate = before


class _Heard(logging.Handler):
    """Keeps the last warning, without any part of the address: a part may be an ordinary word elsewhere."""

    def __init__(self, address: str) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self._secrets = Scrubber()
        for piece in _PARTS.split(address.partition("://")[2]):
            self._secrets.learn(piece)

    def emit(self, record: logging.LogRecord) -> None:
        self.last = terminal_line(self._secrets.scrub(scrub(record.getMessage()))).rstrip(".")
