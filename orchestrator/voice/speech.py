"""Speak a whole text to a file: which voices speak, what they say, and what came of it."""

import codecs
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kernel_template.sound import pcm16
from kernel_template.text.pieces import Spoken, joined
from kernel_template.text.sentences import Reading
from orchestrator import untrusted
from orchestrator.errors import UsageError
from orchestrator.formatting import counted
from orchestrator.results import PulledSession
from orchestrator.voice.card import VoiceCard, find_card
from orchestrator.voice.finding import base_voice_beside, pulled_pair, pulled_voice
from orchestrator.voice.sound import write_sound
from orchestrator.voice.synthesis import SynthesisOptions, Utterance, Voice

STDIN = "-"
_LARGEST_TEXT = 4 * 1024 * 1024
_MOST_NAMED = 12
_MOST_CHECKED = 200  # Sentences whose sound is checked: it takes a tenth of the time of a small voice.
_LONGEST_NAME = 60  # Characters of a sentence that is named.


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice that is to speak.

    Attributes:
        place: its description, a voice.json or base.json.
        name: what to call it beside another one (`base`, `earlier` or `tuned`); None if it speaks alone.
    """

    place: Path
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Speech:
    """What a voice made of a text.

    Attributes:
        place: the voice's description.
        card: its content.
        file: the sound file.
        seconds: how long the file is.
        took_s: how long the voice took, in seconds.
        pieces: each sentence as it was spoken, and its seconds of sound.
        unknown: the characters that were left out, each once.
        said: the text in the voice's letters, with what was changed, lost and is doubtful.
        odd: what is odd about the sound of its first sentences, as whole sentences: one for each kind.
    """

    place: Path
    card: VoiceCard
    file: Path
    seconds: float
    took_s: float
    pieces: Sequence[tuple[str, float]]
    unknown: Sequence[str]
    said: Spoken
    odd: Sequence[str] = ()

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of speech; below 1 is faster than real time."""
        return self.took_s / sum(seconds for _, seconds in self.pieces)


def speakers(place: Path | None, sessions: Sequence[PulledSession], *, compare: bool) -> list[Speaker]:
    """Choose the voices that speak.

    Args:
        place: a voice.json or a folder that has one; None takes the newest voice of `sessions`.
        sessions: the downloaded sessions of a run, oldest first; not looked at if `place` is given.
        compare: whether the voice to compare it with speaks first.

    Raises:
        UsageError: there is no such voice, or none to compare it with.
    """
    if not compare:
        return [Speaker(find_card(place) if place is not None else pulled_voice(sessions))]
    pair = base_voice_beside(find_card(place)) if place is not None else pulled_pair(sessions)
    return [Speaker(pair.earlier, "base" if pair.is_base else "earlier"), Speaker(pair.tuned, "tuned")]


def read_text(file: str, stdin: BinaryIO) -> str:
    """Read the text to speak from a UTF-8 file of at most 4 MB, or from `stdin` if `file` is `-`.

    UTF-16 with a byte order mark is read as well.

    Raises:
        UsageError: the file cannot be read, is not UTF-8 or is too large.
    """
    try:
        if file == STDIN:
            data = stdin.read(_LARGEST_TEXT + 1)
        else:
            with Path(file).open("rb") as source:
                data = source.read(_LARGEST_TEXT + 1)
        # PowerShell's `>` and some editors on Windows write UTF-16, always with a byte order mark.
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file} is not UTF-8 text: the byte at position {error.start} does not belong to a character.",
            hint="save it as UTF-8 in your editor",
        ) from error
    if len(data) > _LARGEST_TEXT:
        raise UsageError(f"{file} has more than {_LARGEST_TEXT >> 20} MB of text.")
    return text


def check_text(text: str) -> str:
    """Give the text back if there is something to say in it.

    Raises:
        UsageError: it is empty, or holds bytes from the shell that are no text.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # A shell's bytes that are not UTF-8 become halves of characters.
        raise UsageError(
            "The text is not UTF-8.", hint="write it to a file and use `kgtts say --file FILE`"
        ) from error
    if not text.strip():
        raise UsageError("There is nothing to say: the text is empty.")
    return text


def speak(
    voice: Voice,
    text: str,
    file: Path,
    options: SynthesisOptions | None = None,
    *,
    advanced: Callable[[int], object] = lambda _: None,
) -> Speech:
    """Speak a text to a file, in the format of its ending.

    Args:
        voice: who speaks.
        text: any text.
        file: where to.
        options: how it is spoken.
        advanced: called with the number of characters before a part of the text is spoken.

    Raises:
        UsageError: the voice can say nothing of the text.
        KgttsError: as `Voice.say` and `write_sound`.
    """
    rate, options = voice.card.audio.sample_rate, options or SynthesisOptions()
    pieces: list[tuple[str, float]] = []
    readings: list[Reading] = []
    unknown: dict[str, None] = {}
    odd: dict[str, list[str]] = {}
    took_s = 0.0

    def note(reading: Reading) -> None:
        readings.append(reading)
        advanced(len(reading.said.source))

    def sounds() -> Iterator[bytes]:
        nonlocal took_s
        for spoken in voice.say(text, options, noted=note):
            unknown.update(dict.fromkeys(spoken.unknown))
            took_s += spoken.took_s
            pieces.append((spoken.text, spoken.seconds))
            if len(pieces) <= _MOST_CHECKED:
                for kind, what in _oddities(voice, spoken, options.speed):
                    odd.setdefault(kind, []).append(what)
            yield pcm16(spoken.samples, spoken.pause_s, rate)
        unknown.update(dict.fromkeys(loss.character for reading in readings for loss in reading.said.lost))
        if not any(seconds for _, seconds in pieces):
            said = joined([reading.said for reading in readings])
            raise _nothing_to_say(voice.place, said, unknown, had_letters=bool(pieces))

    seconds = write_sound(file, rate, sounds())
    said = joined([reading.said for reading in readings])
    told = [f"{found[0]}{_and_others(len(found) - 1)}." for found in odd.values()]
    return Speech(voice.place, voice.card, file, seconds, took_s, pieces, tuple(unknown), said, told)


def _and_others(count: int) -> str:
    return f"; the same is odd in {counted(count, 'other sentence')}" if count else ""


def _oddities(voice: Voice, said: Utterance, speed: float) -> list[tuple[str, str]]:
    """What is odd about the sound of a sentence: its kind, and words about it."""
    if not said.seconds:
        return []
    # Needs numpy, which a voice that speaks has.
    from kernel_template.sound_check import Reference, measure, oddities  # noqa: PLC0415

    found = measure(said.samples, voice.card.audio.sample_rate)
    recorded = Reference.read(voice.card.recordings)
    name = untrusted.one_line(said.text, _LONGEST_NAME)
    odd = oddities(found, said.text, recorded, speed=speed)
    return [(item.kind, f"“{name}” {item.what}") for item in odd]


def _nothing_to_say(place: Path, said: Spoken, unknown: Collection[str], *, had_letters: bool) -> UsageError:
    if unknown and (had_letters or said.harmful):
        return UsageError(
            f"None of the text's characters is in the vocabulary of {place}: {name_all(unknown)}.",
            hint="use the script that the voice was trained on, with digits and signs as words",
        )
    why = "nothing is left of it after cleaning" if had_letters else "there is no letter in it"
    return UsageError(f"The voice {place} cannot say this text: {why}.")


def name_all(characters: Collection[str]) -> str:
    """Write characters with their Unicode names, as they may not be printable, or words; at most 12."""
    more = len(characters) - _MOST_NAMED
    listed = ", ".join(
        untrusted.character(letter) if len(letter) == 1 else untrusted.one_line(letter, 40)
        for letter in list(characters)[:_MOST_NAMED]
    )
    return f"{listed} and {more} more" if more > 0 else listed
