"""`kgtts text`: how a text would be spoken."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from kernel_template.text.pieces import Latin, Spoken
from kernel_template.text.speaking import spoken
from kernel_template.text.vocabulary import for_voice
from orchestrator.cli.context import complete_run, json_option, print_json, pulled
from orchestrator.cli.show.spoken import warn_of_losses
from orchestrator.errors import UsageError
from orchestrator.untrusted import one_line
from orchestrator.voice.card import VoiceCard, load_card
from orchestrator.voice.speech import STDIN, check_text, name_all, read_text, speakers


@click.command()
@click.argument("text", required=False)
@click.option("--file", "-f", "file", metavar="FILE", help="Read this UTF-8 file; - for standard input.")
@click.option(
    "--run",
    "run",
    metavar="RUN",
    help="Write the text in the letters of this run's voice: its slug, id (or the beginning of it) or "
    "OWNER/SLUG[/VERSION].",
    shell_complete=complete_run,
)
@click.option(
    "--voice",
    "place",
    type=click.Path(exists=True, path_type=Path),
    help="Write the text in the letters of this voice: a voice.json, or a folder that contains one.",
)
@click.option(
    "--latin",
    type=click.Choice([kind.value for kind in Latin]),
    default=Latin.SPELL.value,
    show_default=True,
    help="Latin words: say or spell them, omit them, or keep them as they are.",
)
@click.option("--explain", is_flag=True, help="Also list what each rule changed.")
@click.option("--strict", is_flag=True, help="Fail with exit code 2 rather than leave anything out.")
@json_option
def text(
    text: str | None,
    *,
    file: str | None,
    run: str | None,
    place: Path | None,
    latin: str,
    explain: bool,
    strict: bool,
    as_json: bool,
) -> None:
    r"""Show how TEXT would be spoken: numbers, dates, money, signs and Latin words as Bangla words.

    Without TEXT and --file it reads standard input. With --voice or --run the text is written in the letters
    that the voice can say; what it cannot say is named on standard error. Kaggle is not contacted.

    \b
    kgtts text "১৯৭৯ সালে ৳২৫,০০০" --explain
    kgtts text --file story.txt --voice results/voice --strict
    """
    if run is not None and place is not None:
        raise click.UsageError("--run and --voice each name a voice; give one of them.")
    if text is not None and file is not None:
        raise click.UsageError("TEXT and --file each give a text; give one of them.")
    if text is None and file is None and sys.stdin.isatty():
        raise click.UsageError('Give the text, as in kgtts text "৳২৫,০০০", or --file.')
    words = check_text(text if text is not None else read_text(file or STDIN, sys.stdin.buffer))
    said = spoken(words, Latin(latin))
    card_file = None
    if run is not None or place is not None:
        results, slug = pulled()
        sessions = [] if place is not None else results.find(run, slug)
        card_file = speakers(place, sessions, compare=False)[0].place
        said = for_voice(said, _speakable(load_card(card_file), card_file).text.vocabulary, lines=True)
    if strict and said.lost:
        raise UsageError(_refusal(said), hint="write them as Bangla words, or remove them")
    if as_json:
        print_json(_as_json(said, card_file))
        return
    click.echo(said.text)
    if explain:
        _explain(said)
    warn_of_losses(said)


def _speakable(card: VoiceCard, file: Path) -> VoiceCard:
    if card.text.speakable:
        return card
    why = one_line(card.text.why or "no reason was given", 200)
    raise UsageError(f"The letters of {file} are not those of a text: {why}.")


def _refusal(said: Spoken) -> str:
    """Name what would be left out, the harmful first."""
    missed = [loss.character for loss in said.harmful]
    silent = [loss.character for loss in said.lost if not loss.harmful]
    parts = [f"a listener would miss {name_all(missed)}"] if missed else []
    parts += [f"without sound {'are' if len(silent) > 1 else 'is'} {name_all(silent)}"] if silent else []
    return f"Not all of the text can be spoken: {'; '.join(parts)}."


def _explain(said: Spoken) -> None:
    click.echo()
    for piece in said.pieces:
        source, result = (
            one_line(part) if part.strip() else ascii(part) for part in (piece.source, piece.result)
        )
        click.echo(f"{piece.start:>6}  {piece.rule:<14} {source} → {result}")


def _as_json(said: Spoken, voice: Path | None) -> dict[str, object]:
    return {
        "text": said.source,
        "spoken": said.text,
        "voice": None if voice is None else str(voice),
        "pieces": [asdict(piece) for piece in said.pieces],
        "lost": [asdict(loss) for loss in said.lost],
        "doubtful": list(said.doubtful),
        "remarks": list(said.remarks),
    }
