"""`kgtts serve`: voices over HTTP, for a browser and for OpenAI's clients."""

import logging
import os
import signal
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.context import (
    Interrupted,
    complete_run_or_path,
    is_verbose,
    json_option,
    on_interrupt,
    open_option,
    print_json,
    pulled,
)
from orchestrator.errors import LocalError
from orchestrator.scrubbing import scrub
from orchestrator.untrusted import one_line, terminal_text
from orchestrator.voice import pulled_voice

if TYPE_CHECKING:
    from orchestrator.serve import Access, Server, Voices


@click.command()
@click.argument("voices", nargs=-1, metavar="[[NAME=]RUN|PACKAGE]...", shell_complete=complete_run_or_path)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. Other machines can reach any but loopback, so that needs a token.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8123, show_default=True, help="0 takes any free one."
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Requests must carry the token in this file. Or put it into the variable KGTTS_SERVE_TOKEN.",
)
@click.option(
    "--allow-host",
    "names",
    metavar="NAME",
    multiple=True,
    help="A host name under which the server may be asked, for example behind a proxy. Can be repeated.",
)
@click.option(
    "--longest-text",
    type=click.IntRange(1, 1_000_000),
    default=10_000,
    show_default=True,
    help="The characters that one request may have.",
)
@click.option(
    "--queue",
    "places",
    type=click.IntRange(1, 10_000),
    default=32,
    show_default=True,
    help="The requests in progress or waiting; one more is told to try again (429).",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=2,
    show_default=True,
    help="The sentences that are spoken at the same time.",
)
@click.option(
    "--noise",
    type=click.FloatRange(0.0, 3.0),
    default=1.0,
    show_default=True,
    help="How lively: multiplies the voice's own variation; with 0 a sentence always sounds the same.",
)
@open_option
@json_option
def serve(
    voices: tuple[str, ...],
    *,
    host: str,
    port: int,
    token_file: Path | None,
    names: tuple[str, ...],
    longest_text: int,
    places: int,
    workers: int,
    noise: float,
    show: bool,
    as_json: bool,
) -> None:
    r"""Serve voices on this machine: a page to type and hear, and speech for OpenAI's clients.

    RUN is a run's slug, id or OWNER/SLUG[/VERSION]; PACKAGE what `kgtts voice package` writes, or a folder
    or voice.json of a session. Without either, the run of this folder's kgtts.toml is meant, or else the
    newest. NAME= gives a voice the name that clients use, which is that of its run otherwise. Ctrl-C ends
    it; requests in flight get 10 seconds.

    Needs the extra `serve` (pip install "kgtts[serve]"), and does not contact Kaggle.

    \b
    kgtts serve --open
    kgtts serve alloy=bangla-tts second-voice
    """
    try:
        from orchestrator.serve import Limits, Server, open_voices  # noqa: PLC0415 - starlette is heavy.
    except ImportError as error:
        raise LocalError(
            f"Serving needs the package {error.name}, which is not installed.",
            hint='pip install "kgtts[serve]"',
        ) from error
    access = _access(host, names, token_file)
    opened = open_voices(_places(voices), noise=noise)
    limits = Limits(text=longest_text, places=places, workers=workers)
    server = Server(opened, access, port, limits)
    _log_to_terminal()
    if as_json:
        print_json({"url": server.url, "token": access.token is not None, "voices": opened.listing()})
    else:
        _announce(server, opened, access)
    if show:
        webbrowser.open(server.url)
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn ends on it, and raises it once more after that.
    try:
        with on_interrupt("Stopped."):
            server.run()
    except Interrupted as end:
        if not as_json:
            click.echo(end.message)
        return
    if not as_json:
        click.echo("Stopped.")


def _places(named: Sequence[str]) -> list[tuple[str | None, Path]]:
    """The name, if one is given, and the place of each voice that a person means."""
    from orchestrator.serve.voices import clean_name  # noqa: PLC0415 - as above.

    results, slug = pulled()
    found: list[tuple[str | None, Path]] = []
    for text in named or [""]:
        name, has_name, rest = ("", "", text) if Path(text).exists() else text.rpartition("=")
        if has_name and (not name or clean_name(name) != name):
            raise click.UsageError(
                f"{name!r} cannot be a voice's name: use Latin letters, digits, dots and dashes."
            )
        path = Path(rest)
        place = path if rest and path.exists() else pulled_voice(results.find(rest or None, slug))
        found.append((name or None, place))
    return found


def _access(host: str, names: tuple[str, ...], token_file: Path | None) -> "Access":
    from orchestrator.serve.guard import TOKEN_VARIABLE, Access, read_token, read_token_file  # noqa: PLC0415

    token = None
    if token_file is not None:
        token = read_token_file(token_file)
    elif given := os.environ.get(TOKEN_VARIABLE):
        token = read_token(given, TOKEN_VARIABLE)
    return Access(host, names, token)


def _announce(server: "Server", voices: "Voices", access: "Access") -> None:
    for item in voices:
        card = item.voice.card
        words = [f"run {card.run.id}" if card.run.id else "a voice"]
        words += [f"step {card.global_step:,}"] if card.global_step is not None else []
        words += [f"{len(item.speakers)} speakers"] if item.speakers else []
        label = click.style(f"{item.name:<12}", fg="cyan")
        about = f"{', '.join(words)}: {item.source}"
        click.echo(f"{label} {one_line(about)}")
    click.echo(
        f"Open {server.url} in a browser; OpenAI's clients take base_url={server.url}/v1. Ctrl-C ends it."
    )
    if access.token is not None:
        click.echo(
            "Requests need the token, which is sent unencrypted: in a network, put a proxy with TLS in front."
        )


def _log_to_terminal() -> None:
    """Print what the server's log says, without secrets; with -v every request."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(message)s"))
    log = logging.getLogger("orchestrator.serve")
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(
        logging.DEBUG if os.environ.get("KGTTS_DEBUG") else logging.INFO if is_verbose() else logging.WARNING
    )


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return terminal_text(scrub(super().format(record)))
