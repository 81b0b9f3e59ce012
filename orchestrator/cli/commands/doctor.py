"""`kgtts doctor`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.context import json_option, load, print_json, settings_options, workbench
from orchestrator.errors import KgttsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.run.checks import Verdict

_MARKS = {"ok": ("✓", "green"), "warning": ("⚠", "yellow"), "failed": ("✗", "red")}


@click.command(short_help="Check credentials, inputs and quota before a push")
@settings_options
@json_option
def doctor(config_path: Path | None, overrides: tuple[str, ...], *, as_json: bool) -> int:
    """Check settings, credentials, client, inputs and quota, a verdict a line, before quota is spent."""
    verdicts = []
    for verdict in _verdicts(config_path, overrides):
        verdicts.append(verdict)
        if not as_json:
            mark, colour = _MARKS[verdict.level]
            click.echo(f"{click.style(mark, fg=colour)} {verdict.subject:<12}{verdict.text}")
            if verdict.hint:
                click.echo(f"  Next: {verdict.hint}")
    if as_json:
        print_json(
            [{"subject": v.subject, "level": v.level.value, "text": v.text, "hint": v.hint} for v in verdicts]
        )
    return next((int(verdict.exit_code) for verdict in verdicts if verdict.exit_code), 0)


def _verdicts(config_path: Path | None, overrides: tuple[str, ...]) -> "Iterator[Verdict]":
    from orchestrator.kaggle import client_version  # noqa: PLC0415  # As above.
    from orchestrator.kaggle.credentials import find_credentials  # noqa: PLC0415  # As above.
    from orchestrator.run.checks import Level, Verdict, check_service, verdict_of  # noqa: PLC0415  # Start-up.

    loaded = None
    try:
        loaded = load(config_path, overrides)
        place = str(loaded.path) if loaded.path else "no kgtts.toml: the defaults"
        yield Verdict("settings", Level.OK, place, None if loaded.path else "kgtts init")
    except KgttsError as error:
        yield verdict_of("settings", error)
    yield Verdict("client", Level.OK, client_version())
    try:
        credentials = find_credentials(os.environ, Path.home())
        found = f"{credentials.kind} in {credentials.place}"
        if credentials.exposed:
            hint = f"chmod 600 {credentials.place}"
            yield Verdict("credentials", Level.WARNING, f"{found}, which other users here can read", hint)
        else:
            yield Verdict("credentials", Level.OK, found)
        with workbench() as bench:
            bench.kaggle.quota()  # The cheapest call that needs a valid login.
            yield Verdict("login", Level.OK, f"{bench.kaggle.username} at {bench.kaggle.service}")
            if loaded is not None:
                yield from check_service(loaded.settings, bench.kaggle)
    except KgttsError as error:
        yield verdict_of("login", error)
