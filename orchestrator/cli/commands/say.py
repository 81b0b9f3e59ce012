"""`kgtts say`."""

import math
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from orchestrator import formatting, untrusted
from orchestrator.cli.commands.report import out_file
from orchestrator.cli.context import json_option, load, print_json
from orchestrator.errors import LocalError, UsageError
from orchestrator.results import PulledSession, Results
from orchestrator.voice import (
    SynthesisOptions,
    Voice,
    base_voice_beside,
    find_card,
    find_players,
    open_voice,
    pcm16,
    play,
    pulled_pair,
    pulled_voice,
    write_wav,
)

_STDIN = "-"
_LARGEST_TEXT = 4 * 1024 * 1024
_MOST_NAMED = 12


class _Factor(click.FloatRange):
    """A number in a range, which NaN is in none of."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number


@click.command(short_help="Speak with a pulled voice, on this machine")
@click.argument("text", required=False)
@click.option("--file", "-f", "file", metavar="FILE", help="Speak what stands in a UTF-8 file; - for stdin.")
@click.option("--run", "run", metavar="RUN", help="The run whose voice speaks; default: the newest.")
@click.option(
    "--voice",
    "place",
    type=click.Path(exists=True, path_type=Path),
    help="A voice instead of a run's: a voice.json, or a folder that has one.",
)
@click.option(
    "--out",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=out_file,
    help="Write a WAV, play nothing.",
)
@click.option("--speaker", metavar="NAME", help="A speaker's name or number, where the voice has several.")
@click.option(
    "--speed",
    type=_Factor(0.25, 4.0),
    default=1.0,
    show_default=True,
    help="How fast: 2 is twice as fast as the voice is by itself.",
)
@click.option(
    "--noise",
    type=_Factor(0.0, 3.0),
    default=1.0,
    show_default=True,
    help="How lively: a factor on the voice's own variation; 0 says it the same each time.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="The same variation each time.")
@click.option("--compare", is_flag=True, help="Speak with the base voice first, then with the tuned one.")
@json_option
def say(
    text: str | None,
    *,
    file: str | None,
    run: str | None,
    place: Path | None,
    out: Path | None,
    speaker: str | None,
    speed: float,
    noise: float,
    seed: int | None,
    compare: bool,
    as_json: bool,
) -> None:
    """Speak TEXT with a run's newest pulled voice, through this machine's player or to a WAV file.

    The text is cleaned as in training; characters that the voice does not have are named and left out. Needs
    the extra `speak`, neither torch nor TTS. Nothing is asked of Kaggle.
    """
    if run is not None and place is not None:
        raise click.UsageError("--run and --voice name two voices; give one of them.")
    words = _words(text, file)
    players = [] if out is not None else find_players()
    if out is None and not players:
        raise LocalError(
            "No program that plays sound was found on this machine.",
            hint="kgtts say with --out said.wav writes the speech to a file",
        )
    options = SynthesisOptions(speed, noise, speaker)
    voices = _voices(run, place, compare=compare)
    told = []
    with _outputs(out, [name for name, _ in voices]) as files:
        for (name, where), target in zip(voices, files, strict=True):
            told.append(
                _speak(where, words, options, seed, target, name=name, quiet=as_json, kept=out is not None)
            )
            if out is None:
                play(target, players)
                told[-1]["file"] = None
    if as_json:
        print_json({"voices": told})


def speak_to(voice: Path, text: str, out: Path) -> dict[str, Any]:
    """Speak `text` with the voice at `voice`, a voice.json, to the WAV file `out`; tells what was done.

    Raises:
        KgttsError: as `orchestrator.voice`.
    """
    return _speak(voice, text, SynthesisOptions(), None, out, name=None, quiet=True)


def _words(text: str | None, file: str | None) -> str:
    """What is to be said."""
    if (text is None) == (file is None):
        raise click.UsageError('Give the text, as in kgtts say "আমি বাংলায় গান গাই।", or --file.')
    if file is not None:
        try:
            if file == _STDIN:
                data = sys.stdin.buffer.read(_LARGEST_TEXT + 1)
            else:
                with Path(file).open("rb") as source:
                    data = source.read(_LARGEST_TEXT + 1)
            text = data.decode("utf-8-sig")
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror or error}.") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{file} is no UTF-8 text: byte {error.start} is not part of any.") from error
        if len(data) > _LARGEST_TEXT:
            raise UsageError(f"{file} has more than {_LARGEST_TEXT >> 20} MB of text.")
    assert text is not None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # What a shell gives that is none becomes halves of characters.
        raise UsageError(
            "The text is no UTF-8.", hint="kgtts say --file FILE reads it from a file"
        ) from error
    if not text.strip():
        raise UsageError("There is nothing to say: the text is empty.")
    return text


def _voices(run: str | None, place: Path | None, *, compare: bool) -> list[tuple[str | None, Path]]:
    """The voices that speak, with what to call each where there are two."""
    if place is not None:
        card = find_card(place)
        if not compare:
            return [(None, card)]
        pair = base_voice_beside(card)
    else:
        sessions = _sessions(run)
        if not compare:
            return [(None, pulled_voice(sessions))]
        pair = pulled_pair(sessions)
    return [("base" if pair.is_base else "earlier", pair.earlier), ("tuned", pair.tuned)]


def _sessions(run: str | None) -> list[PulledSession]:
    settings = load(None, ()).settings
    return Results(Path(settings.pull.to)).find(run, settings.kernel.slug)


@contextmanager
def _outputs(out: Path | None, names: list[str | None]) -> Iterator[list[Path]]:
    """Where each voice's speech goes: `out`, or two names made of it; else nowhere lasting."""
    if out is not None:
        yield [out if name is None else out.with_name(f"{out.stem}-{name}{out.suffix}") for name in names]
        return
    with tempfile.TemporaryDirectory(prefix="kgtts-say-") as folder:
        yield [Path(folder) / f"{name or 'said'}.wav" for name in names]


def _speak(
    place: Path,
    text: str,
    options: SynthesisOptions,
    seed: int | None,
    target: Path,
    *,
    name: str | None,
    quiet: bool,
    kept: bool = True,
) -> dict[str, Any]:
    """Say a text to a file, and tell about it; of one that is not `kept` nobody needs to know."""
    voice = open_voice(place, seed=seed)
    if not quiet:
        label = f"{name or 'voice':<8}"
        click.echo(f"{click.style(label, fg='cyan')} {_described(voice)}")
    rate = voice.card.audio.sample_rate
    pieces: list[dict[str, Any]] = []
    unknown: dict[str, None] = {}
    took = 0.0

    def parts() -> Iterator[bytes]:
        nonlocal took
        for said in voice.say(text, options):
            unknown.update(dict.fromkeys(said.unknown))
            took += said.took_s
            pieces.append({"text": said.text, "seconds": round(said.seconds, 3)})
            yield pcm16(said.samples, said.pause_s, rate)
        if not any(piece["seconds"] for piece in pieces):
            if not unknown:
                raise UsageError(
                    f"The voice of {place} makes no sound of this text: its cleaning leaves nothing of it."
                )
            raise UsageError(
                f"None of the text's characters is in the vocabulary of {place}: {_listed(unknown)}.",
                hint="write it in the script of the voice's training, digits and signs as words",
            )

    seconds = write_wav(target, rate, parts())
    spoken = sum(piece["seconds"] for piece in pieces)
    if not quiet:
        if unknown:
            click.secho(
                f"⚠ Not in the voice's vocabulary, so left out: {_listed(unknown)}", fg="yellow", err=True
            )
        count = formatting.counted(len(pieces), "piece")
        click.echo(
            f"{click.style('✓', fg='green')} {seconds:.1f} s in {count}, made in {took:.2f} s "
            f"({took / spoken:.3f} of the time that it lasts){f': {target}' if kept else ''}"
        )
    return {
        "voice": str(place),
        "name": name,
        "run": voice.card.run.id,
        "global_step": voice.card.global_step,
        "file": str(target),
        "sample_rate": rate,
        "seconds": round(seconds, 3),
        "real_time_factor": round(took / spoken, 4),
        "pieces": pieces,
        "unknown": list(unknown),
    }


def _described(voice: Voice) -> str:
    card = voice.card
    words = [f"run {card.run.id}" if card.run.id else "a voice"]
    if card.run.session is not None:
        words.append(f"session {card.run.session}")
    if card.global_step is not None:
        words.append(f"step {card.global_step:,}")
    return untrusted.one_line(f"{', '.join(words)}: {voice.place}")


def _listed(unknown: dict[str, None]) -> str:
    """Characters that may not be printable, with their names."""

    def named(letter: str) -> str:
        name = unicodedata.name(letter, "") or f"U+{ord(letter):04X}"
        # A sign by itself would join the one before it.
        lone = letter.isprintable() and not unicodedata.category(letter).startswith("M")
        return f"{letter} ({name})" if lone else name

    more = len(unknown) - _MOST_NAMED
    listed = ", ".join(named(letter) for letter in list(unknown)[:_MOST_NAMED])
    return f"{listed} and {more} more" if more > 0 else listed
