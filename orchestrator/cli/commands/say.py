"""`kgtts say`: speak with a trained voice on this machine."""

import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.context import complete_run, json_option, out_file, print_json, pulled
from orchestrator.cli.show.console import is_dumb, signs, warn
from orchestrator.cli.show.spoken import warn_of_losses
from orchestrator.errors import LocalError
from orchestrator.formatting import counted
from orchestrator.untrusted import one_line
from orchestrator.voice import SynthesisOptions, Voice, check_format, find_players, open_voice, play
from orchestrator.voice.package import is_package, open_package
from orchestrator.voice.speech import Speaker, Speech, check_text, read_text, speak, speakers

_WORTH_A_BAR = 1000  # Characters: half a minute of work for a full voice on a laptop.
_LONGEST_SHOWN = 400  # Characters of the spoken text.


class _Factor(click.FloatRange):
    """A number in a range; NaN is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


@click.command()
@click.argument("text", required=False)
@click.option("--file", "-f", "file", metavar="FILE", help="Speak the text of this UTF-8 file; - for stdin.")
@click.option(
    "--run",
    "run",
    metavar="RUN",
    help="The run whose voice speaks: its slug, id (or the beginning of it) or OWNER/SLUG[/VERSION]. "
    "Default: the run of kgtts.toml, else the newest.",
    shell_complete=complete_run,
)
@click.option(
    "--voice",
    "place",
    type=click.Path(exists=True, path_type=Path),
    help="Instead of a run's voice, this one: a package, a voice.json, or a folder that contains one.",
)
@click.option(
    "--out",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=out_file,
    help="Write a file instead of playing the speech: .wav, .flac, .ogg or .mp3.",
)
@click.option("--speaker", metavar="NAME", help="The speaker's name or number, if the voice has several.")
@click.option(
    "--speed",
    type=_Factor(0.25, 4.0),
    default=1.0,
    show_default=True,
    help="How fast: 2 is twice as fast as the voice's own pace.",
)
@click.option(
    "--noise",
    type=_Factor(0.0, 3.0),
    default=1.0,
    show_default=True,
    help="How lively: multiplies the voice's own variation; with 0 it always sounds the same.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Repeat the same variation each time.")
@click.option("--compare", is_flag=True, help="Speak with the base voice first, then with the trained one.")
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
    """Speak TEXT with the newest downloaded voice: play it, or write a file.

    Numbers, dates, money, signs and Latin words are read as words (`kgtts text` shows them), in the letters
    that the voice knows. What it cannot say is named and left out. Wrapped lines are joined; only an empty
    line ends a paragraph.
    Needs the extra `speak` (onnxruntime), but neither torch nor TTS, and does not contact Kaggle.
    """
    if run is not None and place is not None:
        raise click.UsageError("--run and --voice each name a voice; give one of them.")
    if (text is None) == (file is None):
        raise click.UsageError('Give the text, as in kgtts say "আমি বাংলায় গান গাই।", or --file.')
    if out is not None:
        check_format(out)
    words = check_text(text if text is not None else read_text(file or "", sys.stdin.buffer))
    with _unpacked(place) as card:
        results, slug = pulled()
        sessions = [] if card is not None else results.find(run, slug)
        speaking = speakers(card, sessions, compare=compare)
        players = [] if out is not None else find_players()
        if out is None and not players:
            raise LocalError(
                "Nothing was played: no program that plays sound was found on this machine.",
                hint="write the speech to a file: kgtts say with --out said.wav",
            )
        told = []
        with _files(out, speaking) as files:
            for one, target in zip(speaking, files, strict=True):
                voice = _opened(one.place, seed, place if card != place else None)
                if not as_json:
                    label = f"{one.name or 'voice':<8}"
                    click.echo(f"{click.style(label, fg='cyan')} {_described(voice)}")
                with _progress(len(words)) as advanced:
                    asked = SynthesisOptions(speed, noise, speaker)
                    speech = speak(voice, words, target, asked, advanced=advanced)
                if not as_json:
                    _print(speech, kept=out is not None)
                told.append(_as_json(speech, one.name, kept=out is not None))
                if out is None:
                    play(target, players, speech.seconds)
    if as_json:
        print_json({"voices": told})


def _opened(card: Path, seed: int | None, package: Path | None) -> Voice:
    """Open a voice; one of a package is called by the package's place."""
    voice = open_voice(card, seed=seed)
    return voice if package is None else replace(voice, place=package)


@contextmanager
def _unpacked(place: Path | None) -> Iterator[Path | None]:
    """Give what `--voice` names; of a package in a ZIP archive its description, while the block runs."""
    if place is None or place.is_dir() or not is_package(place):
        yield place
        return
    with open_package(place) as package:
        yield package.card


@contextmanager
def _files(out: Path | None, speaking: Sequence[Speaker]) -> Iterator[list[Path]]:
    """Give the file for each voice: `out`, or two names made of it; without it, files that do not last."""
    if out is not None:
        names = [out.name if one.name is None else f"{out.stem}-{one.name}{out.suffix}" for one in speaking]
        yield [out.with_name(name) for name in names]
        return
    with tempfile.TemporaryDirectory(prefix="kgtts-say-") as folder:
        yield [Path(folder) / f"{one.name or 'said'}.wav" for one in speaking]


@contextmanager
def _progress(length: int) -> Iterator[Callable[[int], object]]:
    """Show at a terminal how much of a long text is spoken."""
    if length < _WORTH_A_BAR or not sys.stderr.isatty() or is_dumb():
        yield lambda _: None
        return
    with click.progressbar(length=length, label="Speaking", file=sys.stderr) as bar:
        yield bar.update


def _described(voice: Voice) -> str:
    card = voice.card
    words = [f"run {card.run.id}" if card.run.id else "a voice"]
    if card.run.session is not None:
        words.append(f"session {card.run.session}")
    if card.global_step is not None:
        words.append(f"step {card.global_step:,}")
    return one_line(f"{', '.join(words)}: {voice.place}")


def _print(speech: Speech, *, kept: bool) -> None:
    if any(piece.rule != "space" for piece in speech.said.pieces):
        click.echo(f"         {one_line(speech.said.text, _LONGEST_SHOWN)}")
    warn_of_losses(speech.said, speech.unknown)
    for odd in speech.odd:
        warn(f"The sound is odd: {odd}", err=True)
    pieces = counted(len(speech.pieces), "sentence")
    click.echo(
        f"{click.style(signs().done, fg='green')} {speech.seconds:.1f} s of speech in {pieces}, made in "
        f"{speech.took_s:.2f} s ({speech.real_time_factor:.3f} s for each second)"
        f"{f': {speech.file}' if kept else ''}"
    )


def _as_json(speech: Speech, name: str | None, *, kept: bool) -> dict[str, Any]:
    return {
        "voice": str(speech.place),
        "name": name,
        "run": speech.card.run.id,
        "global_step": speech.card.global_step,
        "file": str(speech.file) if kept else None,
        "sample_rate": speech.card.audio.sample_rate,
        "seconds": round(speech.seconds, 3),
        "real_time_factor": round(speech.real_time_factor, 4),
        "pieces": [{"text": text, "seconds": round(seconds, 3)} for text, seconds in speech.pieces],
        "unknown": list(speech.unknown),
        "harmful": [loss.character for loss in speech.said.harmful],
        "doubtful": list(speech.said.doubtful),
        "odd": list(speech.odd),
    }
