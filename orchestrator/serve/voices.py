"""The voices that are served: their names, and which of them a request means."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import VOICE_CARD, VOICE_FOLDER, session_number
from orchestrator.models import KernelRef
from orchestrator.serve.request import ApiError
from orchestrator.untrusted import one_line
from orchestrator.voice import Voice, VoiceCard, find_card, open_voice
from orchestrator.voice.package import is_package, open_package

# What clients send that were written for OpenAI; `voice` alone chooses then.
ANY_MODEL = ("kgtts", "tts-1", "tts-1-hd", "gpt-4o-mini-tts")
ANY_VOICE = "default"
_FIRST_WORD = "আমি"
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_LONGEST_NAME = 60
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class ServedVoice:
    """A voice and the name that clients call it by.

    Attributes:
        name: letters, digits, dots, dashes and underscores.
        voice: the voice itself.
        source: the file or folder that it came from.
    """

    name: str
    voice: Voice
    source: Path

    @property
    def speakers(self) -> tuple[str, ...]:
        """The names of its speakers; empty if it has only one."""
        return self.voice.speakers


@dataclass(frozen=True, slots=True)
class Voices:
    """All voices of a server.

    Attributes:
        all: the voices, the default one first.
        noise: a factor on their variation, for requests that name none.
    """

    all: Sequence[ServedVoice]
    noise: float = 1.0

    def __iter__(self) -> Iterator[ServedVoice]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def choose(self, model: str, voice: str) -> tuple[ServedVoice, str | None]:
        """The voice, and its speaker if it has several, that a request means.

        Raises:
            ApiError: 404, there is no such model; 400, there is no such voice, or the two do not fit.
        """
        among = [item for item in self.all if item.name == model]
        if not among and model not in ANY_MODEL:
            raise ApiError(
                404,
                f"There is no model {one_line(model, 60)!r}; choose {self._names} or {ANY_MODEL[0]}.",
                "model_not_found",
                param="model",
            )
        among = among or list(self.all)
        if voice == ANY_VOICE:
            return among[0], None
        exact = [(item, None) for item in among if item.name == voice]
        spoken_by = [
            (item, speaker)
            for item in among
            for speaker in item.speakers
            if voice in (speaker, f"{item.name}/{speaker}")
        ]
        found = exact or spoken_by
        if not found:
            raise ApiError(
                400,
                f"There is no voice {one_line(voice, 60)!r}; choose {self._names} or {ANY_VOICE}.",
                "voice_not_found",
                param="voice",
            )
        if len(found) > 1:
            raise ApiError(
                400,
                f"Several voices have a speaker {one_line(voice, 60)!r}; write VOICE/SPEAKER.",
                "voice_not_found",
                param="voice",
            )
        return found[0]

    @property
    def _names(self) -> str:
        names = [listed["id"] for listed in self.listing()]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        return one_line(", ".join(names[:_MOST_NAMED]), 1_000) + more

    def listing(self) -> list[dict[str, Any]]:
        """Every voice as clients list them; a voice with several speakers once for each."""
        listed = []
        for item in self.all:
            card = item.voice.card
            facts = {
                "model": item.name,
                "language": card.language,
                "sample_rate": card.audio.sample_rate,
                "run": card.run.id,
                "step": card.global_step,
            }
            ids = [f"{item.name}/{speaker}" for speaker in item.speakers] or [item.name]
            listed += [{"id": one, "name": one, **facts} for one in ids]
        return listed


def open_voices(places: Iterable[tuple[str | None, Path]], *, noise: float = 1.0) -> Voices:
    """Open voices, each by its name (None makes one of the voice's run) and its place.

    A place is a package, a voice.json, or a folder that has one.

    Raises:
        KgttsError: as `open_package`, `find_card` and `open_voice`.
    """
    opened: list[ServedVoice] = []
    for given, place in places:
        if is_package(place):
            with open_package(place) as package:  # The model is in memory when the copy goes.
                voice, file = open_voice(package.card, lean=True), place
        else:
            file = find_card(place)
            voice = open_voice(file, lean=True)
        # The first sentence takes longer than others, and shows what a voice lacks before somebody waits.
        next(voice.say(_FIRST_WORD), None)
        name = given or _name(voice.card, file)
        names = (name, *(f"{name}-{number}" for number in range(2, len(opened) + 3)))
        taken = {item.name for item in opened}
        opened.append(ServedVoice(next(one for one in names if one not in taken), voice, file))
    return Voices(tuple(opened), noise)


def clean_name(text: str) -> str:
    """Make a name that needs no quotes in a shell or an address."""
    return _NOT_IN_NAMES.sub("-", text).strip("-.")[:_LONGEST_NAME]


def _name(card: VoiceCard, file: Path) -> str:
    """The slug of the run; else the name of the package, or of the folder that holds the voice."""
    kernel = (card.run.kernel or "").rpartition("/")[2]
    slug = KernelRef("", kernel).base.slug if kernel else ""
    if file.suffix != ".json":  # A package.
        return clean_name(slug or file.resolve().stem) or "voice"
    folder = file.resolve().parent
    folder = folder.parent if folder.name == VOICE_FOLDER else folder
    folder = folder if session_number(folder.name) is None else folder.parent
    name = slug or folder.name
    return clean_name(name if file.name == VOICE_CARD else f"{name}-{file.stem}") or "voice"
