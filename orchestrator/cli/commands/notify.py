"""`kgtts notify`: who is told what becomes of a run."""

import click

from orchestrator.cli.context import load
from orchestrator.cli.notifying import addresses
from orchestrator.cli.show.console import signs
from orchestrator.errors import ServiceError, UsageError
from orchestrator.notify import Event, EventKind, send
from orchestrator.notify.sending import check_address, service_of


@click.group()
def notify() -> None:
    """Tell people through Telegram, ntfy, Discord, mail and others what becomes of a run."""


@notify.command(short_help="Send a message to each address now")
def test() -> None:
    """Send a message to each address now, and say which took it.

    Addresses are those of [notify] in kgtts.toml and those in KGTTS_NOTIFY; apprise's documentation lists
    their forms. `kgtts watch` and `kgtts sync` use them. Needs the extra notify.
    """
    settings = load().settings
    to = addresses(settings)
    if not to:
        raise UsageError(
            "No address is set.",
            hint="set KGTTS_NOTIFY to one, such as ntfy://ntfy.sh/A-NAME-THAT-NOBODY-GUESSES",
        )
    for address in to:
        check_address(address)
    slug = settings.kernel.slug
    event = Event(EventKind.SESSION, "test", f"{slug}: a test", "This is what kgtts notify test sends.")
    failed = []
    for address in to:
        failure = send(address, event)
        if failure is not None:
            failed.append(failure)
            click.echo(f"{click.style(signs().failed, fg='red')} {failure}")
        else:
            click.echo(f"{click.style(signs().done, fg='green')} {service_of(address)}")
    if failed:
        raise ServiceError(
            f"{len(failed)} of {len(to)} addresses took no message.",
            hint="compare the address with https://appriseit.com/services/, or try again later",
        )
